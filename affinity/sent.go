package affinity

import (
	"encoding/binary"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/selector"
)

// sent is what a pick has added to Options.Loads.
type sent struct {
	load     selector.Sent
	traffic  *traffic
	tokens   float64
	bytes    int
	prefixes []uint64 // that noteBegin has recorded
}

// sent counts a request that goes to an auth.
func (k *core) sent(p *policy, r *Request, v *visitor, d *Decision) {
	if p.loads == nil || d.Auth == "" {
		return
	}
	t := k.traffics.at(v.scope.Pool, v.model)
	s := &sent{traffic: t, tokens: t.size(r.Tokens, len(r.Body)), bytes: len(r.Body)}
	t.sent(s.tokens, d.Outcome == OutcomeNew, d.Outcome == OutcomeMoved && d.Reason == ReasonCold, time.Now().UnixNano())
	s.load = p.loads.Begin(d.Auth, s.tokens, number(d.Session))
	v.sent = s
}

// mostUsage is more tokens than any prompt has.
const mostUsage = 1e8

// ended removes a request from those in flight, and corrects its tokens by what is known now.
func (k *core) ended(s *sent, auth string, r *Report) {
	s.load.End()
	switch r.Result {
	case Transient, Terminal, Unlisted, Rejected:
		// The auth has not worked on the prompt. But the request counts as one of usual
		// length: otherwise an auth that fails would have the least load and get all requests.
		s.load.Add(-s.traffic.failed(s.tokens))
		k.begun.drop(s.prefixes, auth)
		return
	}
	if n := min(float64(r.Usage.Prompt), mostUsage); n > 0 {
		s.traffic.measured(s.bytes, s.tokens, n)
		s.load.Add(n - s.tokens)
	}
}

// number returns a number for a session, 0 for none.
func number(session cache.Key) uint64 { return binary.LittleEndian.Uint64(session[:8]) }
