package affinity

import (
	"encoding/binary"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// A fork of a conversation has an id of its own and the history of another session, whose
// prompt cache is at one auth. That session is found by the fork's content, but only for its
// auth: the two stay two sessions.
//
// A session is found by its forks through the end of its first request, which is bound as a
// mark. If a second session has the same beginning, the mark finds neither of them. So of many
// sessions that share a prompt, and return with their histories after a restart, at most one
// counts as a fork of the first.

// originKey returns the key by which forks find a session with an id. No request finds its own
// session by this key.
func originKey(k sessionid.Key) cache.Key {
	const mask = 0x5bf03635dca90c1d
	binary.LittleEndian.PutUint64(k[:8], binary.LittleEndian.Uint64(k[:8])^mask)
	binary.LittleEndian.PutUint64(k[8:], binary.LittleEndian.Uint64(k[8:])^mask)
	return k
}

// origin returns the candidate that the session is bound to from which this new session may
// have been forked, if that candidate is fit; otherwise -1. The end of the new session's first
// request is bound, too, so that its own forks find it.
func (v *visit[T]) origin() int {
	id := sessionid.Conversation(v.r.Body)
	if id.IsZero() {
		return -1
	}
	before := id.Boundaries()
	past := make([]cache.Key, len(before))
	for i, k := range before {
		past[i] = originKey(k)
	}
	v.keys.Marks, v.keys.Ongoing = [cache.MaxMarks]cache.Key{originKey(id.End())}, true
	copy(v.keys.Marks[1:], past[max(0, len(past)-len(v.keys.Marks)+1):])
	if len(past) == 0 {
		return -1
	}
	b, ok, err := v.store.Peek(v.ctx, v.scope, cache.Keys{End: v.keys.Marks[0], Fallbacks: past})
	if !v.check(err) || !ok || !b.Bound() {
		return -1
	}
	i := v.serving(b.Auth, rankFit)
	if i < 0 {
		return -1
	}
	if v.open(v.candidate(i), v.level(-1), anyLoad) { // it must not have much more load than others
		return i
	}
	return -1
}
