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

// asked is a request whose session is identified only by its content, until its answer is
// known.
type asked struct {
	id  sessionid.ID
	end cache.Key // of the request, as it is bound

	mu      sync.Mutex
	session cache.Binding // the one that its answers belong to
	opening bool          // nothing before this request is known of that session
}

// mostTries is how many requests with the same opening count as repetitions of one, while no
// answer to it is known. A host that calls Answered can tell the sessions apart later, so each
// further one is a conversation of its own: a thousand that begin alike at one moment are
// spread.
const mostTries = 8

// apart gives a request that is one of many equal openings a new session, which is found only
// by its answers. It does not if an auth has failed the session: then its requests are
// repeated for that reason.
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

// anyKey returns a random key, which nothing else has.
func anyKey() (k cache.Key) {
	binary.LittleEndian.PutUint64(k[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(k[8:], rand.Uint64()|1)
	return k
}

// byContent reports whether only the content identifies the session.
func byContent(id *sessionid.ID) bool {
	return len(id.Names()) == 0 && id.End() != sessionid.Key{}
}

// Answered records the upstream's answer, as [sessionid.ReadAnswer] or a
// [sessionid.AnswerWriter] has read it. Call it when the answer has ended, before or after
// Report, from any goroutine. Call it for every answer or for none. A second answer of one pick
// belongs to the session of the first.
//
// ctx may be the context of the request: the answer is recorded even if that is done, because
// the client has left. Only its values are used. Answered waits for Options.Store for at most
// one second.
//
// Two conversations that begin with the same words have equal first requests, but their
// answers differ. With Answered each of them continues in a session of its own, which the
// balancer places: its second request may go to another auth than its first. And a first
// request is a new conversation if an equal one was answered already. Without it both share a
// session until they differ. A history that the client has rewritten is found by its answers,
// too, even if the client has put a summary that was answered inside a text of its own. A
// session that is identified by its content needs a few more keys for this, and a session with
// an id needs none.
//
// Answered also calls Owns for the state that the answer names. It does nothing else for an
// incomplete answer, because the client may repeat the request, for the answer to a request
// with Force, and for the answer to a Side request that begins a conversation.
func (p Pick[T]) Answered(ctx context.Context, a sessionid.Answer) error {
	v := &p.visitor
	if v.core == nil || p.Decision.Auth == "" {
		return nil
	}
	ctx, cancel := v.core.beyond(ctx)
	defer cancel()
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

// answered binds the keys of an answer to the session of its request. If the request is an
// opening that had another answer already, the answer is of another conversation. That one
// gets a session without an auth, and the balancer chooses for its next request.
func (k *core) answered(ctx context.Context, v *visitor, auth string, keys, ids, passages []cache.Key) error {
	q := v.asked
	q.mu.Lock()
	defer q.mu.Unlock()
	side := v.binding.Gen == 0 // its results change no session
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
	done, err := k.store.BindAnswer(ctx, b, cache.Answer{End: end, Keys: keys, Marks: marks})
	if done.Shared&ofIDs != 0 {
		k.doubts.shared(v.scope)
	}
	if done.Accepted {
		q.opening = false
	}
	if !k.check(err) || done.Accepted || !q.opening || len(keys) == 0 {
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

// Owns records that the auth of this pick has state that a later request may name. name and id
// are those of sessionid.OwnerKey, for example "previous_response_id" and the id of the
// response that came back. The record expires as an idle session does. It does not count
// against the limit of sessions. An invalid id is ignored, and a name that no request uses has
// no effect. State that represents the messages before it, as a response does, also identifies
// the session. A host that calls Answered need not call Owns. ctx is that of Answered.
func (p Pick[T]) Owns(ctx context.Context, name, id string) error {
	return p.Answered(ctx, sessionid.StateAnswer(name, id))
}

// ownerScope is the scope in which owners are recorded. State belongs to a tenant and a pool,
// not to a model.
func ownerScope(s cache.Scope) cache.Scope { return cache.Scope{Tenant: s.Tenant, Pool: s.Pool} }
