package affinity

import (
	"encoding/binary"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// A fork of a conversation has an id of its own and the history of another session,
// whose prompt cache lives at one auth. By the content the fork finds that session,
// for its place only: the two stay two sessions.
//
// What a session leaves for its forks is the end of its first request, as a mark: if a
// second session comes with the same beginning it leads nowhere. So many sessions that
// share a prompt, and come with their history after a restart, are no forks of the
// first one but once.

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
	b, ok, err := v.store.Peek(v.ctx, v.scope, cache.Keys{End: v.keys.Marks[0], Past: past})
	if !v.check(err) || !ok || !b.Bound() {
		return -1
	}
	i := v.serving(b.Auth, rankFit)
	if i < 0 {
		return -1
	}
	if v.open(v.candidate(i), v.level(-1), anyLoad) { // it must not have much more to do than others
		return i
	}
	return -1
}
