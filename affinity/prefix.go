package affinity

import (
	"slices"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// maxBegun bounds the prefixes that are kept. Beyond it those that were sent least
	// recently are forgotten.
	maxBegun = 10_000
	// fewAuths is the number of auths up to which a prefix is used to choose an auth. A prefix
	// that more auths were sent is a part of all prompts.
	fewAuths = 2
)

// begun holds prefixes of prompts, and the auths that were sent them lately.
type begun struct {
	mu  sync.Mutex
	lru *simplelru.LRU[uint64, beginning]
}

type beginning struct {
	auths [fewAuths]string
	n     int8  // fewAuths+1: more
	at    int64 // when it was sent last, UnixNano
}

// lately reports whether a prefix was sent lately. It is false if the clock was set back.
func (e *beginning) lately(now, lately int64) bool { return e.at <= now && now-e.at <= lately }

// rename gives an auth another name. If both names were sent a prefix, they are one auth now.
func (b *begun) rename(from, to string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lru == nil {
		return
	}
	for _, p := range b.lru.Keys() { // the oldest first, so that their order stays
		e, _ := b.lru.Peek(p)
		sent := e.auths[:min(e.n, fewAuths)]
		if slices.Contains(sent, to) {
			e.remove(from)
		} else if i := slices.Index(sent, from); i >= 0 {
			sent[i] = to
		}
		b.lru.Add(p, e)
	}
}

// of returns the auths that a prefix was sent to lately, none if there are too many.
func (b *begun) of(prefix uint64, now, lately int64) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lru == nil {
		return nil
	}
	e, ok := b.lru.Peek(prefix)
	if !ok || !e.lately(now, lately) || e.n > fewAuths {
		return nil
	}
	return slices.Clone(e.auths[:e.n])
}

// note records that prefixes were sent to an auth.
func (b *begun) note(prefixes []uint64, auth string, now, lately int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lru == nil {
		b.lru, _ = simplelru.NewLRU[uint64, beginning](maxBegun, nil) // the size is positive: no error
	}
	for _, p := range prefixes {
		e, ok := b.lru.Peek(p)
		if !ok || !e.lately(now, lately) {
			e = beginning{}
		}
		e.at = now
		switch {
		case e.n > fewAuths, slices.Contains(e.auths[:e.n], auth):
		case e.n == fewAuths:
			e = beginning{n: fewAuths + 1, at: now}
		default:
			e.auths[e.n] = auth
			e.n++
		}
		b.lru.Add(p, e)
	}
}

// drop forgets that prefixes were sent to an auth: it has not served.
func (b *begun) drop(prefixes []uint64, auth string) {
	if len(prefixes) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range prefixes {
		if e, ok := b.lru.Peek(p); ok && e.remove(auth) {
			b.lru.Add(p, e)
		}
	}
}

// remove removes an auth, and reports whether it was there.
func (e *beginning) remove(auth string) bool {
	if e.n > fewAuths {
		return false
	}
	i := slices.Index(e.auths[:e.n], auth)
	if i >= 0 {
		e.n--
		e.auths[i], e.auths[e.n] = e.auths[e.n], ""
	}
	return i >= 0
}
