// Package play replays a trace with policies, through the real code of affinity and sessionid,
// on a virtual clock, with a prompt cache behind each auth. An auth is what the gateway
// chooses among.
package play

import (
	"container/heap"
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/examples/replay/internal/trace"
	"github.com/llmaffinity/llmaffinity/examples/replay/internal/virtual"
	"github.com/llmaffinity/llmaffinity/selector"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// Identity is how a request names its session.
type Identity string

// The identities.
const (
	ByID       Identity = "id"       // by the header X-Session-Id
	ByContent  Identity = "content"  // only by its messages
	AsRecorded Identity = "recorded" // as the client has named it
)

// Config is how a trace is replayed.
type Config struct {
	Auths     int
	Histories int
	Identity  Identity
	// TTL is how long a prompt cache holds a block after its last use.
	TTL    time.Duration
	Prices Prices
	// Speed is how many tokens of an answer arrive in a second, if the trace does not say how
	// long it took. With 0 an answer takes no time.
	Speed float64
	// Answers says that answers are handed back, as affinityhttp does. They tell conversations
	// apart that begin with the same words.
	Answers bool
	// Progress, if not nil, is called when a history is done, from any goroutine.
	Progress func()
}

// Run replays the histories of a trace with all policies. The results are by policy and then
// by history. Histories run in parallel.
func Run(t *testing.T, tr *trace.Trace, policies []Policy, c Config) ([][]Result, error) {
	results := make([][]Result, len(policies))
	for i := range results {
		results[i] = make([]Result, c.Histories)
	}
	failed := make([]error, c.Histories)
	t.Run(tr.Name, func(t *testing.T) {
		for h := range c.Histories {
			t.Run(fmt.Sprint("history ", h), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					for i, r := range play(t.Context(), tr, policies, c, uint64(h), &failed[h]) {
						results[i][h] = r
					}
				})
				if c.Progress != nil {
					c.Progress()
				}
			})
		}
	})
	for _, err := range failed {
		if err != nil {
			return nil, err
		}
	}
	return results, nil
}

// run is a gateway with one policy.
type run struct {
	policy Policy
	host   *Host
	aff    *affinity.Affinity[int] // nil without affinity
	next   selector.Selector[int]
	caches []promptCache
	m      *measure
	open   map[int]open // by request
}

// open is a request that is under way.
type open struct {
	pick affinity.Pick[int]
	hit  int
}

// play plays one history with all policies at once, so that all see the same requests at the
// same times.
func play(ctx context.Context, tr *trace.Trace, policies []Policy, c Config, history uint64, failed *error) (out []Result) {
	p := player{tr: tr, c: c, begun: time.Now(), oracle: newPromptCache(tr.Blocks, c.TTL), there: make([]bool, c.Auths), fit: make([]bool, c.Auths), drained: make([]bool, c.Auths)}
	for i := range p.there {
		p.there[i], p.fit[i] = true, true
	}
	for _, change := range tr.Changes {
		if change.What == trace.Added {
			p.there[change.Auth] = false
		}
	}
	p.seeAuths()
	for _, policy := range policies {
		r, err := p.newRun(policy)
		if err != nil {
			*failed = err
			return nil
		}
		if r.aff != nil {
			defer r.aff.Close()
		}
		p.runs = append(p.runs, r)
	}
	if err := p.play(ctx, tr.History(history)); err != nil {
		*failed = err
		return nil
	}
	for _, r := range p.runs {
		out = append(out, r.m.result(history))
	}
	return out
}

// player is one history under way.
type player struct {
	tr     *trace.Trace
	c      Config
	begun  time.Time
	runs   []*run
	oracle promptCache
	ends   ends
	body   []byte

	// there are the auths that the gateway knows. fit are those that can serve, and drained
	// those that get no new sessions.
	there, fit, drained []bool
	auths               []int // the numbers of the auths that are there
	serving             []int // those of them that are fit and not drained
}

func (p *player) newRun(policy Policy) (*run, error) {
	r := &run{policy: policy, host: newHost(p.c.Auths), m: newMeasure(p.c.Auths, p.tr.Sessions, p.c.Prices), open: map[int]open{}}
	for range p.c.Auths {
		r.caches = append(r.caches, newPromptCache(p.tr.Blocks, p.c.TTL))
	}
	r.next = policy.Next(r.host)
	if policy.Options == nil {
		return r, nil
	}
	o := policy.Options(r.host)
	if state := o.State; len(p.tr.Changes) > 0 {
		o.State = func(auth int, q affinity.Request) (s affinity.State) {
			if state != nil {
				s = state(auth, q)
			}
			if !p.fit[auth] {
				s.Fitness = affinity.Away
			}
			return s
		}
	}
	aff, err := affinity.New(AuthName, o)
	if err != nil {
		return nil, fmt.Errorf("policy %s: %w", policy.Name, err)
	}
	r.aff = aff
	return r, nil
}

// play sends the requests of a history, ends their answers and changes the auths, each at its
// time.
func (p *player) play(ctx context.Context, history []trace.Sent) error {
	next := nextOfSession(p.tr, history)
	changes := p.tr.Changes
	for i := 0; i < len(history) || len(p.ends) > 0; {
		switch {
		case len(p.ends) > 0 && (i == len(history) || p.ends[0].at <= history[i].At):
			e := heap.Pop(&p.ends).(answerEnd)
			p.until(e.at)
			if err := p.end(ctx, e.request); err != nil {
				return err
			}
		case len(changes) > 0 && changes[0].At+p.tr.Later() <= history[i].At:
			p.until(changes[0].At + p.tr.Later())
			p.change(changes[0])
			changes = changes[1:]
		default:
			s := history[i]
			p.until(s.At)
			if err := p.send(ctx, s); err != nil {
				return err
			}
			heap.Push(&p.ends, answerEnd{p.endOf(s, next[i]), s.Request})
			i++
		}
	}
	return nil
}

