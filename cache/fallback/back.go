package fallback

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
)

// leave says that remote is away. It returns false after Close.
func (s *Store) leave() bool {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return false
	}
	first := s.State() == Present
	if first {
		s.state.Store(uint32(Away))
		s.outages.Add(1)
		s.probes.Go(s.await)
	}
	s.mu.Unlock()
	if first && s.o.OnState != nil {
		s.o.OnState(Away)
	}
	return true
}

// await asks for remote until it is back and knows what it has to.
func (s *Store) await() {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		// Replicas that have lost remote at one moment do not ask for it at one moment.
		timer := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-s.stop:
			timer.Stop()
			return
		case <-timer.C:
		}
		if s.probe() && s.settle() {
			if s.o.OnState != nil {
				s.o.OnState(Present)
			}
			return
		}
	}
}

func (s *Store) budget() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), s.o.Budget)
}

// probe reports whether remote answers in time.
func (s *Store) probe() bool {
	ctx, cancel := s.budget()
	defer cancel()
	_, _, err := s.remote.Peek(ctx, cache.Scope{}, cache.Keys{Names: [cache.MaxNames]cache.Key{newName()}})
	return err == nil
}

// settle brings remote up to date, and lets it answer again. It returns false if remote
// fails meanwhile: what is left stays to be told.
func (s *Store) settle() bool {
	if !s.repeat() || !s.compare() {
		return false
	}
	for {
		if s.ended() {
			return false
		}
		s.mu.Lock()
		later, known := len(s.later) > 0, (*session)(nil)
		for known = range s.t.pending {
			break
		}
		at, untold := scoped{}, false
		for at = range s.t.untold {
			untold = true
			break
		}
		if known == nil && !untold && !later {
			s.state.Store(uint32(Present))
			s.mu.Unlock()
			return true
		}
		s.mu.Unlock()
		if later && !s.repeat() || known != nil && !s.offer(known) || untold && !s.remember(at) {
			return false
		}
	}
}

// remember tells remote of a note.
func (s *Store) remember(at scoped) bool {
	s.mu.Lock()
	n, _ := s.t.notes.Peek(at)
	s.mu.Unlock()
	ctx, cancel := s.budget()
	defer cancel()
	if s.remote.Remember(ctx, at.scope, at.key, n.auth) != nil { // without an auth it is gone
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now, _ := s.t.notes.Peek(at); now.auth == n.auth {
		delete(s.t.untold, at)
	}
	return true
}

// repeat repeats what the operations of Admin have changed here.
func (s *Store) repeat() bool {
	for {
		s.mu.Lock()
		if len(s.later) == 0 {
			s.mu.Unlock()
			return true
		}
		do := s.later[0]
		s.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), s.o.AdminBudget)
		err := do(ctx)
		cancel()
		if err != nil {
			return false
		}
		s.mu.Lock()
		s.later = s.later[1:]
		s.mu.Unlock()
	}
}

// compare looks whether remote has lost its data. Then it has to be told of all that is
// known here.
func (s *Store) compare() bool {
	if s.epoch == nil {
		return true
	}
	s.mu.Lock()
	all := s.epochs.Values()
	s.mu.Unlock()
	lost := map[string]epoch{} // by tenant
	for _, e := range all {
		ctx, cancel := s.budget()
		id, err := s.epoch.Epoch(ctx, e.scope)
		cancel()
		if err != nil {
			return false
		}
		if id != e.id && e.id != "" {
			lost[e.scope.Tenant] = epoch{e.scope, id}
		}
	}
	if len(lost) == 0 {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for tenant, e := range lost {
		s.epochs.Add(tenant, e)
	}
	s.t.each(func(known *session) {
		if _, ok := lost[known.scope.Tenant]; ok && s.t.live(known) != nil {
			known.remote = cache.Binding{}
			s.t.tell(known)
		}
	})
	return true
}

// offer tells remote of one session. It returns false if remote does not answer.
func (s *Store) offer(known *session) bool {
	s.mu.Lock()
	if s.t.live(known) == nil || !s.t.isPending(known) {
		delete(s.t.pending, known)
		s.mu.Unlock()
		return true
	}
	was := *known
	was.names = append([]cache.Key(nil), known.names...)
	was.others = append([]cache.Key(nil), known.others...)
	s.mu.Unlock()

	there, ours, err := s.place(&was)
	if err == nil {
		ctx, cancel := s.budget()
		s.meet(ctx, was.scope)
		cancel()
		if ours {
			err = s.complete(&was, &there)
		}
	}
	if err != nil {
		return false
	}
	s.offered.Add(1)
	if !ours && there.Gen != 0 && there.Auth != was.b.Auth {
		s.adopted.Add(1)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.t.sessions.Contains(known): // it was invalidated meanwhile, which remote is told of next
		return true
	case there.Gen == 0 || !was.b.Bound():
		s.t.remove(known)
		return true
	}
	changed := known.b.Gen != was.b.Gen || known.b.Memo != was.b.Memo || known.b.Served != was.b.Served
	served := known.served
	known.remote = there
	s.t.byName[there.Session] = known
	if changed {
		return true // once more
	}
	if known.b.Gen != there.Gen {
		known.before = known.b
	}
	known.is(&there)
	known.served = served
	delete(s.t.pending, known)
	return true
}

// place binds a session at remote. ours says that the binding is the one of this process.
func (s *Store) place(was *session) (there cache.Binding, ours bool, err error) {
	ctx, cancel := s.budget()
	defer cancel()
	if was.remote.Gen != 0 {
		switch {
		case !was.b.Bound():
			_, err = s.remote.Unbind(ctx, was.remote)
			return there, false, err
		case was.b.Gen == was.remote.Gen:
			return was.remote, true, nil
		}
		// A session that is gone there stays gone: somebody may have invalidated it.
		return s.remote.Move(ctx, was.remote, was.b.Auth)
	}
	k := was.keys()
	if !was.b.Bound() || k.IsZero() {
		return there, false, nil
	}
	there, existed, err := s.remote.Bind(ctx, was.scope, k, was.b.Auth)
	return there, !existed, err
}

// keys are those by which remote finds a session.
func (s *session) keys() cache.Keys {
	k := cache.Keys{End: s.end}
	copy(k.Names[:], s.names)
	return k
}

// complete tells remote what this process knows of a binding besides.
func (s *Store) complete(was *session, there *cache.Binding) error {
	ctx, cancel := s.budget()
	defer cancel()
	switch {
	case was.b.Served:
		_, current, err := s.remote.Confirm(ctx, *there)
		if err != nil {
			return err
		}
		if !current { // another replica has moved it, or it is gone
			*there, _, err = s.remote.Peek(ctx, was.scope, was.keys())
			return err
		}
		there.Served = true
	case was.uses == 0 && there.Gen != was.remote.Gen:
		if _, err := s.remote.Release(ctx, *there, false); err != nil {
			return err
		}
	}
	if was.b.Memo != there.Memo {
		now, _, err := s.remote.Amend(ctx, *there, was.b.Memo)
		if err != nil {
			return err
		}
		if now.Gen != 0 {
			there.Memo = now.Memo
		}
	}
	if len(was.others) == 0 {
		return nil
	}
	of := *there
	of.Opening = false
	_, _, err := s.remote.Extend(ctx, of, cache.Key{}, was.others[max(0, len(was.others)-cache.MaxAnswer):], nil)
	return err
}
