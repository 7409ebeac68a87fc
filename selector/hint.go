package selector

import "context"

// Hint is what a caller knows of the request that a Selector is to choose for. Package
// affinity gives one with every call. The zero Hint says nothing.
type Hint struct {
	// Key is the same number for the same session. HasKey says that there is one.
	Key    uint64
	HasKey bool
	// Pool and Model are what the candidates are chosen for. A Selector that takes turns
	// does so for each pool and model.
	Pool, Model string
	// Tokens is how long the prompt is, 0 if nobody knows. It may be an estimate.
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

// WithHint puts a Hint into a context, in place of one that is there.
func WithHint(ctx context.Context, h Hint) context.Context { return &hinted{ctx, h} }

// HintOf returns the Hint that is in a context.
func HintOf(ctx context.Context) (h Hint) {
	if there, ok := ctx.Value(hintKey{}).(*Hint); ok {
		h = *there
	}
	return h
}

// WithKey puts a key into a context: the same number for the same session.
// Selectors that place equal keys on equal auths find the key there. The rest of a Hint
// that is there stays.
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
