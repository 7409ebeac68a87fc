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
	if s.remote.Remember(ctx, n.given, at.key, n.auth) != nil { // without an auth it is gone
		return false
	}
	s.meet(ctx, n.given)
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
		_, err := do(ctx)
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
		id, err := s.epoch.Epoch(ctx, e.given)
		cancel()
		if err != nil {
			return false
		}
		if id != e.id && e.id != "" {
			lost[e.given.Short().Tenant] = epoch{e.given, id}
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
			known.forgotten()
			s.t.tell(known)
		}
	})
	for _, at := range s.t.notes.Keys() {
		if _, ok := lost[at.scope.Tenant]; ok {
			s.t.untold[at] = struct{}{}
		}
	}
	return true
}