// until waits until so long after the beginning.
func (p *player) until(at time.Duration) { time.Sleep(at - time.Since(p.begun)) }

// endOf returns when an answer ends: when its tokens have arrived, but not after the session's
// next request, which contains it.
func (p *player) endOf(s trace.Sent, next time.Duration) time.Duration {
	if p.c.Speed == 0 {
		return s.At
	}
	took := p.tr.Requests[s.Request].Took
	if took == 0 {
		took = time.Duration(float64(p.tr.Requests[s.Request].Output) / p.c.Speed * float64(time.Second))
	}
	return min(s.At+took, max(next, s.At))
}

// never is later than all requests.
const never = time.Duration(1<<63 - 1)

// nextOfSession says, for each request of a history, when the next of its session is sent.
func nextOfSession(tr *trace.Trace, history []trace.Sent) []time.Duration {
	out := make([]time.Duration, len(history))
	next := make([]time.Duration, tr.Sessions)
	for i := range next {
		next[i] = never
	}
	for i, s := range slices.Backward(history) {
		session := tr.Requests[s.Request].Session
		out[i] = next[session]
		next[session] = s.At
	}
	return out
}

func (p *player) change(c trace.Change) {
	switch c.What {
	case trace.Added:
		p.there[c.Auth] = true
	case trace.Leaves:
		p.fit[c.Auth] = false
	case trace.Returns:
		p.fit[c.Auth] = true
	case trace.Drained:
		for _, r := range p.runs {
			if r.aff != nil {
				r.aff.Drain(AuthName(c.Auth), true)
			}
		}
		p.drained[c.Auth] = true
	}
	p.seeAuths()
}

func (p *player) seeAuths() {
	p.auths, p.serving = nil, nil
	for a := range p.there {
		if p.there[a] {
			p.auths = append(p.auths, a)
			if p.fit[a] && !p.drained[a] {
				p.serving = append(p.serving, a)
			}
		}
	}
}

// send sends a request with all policies.
func (p *player) send(ctx context.Context, s trace.Sent) error {
	q := &p.tr.Requests[s.Request]
	now := time.Now().UnixNano()
	oracle := p.oracle.send(q, now)
	p.body = q.AppendBody(p.body[:0], p.c.Answers)
	request := affinity.Request{Model: q.Model, Header: p.header(q), Body: p.body, Path: q.Path}
	for _, r := range p.runs {
		r.host.forget()
		auths := p.auths
		if r.aff == nil {
			auths = p.serving
		}
		auth, pick, err := r.choose(ctx, request, auths)
		if err != nil {
			r.m.refused++
			continue
		}
		hit := r.caches[auth].send(q, now)
		r.host.send(auth, q.Input)
		r.m.add(s.At, auth, q.Session, q.Input, hit, oracle, p.serving)
		r.open[s.Request] = open{pick, hit}
	}
	return nil
}

// choose decides, and measures the cost of that.
func (r *run) choose(ctx context.Context, q affinity.Request, auths []int) (int, affinity.Pick[int], error) {
	var pick affinity.Pick[int]
	var err error
	nanos, ok := virtual.Cost(func() {
		if r.aff == nil {
			pick.Auth, err = r.next.Select(ctx, auths)
		} else {
			pick, err = r.aff.Pick(ctx, q, auths, r.next.Select)
		}
	})
	if ok {
		r.m.nanos += nanos
		r.m.timed++
	}
	return pick.Auth, pick, err
}

// end tells all policies that an answer has ended.
func (p *player) end(ctx context.Context, request int) error {
	q := &p.tr.Requests[request]
	var answer sessionid.Answer
	if p.c.Answers {
		p.body = q.AppendAnswer(p.body[:0])
		answer = sessionid.ReadAnswer(p.body)
	}
	for _, r := range p.runs {
		if err := r.end(ctx, request, q, answer); err != nil {
			return err
		}
	}
	return nil
}

// end reports how a request went.
func (r *run) end(ctx context.Context, request int, q *trace.Request, answer sessionid.Answer) (err error) {
	o, ok := r.open[request]
	if !ok {
		return nil
	}
	delete(r.open, request)
	if r.aff == nil {
		return nil
	}
	nanos, _ := virtual.Cost(func() {
		o.pick.Done(affinity.Report{Result: affinity.Served, Usage: affinity.Usage{Prompt: q.Input, Cached: o.hit, Output: q.Output}})
		if !answer.IsZero() {
			err = o.pick.Answered(ctx, answer)
		}
	})
	r.m.nanos += nanos
	return err
}

// header returns the header that names the request's session.
func (p *player) header(q *trace.Request) http.Header {
	switch p.c.Identity {
	case ByID:
		return http.Header{"X-Session-Id": {fmt.Sprint("session-", q.Session)}}
	case AsRecorded:
		return q.Header
	}
	return http.Header{}
}

// answerEnd is when the answer to a request ends.
type answerEnd struct {
	at      time.Duration
	request int
}

// ends is a heap, the earliest first.
type ends []answerEnd

func (e ends) Len() int           { return len(e) }
func (e ends) Less(i, j int) bool { return e[i].at < e[j].at }
func (e ends) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *ends) Push(v any)        { *e = append(*e, v.(answerEnd)) }
func (e *ends) Pop() any {
	last := len(*e) - 1
	v := (*e)[last]
	*e = (*e)[:last]
	return v
}
