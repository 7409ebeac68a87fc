package sessionid

import (
	"net/http"
	"strings"
)

// slot is a row of the census, made ready for one Extractor.
type slot struct {
	row
	signal Signal   // the row as callers see it, made once
	top    int      // the index of its header or its top-level member in the Extractor's tables
	sub    []string // the rest of a body path
	inside int      // the index of sub[0] in the Extractor's inside; -1: it is not there

	// What a request may carry beside an id of this slot.
	lane, parent *row // the headers of subagents; nil: none
	fork, side   *row // the headers of forks and of side requests
	ownerHeaders []*slot
}

var contentSlot = slot{row: contentRow, signal: contentRow.asSignal()}

// first returns the first value of the row's header that is an id. Proxies may
// leave empty values in front.
func (r *row) first(header http.Header, limit int) (id string, ok bool) {
	if r.terms != nil && !r.isSure(header) {
		return "", false
	}
	return r.firstOf(header[r.name], limit)
}

// firstOf returns the first of the values that is an id.
func (r *row) firstOf(values []string, limit int) (id string, ok bool) {
	for _, v := range values {
		if id, ok := r.read.id(v, limit); ok {
			return id, true
		}
	}
	return "", false
}

// isSure reports whether the header meets the row's terms, which are not nil.
func (r *row) isSure(header http.Header) bool {
	if r.terms.agent == "" {
		return true
	}
	agent := header["User-Agent"]
	return len(agent) > 0 && strings.HasPrefix(agent[0], r.terms.agent)
}
