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
	// At is when the request was sent, since the trace's begin.
	At time.Duration
	// Input and Output are the tokens of the prompt and of the answer.
	Input, Output int
	// Took is how long the answer took, 0 if that is not known.
	Took time.Duration
	// Blocks are the blocks of the prompt, each counted from 0. Equal prefixes of prompts
	// are equal prefixes of blocks.
	Blocks []int32
	// Header is what was recorded, nil if nothing was.
	Header http.Header
	// Path is the request's path, empty if it is not known. Model is what it asks for.
	Path, Model string

	body body
}

// body is how a request's body is made, and its answer.
type body interface {
	appendTo(buf []byte, answers bool) []byte
	appendAnswer(buf []byte) []byte
}

// AppendBody appends the request's body to buf. The same request always has the same body. With
// answers, the messages of a body that is made of blocks are cut behind the answers, too.
func (r *Request) AppendBody(buf []byte, answers bool) []byte { return r.body.appendTo(buf, answers) }

// AppendAnswer appends the answer to the request, which its session's next request repeats. It
// is nothing if the trace has no answers.
func (r *Request) AppendAnswer(buf []byte) []byte { return r.body.appendAnswer(buf) }

// What happens to an auth.
const (
	Added   = "added"   // it can be chosen from now on, and could not before
	Drained = "drained" // it gets no new sessions from now on
	Leaves  = "leaves"  // it cannot serve from now on
	Returns = "returns" // it can serve again
)

// Change is what happens to an auth during a trace.
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
	// Named says that the trace itself says which session a request is part of.
	Named bool
	// Changes are in the order of time.
	Changes []Change
	// Shift is by how much a session of a history begins earlier or later; 0 is 30 seconds.
	Shift time.Duration
}

// Tokens returns the tokens of all prompts.
func (t *Trace) Tokens() (n int) {
	for i := range t.Requests {
		n += t.Requests[i].Input
	}
	return n
}

// earlierOrLater is by how much a session of a history begins earlier or later, if the trace
// does not say.
const earlierOrLater = 30 * time.Second

// Sent is when a request is sent in a history, and which one.
type Sent struct {
	At      time.Duration
	Request int
}

// History is the trace with each session begun up to 30 seconds (or Shift) earlier or later, by a
// seeded generator. One run of a trace is chance: with a hundred sessions one arrangement is even and
// its neighbour is not.
func (t *Trace) History(seed uint64) []Sent {
	rng := rand.New(rand.NewPCG(seed, 0x7265706c6179))
	shift := make([]time.Duration, t.Sessions)
	for i := range shift {
		// From 0 up instead of from -30 up: no request is sent before the clock begins.
		shift[i] = time.Duration(rng.Float64() * float64(2*t.Later()))
	}
	out := make([]Sent, len(t.Requests))
	for i := range t.Requests {
		out[i] = Sent{t.Requests[i].At + shift[t.Requests[i].Session], i}
	}
	slices.SortStableFunc(out, func(a, b Sent) int { return cmp.Compare(a.At, b.At) })
	return out
}

// Later is by how much a history is later than its trace in the middle.
func (t *Trace) Later() time.Duration {
	if t.Shift > 0 {
		return t.Shift
	}
	return earlierOrLater
}

// model is what requests ask for in traces that do not say.
const model = "replay"
