package fallback

import (
	"context"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
)

// offer tells remote of one session. It returns false if remote does not answer.
func (s *Store) offer(known *session) bool {
	s.mu.Lock()
	switch {
	case len(s.later) > 0: // remote does not know yet what an operation of Admin has changed
		s.mu.Unlock()
		return true
	case s.t.live(known) == nil || !s.t.isPending(known):
		delete(s.t.pending, known)
		s.mu.Unlock()
		return true
	}
	o := s.t.offerOf(known)
	s.mu.Unlock()

	there, err := s.place(o)
	if err == nil {
		ctx, cancel := s.budget()
		s.meet(ctx, o.was.given)
		cancel()
		err = s.complete(o, &there)
	}
	if err != nil {
		return false
	}
	s.offered.Add(1)
	if there.Gen != 0 && there.Auth != o.was.b.Auth {
		s.adopted.Add(1)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.t.sessions.Contains(known) { // otherwise it was invalidated meanwhile, and remote is told so next
		s.t.settle(known, o, &there)
	}
	return true
}

// offer is a session as it was when it was offered, and what remote has answered.
type offer struct {
	was   session
	keys  cache.Keys  // its ids, and its End
	more  []cache.Key // the keys of its others that find it
	base  string      // the memo that remote had, as far as this process knows
	ours  bool        // this process has made the binding at remote
	fresh bool        // it was bound at remote just now, with its keys
	known int         // the open uses that remote has counted for this process
}

func (t *table) offerOf(known *session) *offer {
	o := &offer{was: *known, base: known.remote.Memo}
	o.keys.End = known.end
	if n := copy(o.keys.Names[:], known.names); n < len(known.names) { // the first one, and the latest
		copy(o.keys.Names[1:], known.names[len(known.names)-n+1:])
	}
	for _, k := range known.others[max(0, len(known.others)-cache.MaxAnswer):] {
		if t.byKey[scoped{known.scope, k}] == known { // another conversation may have the key now
			o.more = append(o.more, k)
		}
	}
	return o
}

// place binds a session at remote, and returns its binding there, or the zero Binding if there
// is none.
func (s *Store) place(o *offer) (there cache.Binding, err error) {
	ctx, cancel := s.budget()
	defer cancel()
	if o.was.remote.Gen != 0 && time.Since(o.was.told) >= s.t.ttl { // it has expired at remote
		o.was.forgotten()
	}
	if o.was.stale {
		if there, err = s.refresh(ctx, o); err != nil || there.Gen == 0 || there.Bound() {
			return there, err
		}
	}
	was := &o.was
	switch {
	case !was.b.Bound():
		return s.lose(ctx, o)
	case was.remote.Gen != 0 && was.b.Gen == was.remote.Gen:
		o.ours, o.known, there = true, was.held, was.remote
	default:
		there, err = s.bindThere(ctx, o)
	}
	if err == nil && was.doubt && provisional(&there) && there.Auth == was.b.Auth && !was.b.Served {
		there, err = s.anew(ctx, o, there)
	}
	return there, err
}

// anew makes a new generation of a binding for which it is unknown how many uses remote has
// counted. For the new generation it has counted one.
func (s *Store) anew(ctx context.Context, o *offer, b cache.Binding) (there cache.Binding, err error) {
	there, o.ours, err = s.remote.Move(ctx, b, b.Auth)
	o.known = opened(&there)
	return there, err
}

// bindThere binds a session at remote, or moves it there, to the auth that it has here.
func (s *Store) bindThere(ctx context.Context, o *offer) (there cache.Binding, err error) {
	was := &o.was
	if was.remote.Gen == 0 {
		if o.keys.IsZero() {
			return there, nil
		}
		existed := false
		there, existed, err = s.remote.Bind(ctx, was.given, o.keys, was.b.Auth)
		o.ours, o.fresh = !existed, true
		if err != nil || !existed || there.Gen != was.forgot.Gen {
			o.known = opened(&there)
			return there, err
		}
		was.remote, o.base = there, was.forgot.Memo // remote has not lost it
		if o.known = was.held + opened(&there); was.b.Gen == there.Gen {
			o.ours = true
			return there, nil
		}
	}
	// A session that is gone at remote stays gone: it may have been invalidated.
	there, o.ours, err = s.remote.Move(ctx, was.remote, was.b.Auth)
	o.known = opened(&there)
	return there, err
}

// opened returns how many uses an operation has opened if it has returned b.
func opened(b *cache.Binding) int {
	if provisional(b) {
		return 1
	}
	return 0
}

// refresh asks remote for a session that has lost its auth there, or was to lose it. It
// returns the binding that others have made since, or the zero Binding if the session is gone.
// If it is unbound, this process may bind it.
func (s *Store) refresh(ctx context.Context, o *offer) (there cache.Binding, err error) {
	there, err = s.look(ctx, o)
	if !there.Bound() {
		o.was.remote, o.was.held, o.was.ended = there, 0, false
	}
	return there, err
}

// look returns the session's binding at remote.
func (s *Store) look(ctx context.Context, o *offer) (there cache.Binding, err error) {
	k := o.keys
	k.Fallbacks = o.more
	there, _, err = s.remote.Peek(ctx, o.was.given, k)
	if there.Session != o.was.remote.Session {
		there = cache.Binding{}
	}
	return there, err
}

// lose tells remote that a session has lost its auth. Remote keeps the name of that auth, too.
func (s *Store) lose(ctx context.Context, o *offer) (there cache.Binding, err error) {
	was := &o.was
	again := !was.remote.Bound() && !was.stale && local(was.b.Gen) // bound here, and lost again
	if was.remote.Gen == 0 || again || was.remote.Bound() && was.remote.Auth != was.b.Auth {
		there, err = s.bindThere(ctx, o)
		mine := o.ours || was.doubt && provisional(&there) && there.Auth == was.b.Auth
		if err != nil || !mine {
			return there, err
		}
		was.remote, was.held, was.ended = there, o.known, was.b.Lost == cache.Released
	}
	if was.doubt && provisional(&was.remote) {
		if there, err = s.anew(ctx, o, was.remote); err != nil {
			return there, err
		}
		was.remote, was.held, was.ended = there, o.known, was.b.Lost == cache.Released
	}
	if was.b.Memo != o.base {
		if _, err = s.amend(ctx, o, was.remote); err != nil {
			return there, err
		}
	}
	switch {
	case !was.remote.Bound():
	case !was.ended:
		_, err = s.remote.Unbind(ctx, was.remote)
	default: // if other replicas have open uses, the session keeps its auth
		if o.known = was.held; was.held == 0 {
			err = s.count(ctx, o, &was.remote, 1)
			was.held = o.known
		}
		for ; was.held > 0 && err == nil; was.held-- {
			_, err = s.remote.Release(ctx, was.remote, true)
		}
	}
	if err != nil {
		return there, err
	}
	o.known = 0
	return s.look(ctx, o)
}

// complete tells remote what else this process knows of a binding, if remote has bound the
// session to the same auth. It binds the session's new ids and ends there in any case.
func (s *Store) complete(o *offer, there *cache.Binding) error {
	ctx, cancel := s.budget()
	defer cancel()
	was := &o.was
	if was.keyed > 0 && !o.fresh && there.Bound() {
		if err := s.name(ctx, o, there); err != nil {
			return err
		}
	}
	if there.Auth != was.b.Auth || !there.Bound() {
		return s.count(ctx, o, there, 0)
	}
	switch {
	case was.confirmed || was.b.Served && !there.Served:
		_, current, err := s.remote.Confirm(ctx, *there)
		if err != nil {
			return err
		}
		o.known = 0
		if !current { // another replica has moved the session, or it is gone
			*there, _, err = s.remote.Peek(ctx, was.given, o.keys)
			return err
		}
		there.Served = true
	case was.touched && was.keyed == 0 && !o.fresh:
		if _, err := s.remote.Touch(ctx, *there); err != nil {
			return err
		}
	}
	if !was.b.Served {
		if err := s.count(ctx, o, there, was.uses); err != nil {
			return err
		}
	}
	if was.b.Memo != o.base && (o.ours || there.Memo == "") {
		memo, err := s.amend(ctx, o, *there)
		if err != nil {
			return err
		}
		there.Memo = memo
	}
	if len(o.more) == 0 {
		return nil
	}
	of := *there
	of.Opening = false
	_, err := s.remote.BindAnswer(ctx, of, cache.Answer{Keys: o.more})
	return err
}

// name binds the session's new keys to it at remote.
func (s *Store) name(ctx context.Context, o *offer, there *cache.Binding) error {
	k := o.keys
	k.Fallbacks = o.more
	b, ok, err := s.remote.Get(ctx, o.was.given, k)
	if err == nil && ok && b.Session == there.Session && b.Gen == there.Gen {
		o.known += opened(&b)
	}
	return err
}

// amend gives remote the session's memo, and returns the memo that remote has then. If remote
// has another memo, and this process may have written it, amend replaces it.
func (s *Store) amend(ctx context.Context, o *offer, b cache.Binding) (memo string, err error) {
	now, amended, err := s.remote.Amend(ctx, b, o.was.b.Memo)
	if err == nil && !amended && o.was.doubt && now.Gen == b.Gen {
		now, _, err = s.remote.Amend(ctx, now, o.was.b.Memo)
	}
	if now.Gen == 0 {
		return b.Memo, err
	}
	return now.Memo, err
}

// maxOpened is how many open uses of one session remote is told of. There are seldom more
// before the auth has served the session once.
const maxOpened = 16

// count tells remote how many open uses this process has of a provisional binding.
func (s *Store) count(ctx context.Context, o *offer, there *cache.Binding, uses int) error {
	if !provisional(there) {
		o.known = 0
		return nil
	}
	for ; o.known > uses; o.known-- {
		if _, err := s.remote.Release(ctx, *there, false); err != nil {
			return err
		}
	}
	older := *there
	older.Gen = 1 << 63 // no store's generation: a Move that is not current opens a use of the current binding
	for ; o.known < min(uses, maxOpened); o.known++ {
		if _, _, err := s.remote.Move(ctx, older, there.Auth); err != nil {
			return err
		}
	}
	return nil
}

// settle applies what remote has answered for a session that was offered. If the session has
// changed here meanwhile, it is offered again.
func (t *table) settle(known *session, o *offer, there *cache.Binding) {
	was := &o.was
	moved := known.b.Gen != was.b.Gen
	if there.Gen == 0 {
		t.remove(known)
		return
	}
	known.heard(was.keyed)
	known.round = t.round
	counts := there.Bound() == was.b.Bound() && (there.Auth == was.b.Auth || !there.Bound())
	switch {
	case was.b.Gen == there.Gen:
	case counts:
		known.replaced(was.b.Gen, there.Gen)
	default:
		known.replaced(was.b.Gen, 0)
	}
	t.call(known, there.Session)
	now, changed := known.b, known.b.Memo != was.b.Memo || known.b.Served != was.b.Served || known.uses != was.uses || known.keyed > 0
	known.remote, known.held, known.forgot, known.stale, known.ended = *there, o.known, cache.Binding{}, false, false
	switch {
	case moved && (now.Bound() || counts):
		known.ended = now.Lost == cache.Released
		return
	case !counts: // another replica's choice counts, and what happened to this one's does not matter
		known.is(there)
	default:
		known.b = *there
		if known.b.Served = there.Served || now.Served; known.b.Served {
			known.uses, known.held = 0, 0
		}
		if now.Memo != was.b.Memo {
			known.b.Memo = now.Memo
		}
		if changed {
			return
		}
	}
	delete(t.pending, known)
}
