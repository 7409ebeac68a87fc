package affinity

import (
	"context"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// A client that compacts its conversation may put the summary that the model has answered
// inside a message of its own. That message is new text, so the keys of the conversation are
// new, too. But when the summary was answered, keys of its passages were bound, and the
// message has the same passages. They are looked up only if no other key is known and the
// request says that it begins with a summary.

// bySummary reports whether the session of an unknown request may be found by the summary in
// the request.
func bySummary(r *Request, id *sessionid.ID) bool {
	return r.ID == nil && byContent(id) && id.Past() == sessionid.PastSummary
}

// summaryKeys returns the keys of such a request, in which the passages of its summary find
// the session.
func summaryKeys(r *Request, id *sessionid.ID) cache.Keys {
	k := keysOf(id)
	k.Fallbacks = sessionid.Passages(r.Body)
	k.Marks = [cache.MaxMarks]cache.Key{} // MarksFrom is about other Fallbacks
	return k
}

// findBySummary looks a session up, as find does, by the summary in the request.
func (a *Affinity[T]) findBySummary(ctx context.Context, r *Request, scope *cache.Scope, id *sessionid.ID, b *cache.Binding) (known bool, err error) {
	keys := summaryKeys(r, id)
	switch {
	case len(keys.Fallbacks) == 0:
		return false, nil
	case r.Side || r.Force != "":
		*b, known, err = a.store.Peek(ctx, *scope, keys)
	default:
		*b, known, err = a.store.Get(ctx, *scope, keys)
	}
	a.check(err)
	return known, err
}
