// Package trace has the requests of a trace: when each was sent, which session it is part of,
// how long its prompt is, which blocks of a prompt cache the prompt takes, and what its body
// looks like.
package trace

import (
	"cmp"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"
)

// BlockTokens is how many tokens of a prompt are one block of a prompt cache.
const BlockTokens = 512

// tokenBytes is about how many bytes of text are a token.
const tokenBytes = 4

// Request is one request of a trace.
type Request struct {
	// Session counts the trace's sessions from 0.
	Session int
	// At is when the request was sent, counted from the beginning of the trace.
	At time.Duration
	// Input and Output are the tokens of the prompt and of the answer.
	Input, Output int
	// Took is how long the answer took, or 0 if that is not known.
	Took time.Duration
	// Blocks are the blocks of the prompt, each counted from 0. Equal prefixes of prompts
	// are equal prefixes of blocks.
	Blocks []int32
	// Header is the recorded header, nil if there is none.
	Header http.Header
	// Path is the request's path, empty if it is not known. Model is the model that it asks
	// for.
	Path, Model string

	body body
}

// body makes a request's body, and its answer.
type body interface {
	appendTo(buf []byte, answers bool) []byte
	appendAnswer(buf []byte) []byte
}

// AppendBody appends the request's body to buf. The same request always has the same body.
// With answers, the messages of a body that is made of blocks are also cut after the answers.
func (r *Request) AppendBody(buf []byte, answers bool) []byte { return r.body.appendTo(buf, answers) }

// AppendAnswer appends the answer to the request, which its session's next request repeats. It
// appends nothing if the trace has no answers.
func (r *Request) AppendAnswer(buf []byte) []byte { return r.body.appendAnswer(buf) }

// The kinds of a Change.
const (
	Added   = "added"   // the auth can be chosen from now on, and could not before
	Drained = "drained" // the auth gets no new sessions from now on
	Leaves  = "leaves"  // the auth cannot serve from now on
	Returns = "returns" // the auth can serve again
)

// Change is a change of an auth during a trace.
type Change struct {
	At   time.Duration
	Auth int
	What string
}

// Trace is a trace.
type Trace struct {
	Name     string
	Requests []Request // in the order of time
	Sessions int
	// Blocks is how many blocks there are.
	Blocks int
	// Recorded says that the requests have headers and bodies that were recorded, so that
	// their own signals name the session.
	Recorded bool
	// Named says that the trace itself says which session each request belongs to.
	Named bool
	// Changes are in the order of time.
	Changes []Change
	// Shift is the most by which a session begins earlier or later in a history; 0 means 30
	// seconds.
	Shift time.Duration
}

// Tokens returns the tokens of all prompts.
func (t *Trace) Tokens() (n int) {
	for i := range t.Requests {
		n += t.Requests[i].Input
	}
	return n
}

// earlierOrLater is the Shift of a trace that has none.
const earlierOrLater = 30 * time.Second

// Sent is a request of a history, and when it is sent.
type Sent struct {
	At      time.Duration
	Request int
}

// History returns the trace with each session begun up to Shift earlier or later, by a seeded
// generator. A single run depends on chance: with a hundred sessions one arrangement is even
// and one almost like it is not.
func (t *Trace) History(seed uint64) []Sent {
	rng := rand.New(rand.NewPCG(seed, 0x7265706c6179))
	shift := make([]time.Duration, t.Sessions)
	for i := range shift {
		// The shift counts from 0 and not from -Shift, so that no request is sent before the
		// clock begins.
		shift[i] = time.Duration(rng.Float64() * float64(2*t.Later()))
	}
	out := make([]Sent, len(t.Requests))
	for i := range t.Requests {
		out[i] = Sent{t.Requests[i].At + shift[t.Requests[i].Session], i}
	}
	slices.SortStableFunc(out, func(a, b Sent) int { return cmp.Compare(a.At, b.At) })
	return out
}

// Later is how much later than its trace a history is on average.
func (t *Trace) Later() time.Duration {
	if t.Shift > 0 {
		return t.Shift
	}
	return earlierOrLater
}

// model is the model in traces that name none.
const model = "replay"
