package affinity

import (
	"context"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// A client that compacts its conversation may put the summary that the model has
// answered inside a message of its own. What that message says is new, and so is the
// conversation for all that its keys tell. But the answer has left keys of passages of
// it, and the message has these passages. Only a request that is known by nothing else,
// and says that it begins with a summary, is searched for them.

// bySummary reports whether a request that is not known may be found by the summary in it.
func bySummary(r *Request, id *sessionid.ID) bool {
	return r.ID == nil && byContent(id) && id.Past() == sessionid.PastSummary
}

// summaryKeys are the keys of such a request, with the passages of its summary as what
// finds the session.
func summaryKeys(r *Request, id *sessionid.ID) cache.Keys {
	k := keysOf(id)
	k.Past = sessionid.Passages(r.Body)
	k.Marks = [cache.MaxMarks]cache.Key{} // MarksFrom is about another Past
	return k
}

// findBySummary looks a session up by the summary in the request, as find does.
func (a *Affinity[T]) findBySummary(ctx context.Context, r *Request, scope *cache.Scope, id *sessionid.ID, b *cache.Binding) (known bool, err error) {
	keys := summaryKeys(r, id)
	switch {
	case len(keys.Past) == 0:
		return false, nil
	case r.Side || r.Force != "":
		*b, known, err = a.store.Peek(ctx, *scope, keys)
	default:
		*b, known, err = a.store.Get(ctx, *scope, keys)
	}
	a.check(err)
	return known, err
}
