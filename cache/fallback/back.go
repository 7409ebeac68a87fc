package fallback

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
)

// leave notes that remote is away. It returns false after Close.
func (s *Store) leave() bool {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return false
	}
	if s.State() == Present {
		s.outages.Add(1)
		s.compared = map[string]struct{}{}
		s.become(Away)
		s.probes.Go(s.await)
	}
	s.mu.Unlock()
	s.announce()
	return true
}

// become changes the state. The lock is held.
func (s *Store) become(state State) {
	s.state.Store(uint32(state))
	if s.o.OnState != nil {
		s.news = append(s.news, state)
	}
}

// announce calls OnState for each change of the state, in their order.
func (s *Store) announce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.telling {
		return // the goroutine that does so announces these, too
	}
	s.telling = true
	for len(s.news) > 0 {
		state := s.news[0]
		s.news = s.news[1:]
		s.mu.Unlock()
		s.o.OnState(state)
		s.mu.Lock()
	}
	s.telling = false
}

// await probes remote until it is back and has been told everything.
func (s *Store) await() {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		// The pauses are random, so that replicas do not all probe remote at the same moments.
		timer := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-s.stop:
			timer.Stop()
			return
		case <-timer.C:
		}
		if s.probe() && s.settle() {
			s.announce()
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

// settle tells remote what it has missed, and lets it answer again. It returns false if remote
// fails meanwhile: the rest is told later.
func (s *Store) settle() bool {
	s.mu.Lock()
	s.rounds++
	s.t.round = s.rounds
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.t.round = 0
		s.mu.Unlock()
	}()
	if !s.repeat() || !s.compare() {
		return false
	}
	for !s.ended() {
		if !s.repeat() {
			return false
		}
		s.mu.Lock()
		sessions, notes := slices.Collect(maps.Keys(s.t.pending)), slices.Collect(maps.Keys(s.t.untold))
		if len(sessions)+len(notes)+len(s.later) == 0 {
			s.become(Present)
			s.mu.Unlock()
			return true
		}
		s.mu.Unlock()
		if !each(sessions, s.offer) || !each(notes, s.remember) {
			return false
		}
	}
	return false
}

// workers is how many operations run at remote at once when it is back.
const workers = 8

// each calls do for all elements of a list, some at once, until one call returns false.
func each[E any](all []E, do func(E) bool) bool {
	var next atomic.Int64
	var failed atomic.Bool
	var done sync.WaitGroup
	for range min(workers, len(all)) {
		done.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(all)) && !failed.Load(); i = next.Add(1) - 1 {
				if !do(all[i]) {
					failed.Store(true)
				}
			}
		})
	}
	done.Wait()
	return !failed.Load()
}

// remember tells remote of a note.
func (s *Store) remember(at scoped) bool {
	s.mu.Lock()
	n, _ := s.t.notes.Peek(at)
	if time.Since(n.used) > s.t.ttl { // it has expired, or is gone
		s.t.notes.Remove(at)
		delete(s.t.untold, at)
		s.mu.Unlock()
		return true
	}
	s.mu.Unlock()
	ctx, cancel := s.budget()
	defer cancel()
	if s.remote.Remember(ctx, n.given, at.key, n.auth) != nil {
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

// attempts is how often an operation is tried that fails at remote although remote answers
// others.
const attempts = 3

// repeat repeats at remote what the operations of Admin have changed here. An operation that
// remote cannot do is dropped after some attempts.
func (s *Store) repeat() bool {
	for tries := 1; ; tries++ {
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
		switch {
		case err != nil && (s.ended() || !s.probe()):
			return false
		case err != nil && tries < attempts:
			continue
		case err != nil:
			s.dropped.Add(1)
		}
		tries = 0
		s.mu.Lock()
		s.later = s.later[1:]
		s.mu.Unlock()
	}
}

// uncompared returns the epochs that were not compared in this outage. A tenant of which this
// process has sessions, and whose epoch it could not learn before, has one without an id: then
// it is not known whether remote has lost that tenant's data, and it is told them.
func (s *Store) uncompared() (all []epoch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	met := map[string]bool{}
	add := func(tenant string, e epoch) {
		if _, done := s.compared[tenant]; !done && !met[tenant] {
			met[tenant] = true
			all = append(all, e)
		}
	}
	for _, e := range s.epochs.Values() {
		add(e.given.Short().Tenant, e)
	}
	s.t.each(func(known *session) {
		if s.t.live(known) != nil {
			add(known.scope.Tenant, epoch{given: known.given})
		}
	})
	return all
}

// compare checks whether remote has lost its data, and notes that remote must then be told all
// that is known here. It checks each tenant once in an outage.
func (s *Store) compare() bool {
	if s.epoch == nil {
		return true
	}
	lost := map[string]struct{}{}
	all := each(s.uncompared(), func(e epoch) bool {
		id, err := "", error(nil)
		for range attempts {
			ctx, cancel := s.budget()
			id, err = s.epoch.Epoch(ctx, e.given)
			cancel()
			if err == nil || s.ended() || !s.probe() {
				break
			}
		}
		if err != nil && !s.probe() {
			return false
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		tenant := e.given.Short().Tenant
		s.compared[tenant] = struct{}{}
		switch {
		case err != nil:
			s.epochs.Remove(tenant)
			lost[tenant] = struct{}{} // for all that is known
		case id != e.id:
			s.epochs.Add(tenant, epoch{e.given, id})
			lost[tenant] = struct{}{}
		}
		return true
	})
	s.lost(lost)
	return all
}

// lost notes that remote must be told all that is known of some tenants. It walks over the
// table once, however many they are.
func (s *Store) lost(tenants map[string]struct{}) {
	if len(tenants) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.t.each(func(known *session) {
		if _, is := tenants[known.scope.Tenant]; is && s.t.live(known) != nil {
			known.forgotten()
			s.t.tell(known)
		}
	})
	for _, at := range s.t.notes.Keys() {
		if _, is := tenants[at.scope.Tenant]; is {
			s.t.untold[at] = struct{}{}
		}
	}
}
