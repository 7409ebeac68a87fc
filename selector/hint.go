package selector

import "context"

// Hint is what a Selector may know of a request. Package affinity passes one with every call.
// In the zero Hint nothing is known.
type Hint struct {
	// Key is a number that is the same for the same session. HasKey says that there is one.
	Key    uint64
	HasKey bool
	// Pool and Model are those of the request. A round robin keeps one turn for each of them.
	Pool, Model string
	// Tokens is the length of the prompt, 0 if it is not known. It may be an estimate.
	Tokens float64
}

type hintKey struct{}

// hinted is a context with a Hint: one allocation.
type hinted struct {
	context.Context
	hint Hint
}

func (h *hinted) Value(of any) any {
	if of == (hintKey{}) {
		return &h.hint
	}
	return h.Context.Value(of)
}

// WithHint returns a context with a Hint, which replaces the Hint of ctx.
func WithHint(ctx context.Context, h Hint) context.Context { return &hinted{ctx, h} }

// HintOf returns the Hint of a context.
func HintOf(ctx context.Context) (h Hint) {
	if there, ok := ctx.Value(hintKey{}).(*Hint); ok {
		h = *there
	}
	return h
}

// WithKey returns a context with a key: a number that is the same for the same session.
// Selectors that choose by the key take it from there. The rest of ctx's Hint stays.
func WithKey(ctx context.Context, key uint64) context.Context {
	h := HintOf(ctx)
	h.Key, h.HasKey = key, true
	return WithHint(ctx, h)
}

// KeyOf returns the key that WithKey or WithHint has put into a context.
func KeyOf(ctx context.Context) (key uint64, ok bool) {
	h := HintOf(ctx)
	return h.Key, h.HasKey
}
