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
	case len(s.later) > 0: // remote would say what an operation of Admin has changed
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
	if s.t.sessions.Contains(known) { // if not, it was invalidated meanwhile, which remote is told of next
		s.t.settle(known, o, &there)
	}
	return true
}

// offer is a session as it was when it was offered, and what remote has said of it.
type offer struct {
	was   session
	keys  cache.Keys  // its ids, and its End
	more  []cache.Key // those of others that lead to it
	base  string      // the memo that remote had, as far as is known here
	ours  bool        // the binding there is the one of this process
	fresh bool        // it was bound there just now, with its keys
	known int         // the open uses that remote has counted for this process
}

func (t *table) offerOf(known *session) *offer {
	o := &offer{was: *known, base: known.remote.Memo}
	o.keys.End = known.end
	if n := copy(o.keys.Names[:], known.names); n < len(known.names) { // the first one, and the latest
		copy(o.keys.Names[1:], known.names[len(known.names)-n+1:])
	}
	for _, k := range known.others[max(0, len(known.others)-cache.MaxAnswer):] {
		if t.byKey[scoped{known.scope, k}] == known { // another conversation may have come to the same words
			o.more = append(o.more, k)
		}
	}
	return o
}

// place binds a session at remote, and returns its binding there: the zero one if there is
// none.
func (s *Store) place(o *offer) (there cache.Binding, err error) {
	ctx, cancel := s.budget()
	defer cancel()
	if o.was.remote.Gen != 0 && time.Since(o.was.told) >= s.t.ttl { // it has expired there
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

// anew makes a generation of a binding of which nobody knows how many uses remote has
// counted: of the new one it has counted one.
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
		was.remote, o.base = there, was.forgot.Memo // it was not lost
		if o.known = was.held + opened(&there); was.b.Gen == there.Gen {
			o.ours = true
			return there, nil
		}
	}
	// A session that is gone there stays gone: somebody may have invalidated it.
	there, o.ours, err = s.remote.Move(ctx, was.remote, was.b.Auth)
	o.known = opened(&there)
	return there, err
}

// opened is how many uses an operation has opened that has returned a binding.
func opened(b *cache.Binding) int {
	if provisional(b) {
		return 1
	}
	return 0
}

// refresh asks what has become of a session there that has lost its auth, or was to. The
// result is the binding that others have made since, or the zero one if the session is
// gone. If nobody has bound it, this process may.
func (s *Store) refresh(ctx context.Context, o *offer) (there cache.Binding, err error) {
	there, err = s.look(ctx, o)
	if !there.Bound() {
		o.was.remote, o.was.held, o.was.ended = there, 0, false
	}
	return there, err
}

// look is the session at remote.
func (s *Store) look(ctx context.Context, o *offer) (there cache.Binding, err error) {
	k := o.keys
	k.Past = o.more
	there, _, err = s.remote.Peek(ctx, o.was.given, k)
	if there.Session != o.was.remote.Session {
		there = cache.Binding{}
	}
	return there, err
}

// lose tells remote that a session has lost its auth. Remote remembers, too, which one
// that was.
func (s *Store) lose(ctx context.Context, o *offer) (there cache.Binding, err error) {
	was := &o.was
	again := !was.remote.Bound() && !was.stale && local(was.b.Gen) // bound and lost once more
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
	default: // other replicas may have open uses: then it keeps the auth
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

// complete tells remote what this process knows of a binding besides, if it is to the same
// auth. Its keys are the session's in any case.
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
		if !current { // another replica has moved it, or it is gone
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
	_, _, err := s.remote.Extend(ctx, of, cache.Key{}, o.more, nil)
	return err
}

// name binds the keys that are new to the session at remote.
func (s *Store) name(ctx context.Context, o *offer, there *cache.Binding) error {
	k := o.keys
	k.Past = o.more
	b, ok, err := s.remote.Get(ctx, o.was.given, k)
	if err == nil && ok && b.Session == there.Session && b.Gen == there.Gen {
		o.known += opened(&b)
	}
	return err
}

// amend tells remote of a memo, and returns the one that it has then. If this process may
// have written another one there, that does not count.
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
// before its auth has served it once.
const maxOpened = 16

// count lets remote know how many open uses this process has of a provisional binding.
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
	older.Gen = 1 << 63 // no Store's: to move a binding that is not current opens a use of the one that is
	for ; o.known < min(uses, maxOpened); o.known++ {
		if _, _, err := s.remote.Move(ctx, older, there.Auth); err != nil {
			return err
		}
	}
	return nil
}

// settle takes what remote has said of a session that was offered. If the session has
// changed here meanwhile, it is offered once more.
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
	case !counts: // another replica's choice does, and what became of this one's does not matter
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
