package proving

import (
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/cache/internal/proving/linear"
)

// histories returns how many histories are checked: 10,000, or the value of HISTORIES.
func histories(t *testing.T) int {
	if v := os.Getenv("HISTORIES"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return 10_000
}

func linearizable(t *testing.T, s linear.Store, seed uint64, clients int, ops []string) bool {
	t.Helper()
	ok, err := linear.Check(s, seed, clients, ops)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

// Each history of concurrent operations on the store could have happened one operation after the
// other.
func TestMemoryIsLinearizable(t *testing.T) {
	for name, c := range map[string]struct {
		size int
		ops  []string
	}{
		// With several parts InvalidateAuth is not atomic: it takes one part after another.
		"in parts": {100_000, linear.Operations},
		"one part": {500, linear.All},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(histories(t)) / 2 {
				m, err := cache.New(&cache.Options{MaxSessions: c.size})
				if err != nil {
					t.Fatal(err)
				}
				if !linearizable(t, m, seed, 4, c.ops) {
					t.Fatalf("history %d is not linearizable: no order of its operations gives their results", seed)
				}
			}
		})
	}
}

// Each of these stores does one operation in two steps, and each step is atomic. With one client
// alone the store fulfils the contract.

// racy looks whether the session exists, and makes a new one in a second step.
type racy struct{ *cache.Memory }

func (s racy) Bind(c ctxType, sc cache.Scope, k cache.Keys, auth string) (cache.Binding, bool, error) {
	if _, ok, err := s.Peek(c, sc, k); ok || err != nil {
		return s.Memory.Bind(c, sc, k, auth)
	}
	runtime.Gosched()
	if _, err := s.InvalidateSession(c, sc, k); err != nil {
		return cache.Binding{}, false, err
	}
	return s.Memory.Bind(c, sc, k, auth)
}

// stale looks whether the binding is current, and confirms in a second step.
type stale struct{ *cache.Memory }

func (s stale) Confirm(c ctxType, b cache.Binding) (string, bool, error) {
	now, _, err := s.Amend(c, b, b.Memo)
	if now.Gen != b.Gen || !now.Bound() || err != nil {
		return "", false, err
	}
	runtime.Gosched()
	memo, _, err := s.Memory.Confirm(c, b)
	return memo, true, err
}

// overwriting compares the memo, and sets it in a second step.
type overwriting struct{ *cache.Memory }

func (s overwriting) Amend(c ctxType, b cache.Binding, memo string) (cache.Binding, bool, error) {
	now, same, err := s.Memory.Amend(c, b, b.Memo)
	if !same || err != nil {
		return now, same, err
	}
	runtime.Gosched()
	for amended := false; !amended; {
		if now, amended, err = s.Memory.Amend(c, now, memo); now.Gen == 0 || err != nil {
			break
		}
	}
	return now, true, err
}

// A store with a race is rejected with four clients, and accepted with one: so the race is the
// reason.
func TestARaceIsFound(t *testing.T) {
	for name, wrap := range map[string]func(*cache.Memory) linear.Store{
		"bind in two steps":    func(m *cache.Memory) linear.Store { return racy{m} },
		"confirm in two steps": func(m *cache.Memory) linear.Store { return stale{m} },
		"amend in two steps":   func(m *cache.Memory) linear.Store { return overwriting{m} },
	} {
		t.Run(name, func(t *testing.T) {
			made := func() linear.Store {
				m, err := cache.New(&cache.Options{MaxSessions: 1000})
				if err != nil {
					t.Fatal(err)
				}
				return wrap(m)
			}
			for seed := range uint64(1000) {
				if !linearizable(t, made(), seed, 1, linear.Operations) {
					t.Fatalf("history %d is rejected, although one client alone cannot have a race", seed)
				}
			}
			for seed := range uint64(20 * histories(t)) {
				if !linearizable(t, made(), seed, 4, linear.Operations) {
					t.Logf("rejected after %d histories", seed+1)
					return
				}
			}
			t.Fatal("all histories are accepted, although the store has a race")
		})
	}
}
