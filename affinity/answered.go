package affinity

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// asked is a request whose session only its content names, until its answer is
// known.
type asked struct {
	id      sessionid.ID
	session cache.Binding
	end     cache.Key // of the request, as it is bound
	opening bool      // nothing before this request is known of the session
}

// mostTries is how often one opening is taken for one that was sent again, while no
// answer to it is known. A host that hands answers back can tell the sessions apart
// later, so the next ones are conversations of their own: a thousand that begin alike
// at one moment are spread.
const mostTries = 4

// apart makes a request that is one of many equal openings one of a new session. That
// is found by nothing but the answers.
func (k *core) apart(ctx context.Context, id *sessionid.ID, b *cache.Binding) bool {
	if !b.Opening || b.Asked <= mostTries || !k.answers.Load() || !byContent(id) {
		return false
	}
	if b.Bound() && !b.Served {
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
// [sessionid.AnswerWriter] has read it. Call it when the answer was passed on, before
// or after Report, from any goroutine. Call it for every answer or for none.
//
// Two conversations that begin with the same words are one request; their answers
// differ. With the answers, each of them goes on in a session of its own, and an
// equal first request whose answer is known is a new conversation. Without them both
// share a session until they part. A history that the client has rewritten is found
// by what an answer said, too. It costs a session of content a few keys. A session
// with an id of its own needs none.
//
// Answered also does what Owns does for the state that the answer names.
func (p Pick[T]) Answered(ctx context.Context, a sessionid.Answer) error {
	v := &p.visitor
	if v.core == nil || p.Decision.Auth == "" {
		return nil
	}
	if !a.IsZero() && !v.core.answers.Load() {
		v.core.answers.Store(true)
	}
	var failed error
	for _, o := range a.Owners() {
		if err := v.core.store.Remember(ctx, ownerScope(v.scope), o.Key, p.Decision.Auth); !v.core.check(err) {
			failed = err
		}
	}
	if v.asked == nil || v.asked.session.Gen == 0 {
		return failed
	}
	keys := v.asked.id.After(&a)
	if len(keys) == 0 {
		return failed
	}
	return errors.Join(failed, v.core.answered(ctx, v, p.Decision.Auth, keys))
}

// answered binds the keys of an answer to the session of its request. If that is an
// opening which had another answer already, the answer is another conversation's,
// which gets a session without an auth: its next request is placed by the balancer.
func (k *core) answered(ctx context.Context, v *visitor, auth string, keys []cache.Key) error {
	q := v.asked
	b := q.session
	b.Opening = q.opening
	extended, err := k.store.Extend(ctx, b, q.end, keys)
	if !k.check(err) || extended || !q.opening {
		return err
	}
	of := cache.Keys{End: keys[0]}
	copy(of.Also[:], keys[1:])
	other, existed, err := k.store.Bind(ctx, v.scope, of, auth)
	if !k.check(err) || existed {
		return err
	}
	_, err = k.store.Release(ctx, other, true)
	k.check(err)
	return err
}

// Owns records that the auth of this pick holds state that a later request may
// name. name and id are those of sessionid.OwnerKey, for example
// "previous_response_id" and the id of the response that came back. The record
// lives as long as an idle session does. It takes no room from sessions. An id
// that is none is ignored. State that stands for the messages before it, as a
// response does, also leads to the session. A host that calls Answered need not call
// Owns.
func (p Pick[T]) Owns(ctx context.Context, name, id string) error {
	return p.Answered(ctx, sessionid.StateAnswer(name, id))
}

// ownerScope is where owners are noted. State belongs to a tenant and a pool, not
// to a model.
func ownerScope(s cache.Scope) cache.Scope { return cache.Scope{Tenant: s.Tenant, Pool: s.Pool} }
