package affinity

import (
	"encoding/binary"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// A fork of a conversation has an id of its own and the history of another session,
// whose prompt cache lives at one auth. By the content the fork finds that session,
// for its place only: the two stay two sessions.

// originKey is the key by which a session with an id is found by forks of it. It is
// no key by which requests find their session.
func originKey(k sessionid.Key) cache.Key {
	const mask = 0x5bf03635dca90c1d
	binary.LittleEndian.PutUint64(k[:8], binary.LittleEndian.Uint64(k[:8])^mask)
	binary.LittleEndian.PutUint64(k[8:], binary.LittleEndian.Uint64(k[8:])^mask)
	return k
}

// origin is the candidate to which the session is bound from which this new session
// may have been forked, if that is fit; otherwise -1. The end of the new session's
// first request is bound with it, so that its forks find it.
func (v *visit[T]) origin() int {
	id := sessionid.Conversation(v.r.Body)
	if id.IsZero() {
		return -1
	}
	keys := cache.Keys{End: originKey(id.End())}
	if n := len(v.keys.Also) - 1; v.keys.Also[n] == (cache.Key{}) {
		v.keys.Also[n] = keys.End
	}
	before := id.Boundaries()
	if len(before) == 0 {
		return -1
	}
	keys.Past = make([]cache.Key, len(before))
	for i, k := range before {
		keys.Past[i] = originKey(k)
	}
	b, ok, err := v.store.Peek(v.ctx, v.scope, keys)
	if !v.check(err) || !ok || !b.Bound() {
		return -1
	}
	return v.serving(b.Auth, rankFit)
}
