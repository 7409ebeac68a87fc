package affinity

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// asked is a request whose session only its content names, until its answer is
// known.
type asked struct {
	id  sessionid.ID
	end cache.Key // of the request, as it is bound

	mu      sync.Mutex
	session cache.Binding // the one that its answers belong to
	opening bool          // nothing before this request is known of that session
}

// mostTries is how often one opening is taken for one that was sent again, while no
// answer to it is known. A host that hands answers back can tell the sessions apart
// later, so the next ones are conversations of their own: a thousand that begin alike
// at one moment are spread.
const mostTries = 8

// apart makes a request that is one of many equal openings one of a new session. That
// is found by nothing but the answers. A session in trouble is sent again for that
// reason.
func (k *core) apart(ctx context.Context, id *sessionid.ID, b *cache.Binding) bool {
	if !b.Opening || b.Asked <= mostTries || !b.Bound() || b.Memo != "" || !k.answers.Load() || !byContent(id) {
		return false
	}
	if !b.Served {
		_, err := k.store.Release(ctx, *b, false)
		k.check(err)
	}
	*b = cache.Binding{}
	return true
}

// anyKey is a key that nothing else has.
func anyKey() (k cache.Key) {
	binary.LittleEndian.PutUint64(k[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(k[8:], rand.Uint64()|1)
	return k
}

// byContent reports whether only the content names the session.
func byContent(id *sessionid.ID) bool {
	return len(id.Names()) == 0 && id.End() != sessionid.Key{}
}

// Answered says what the upstream has answered, as [sessionid.ReadAnswer] or a
// [sessionid.AnswerWriter] has read it. Call it when the answer has ended, before or
// after Report, from any goroutine, with a context that outlives the request. Call it
// for every answer or for none. A second answer of one pick belongs to the session of
// the first.
//
// Two conversations that begin with the same words are one request; their answers
// differ. With the answers, each of them goes on in a session of its own, and an
// equal first request whose answer is known is a new conversation. Without them both
// share a session until they part. A history that the client has rewritten is found
// by what an answer said, too, also if the client has put a summary that was answered
// inside a text of its own. It costs a session of content a few keys. A session with an
// id of its own needs none.
//
// Answered also does what Owns does for the state that the answer names. An answer that
// is not whole does nothing else, because the client may ask again. Nor does the answer
// to a Force, or to a Side request that begins a conversation.
func (p Pick[T]) Answered(ctx context.Context, a sessionid.Answer) error {
	v := &p.visitor
	if v.core == nil || p.Decision.Auth == "" {
		return nil
	}
	var failed error
	for _, o := range a.Owners() {
		if err := v.core.store.Remember(ctx, ownerScope(v.scope), o.Key, p.Decision.Auth); !v.core.check(err) {
			failed = err
		}
	}
	if v.asked == nil || !a.IsWhole() || p.Decision.Outcome == OutcomeForced {
		return failed
	}
	keys, ids := v.asked.id.After(a)
	passages := v.asked.id.Passages(a)
	if len(keys) == 0 && len(ids) == 0 && len(passages) == 0 {
		return failed
	}
	if !v.core.answers.Load() {
		v.core.answers.Store(true)
	}
	return errors.Join(failed, v.core.answered(ctx, v, p.Decision.Auth, keys, ids, passages))
}

// answered binds the keys of an answer to the session of its request. If that is an
// opening which had another answer already, the answer is another conversation's,
// which gets a session without an auth: its next request is placed by the balancer.
func (k *core) answered(ctx context.Context, v *visitor, auth string, keys, ids, passages []cache.Key) error {
	q := v.asked
	q.mu.Lock()
	defer q.mu.Unlock()
	side := v.binding.Gen == 0 // results of it concern nobody
	if q.session.Gen == 0 || side && q.opening {
		return nil
	}
	if k.doubts.has(v.scope) {
		ids = nil
	}
	marks := slices.Concat(ids, passages)
	ofIDs := uint8(1<<len(ids) - 1)
	b, end := q.session, q.end
	b.Opening = q.opening
	if side {
		end = cache.Key{}
	}
	extended, shared, err := k.store.Extend(ctx, b, end, keys, marks)
	if shared&ofIDs != 0 {
		k.doubts.shared(v.scope)
	}
	if extended {
		q.opening = false
	}
	if !k.check(err) || extended || !q.opening || len(keys) == 0 {
		return err
	}
	of := cache.Keys{End: keys[0], Ongoing: true}
	copy(of.Also[:], keys[1:])
	copy(of.Marks[:], marks)
	other, existed, err := k.store.Bind(ctx, v.scope, of, auth)
	if !k.check(err) {
		return err
	}
	if other.Shared&ofIDs != 0 {
		k.doubts.shared(v.scope)
	}
	q.session, q.opening = other, false
	if !existed {
		_, err = k.store.Release(ctx, other, true)
		k.check(err)
	}
	return err
}

// Owns records that the auth of this pick holds state that a later request may
// name. name and id are those of sessionid.OwnerKey, for example
// "previous_response_id" and the id of the response that came back. The record
// lives as long as an idle session does. It takes no room from sessions. An id
// that is none is ignored; so, in effect, is a name that no request has. State that
// stands for the messages before it, as a response does, also leads to the session. A
// host that calls Answered need not call Owns.
func (p Pick[T]) Owns(ctx context.Context, name, id string) error {
	return p.Answered(ctx, sessionid.StateAnswer(name, id))
}

// ownerScope is where owners are noted. State belongs to a tenant and a pool, not
// to a model.
func ownerScope(s cache.Scope) cache.Scope { return cache.Scope{Tenant: s.Tenant, Pool: s.Pool} }
