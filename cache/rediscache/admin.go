package rediscache

import (
	"context"
	"fmt"
	"strconv"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/redis/rueidis"
)

// chunk is how many sessions one script looks at. The server does nothing else meanwhile.
const chunk = 256

// each runs an operation in all buckets at once, and again in those for which more returns
// true. args returns the arguments for a bucket. A caller that changes sessions calls
// near.beginAll before each and near.endAll after it.
func (s *Store) each(ctx context.Context, op string, args func(bucket int) []string, more func(bucket int, reply []rueidis.RedisMessage) (bool, error)) error {
	if s.closed.Load() {
		return cache.ErrClosed
	}
	c, err := s.client(ctx)
	if err != nil {
		return err
	}
	todo := make([]int, buckets)
	for i := range todo {
		todo[i] = i
	}
	for len(todo) > 0 {
		batch := make([]rueidis.LuaExec, len(todo))
		for i, b := range todo {
			batch[i] = rueidis.LuaExec{Keys: s.epochs[b : b+1], Args: append([]string{op, s.ttl, s.lag}, args(b)...)}
		}
		s.roundTrips.Add(1)
		var again []int
		for i, r := range script.ExecMulti(ctx, c, batch...) {
			reply, err := r.ToArray()
			if err != nil {
				return s.explain(err)
			}
			on, err := more(todo[i], reply)
			if err != nil {
				return s.explain(err)
			}
			if on {
				again = append(again, todo[i])
			}
		}
		todo = again
	}
	return nil
}

// counted reads the reply of an operation that says how many sessions it has changed, and how
// many it has seen.
func counted(total *int) func(int, []rueidis.RedisMessage) (bool, error) {
	return func(_ int, reply []rueidis.RedisMessage) (bool, error) {
		if len(reply) != 2 {
			return false, errReply
		}
		n, err := reply[0].AsInt64()
		if err != nil {
			return false, err
		}
		seen, err := reply[1].AsInt64()
		*total += int(n)
		return seen >= chunk, err
	}
}

// InvalidateSession implements [cache.Admin].
func (s *Store) InvalidateSession(ctx context.Context, scope cache.Scope, keys cache.Keys) (removed bool, err error) {
	if keys.IsZero() || s.closed.Load() {
		return false, s.alive()
	}
	p, args := s.request(&scope, &keys)
	s.near.beginAll() // it is not known which session is removed
	defer s.near.endAll()
	reply, err := s.ask(ctx, s.in(p.bucket), "remove", args...)
	return len(reply) == 2, err
}

// InvalidateAuth implements [cache.Admin]. It asks each of the 256 buckets once, all at once,
// and a bucket again for each 256 sessions of the auth.
func (s *Store) InvalidateAuth(ctx context.Context, auth string) (unbound int, err error) {
	s.near.beginAll()
	defer s.near.endAll()
	seed := anyKey()
	args := []string{indexOf(auth), string(seed[:]), strconv.Itoa(chunk)}
	err = s.each(ctx, "dropauth", func(int) []string { return args }, counted(&unbound))
	return unbound, err
}

// InvalidateTenant implements [cache.Admin].
func (s *Store) InvalidateTenant(ctx context.Context, tenant, auth string) (n int, err error) {
	if s.closed.Load() {
		return 0, cache.ErrClosed
	}
	s.near.beginAll()
	defer s.near.endAll()
	t := placeOf(cache.Scope{Tenant: tenant}.Short())
	seed := anyKey()
	for sessions, notes := "0", "0"; sessions != "" || notes != ""; {
		reply, err := s.ask(ctx, s.in(t.bucket), "droptenant", string(t.tenant[:]), indexOf(auth), string(seed[:]), sessions, notes, strconv.Itoa(chunk))
		if err != nil {
			return n, err
		}
		if len(reply) != 3 {
			return n, errReply
		}
		removed, err := reply[0].AsInt64()
		if err != nil {
			return n, s.explain(err)
		}
		n += int(removed)
		if sessions, err = reply[1].ToString(); err != nil {
			return n, s.explain(err)
		}
		if notes, err = reply[2].ToString(); err != nil {
			return n, s.explain(err)
		}
	}
	return n, nil
}

// RenameAuth implements [cache.Admin]. It costs as much as InvalidateAuth.
func (s *Store) RenameAuth(ctx context.Context, from, to string) (renamed int, err error) {
	if to == "" || from == to || s.closed.Load() {
		return 0, s.alive()
	}
	s.near.beginAll()
	defer s.near.endAll()
	args := []string{indexOf(from), to, strconv.Itoa(chunk)}
	err = s.each(ctx, "rename", func(int) []string { return args }, counted(&renamed))
	return renamed, err
}

// CountAuth implements [cache.Admin]. It asks each of the 256 buckets once, all at once.
func (s *Store) CountAuth(ctx context.Context, auth string) (bound int, err error) {
	args := []string{indexOf(auth)}
	err = s.each(ctx, "count", func(int) []string { return args }, func(_ int, reply []rueidis.RedisMessage) (bool, error) {
		if len(reply) != 1 {
			return false, errReply
		}
		n, err := reply[0].AsInt64()
		bound += int(n)
		return false, err
	})
	return bound, err
}

// CountAuths implements [cache.Admin]. It asks each of the 256 buckets once, all at once, and a
// bucket again for each 256 auths there. It does not count expired sessions.
func (s *Store) CountAuths(ctx context.Context) (bound map[string]int, err error) {
	cursors := start()
	parts := make([]map[string]int, buckets) // the server may name an auth twice
	err = s.each(ctx, "counts", func(b int) []string { return []string{cursors[b], strconv.Itoa(chunk)} }, func(bucket int, reply []rueidis.RedisMessage) (bool, error) {
		if len(reply)%2 == 0 {
			return false, errReply
		}
		var err error
		if cursors[bucket], err = reply[0].ToString(); err != nil {
			return false, err
		}
		if parts[bucket] == nil {
			parts[bucket] = make(map[string]int, len(reply)/2)
		}
		for i := 1; i < len(reply); i += 2 {
			auth, err := reply[i].ToString()
			if err != nil {
				return false, err
			}
			n, err := reply[i+1].AsInt64()
			if err != nil {
				return false, err
			}
			parts[bucket][auth] = int(n)
		}
		return cursors[bucket] != "", nil
	})
	if err != nil {
		return nil, err
	}
	bound = map[string]int{}
	for _, part := range parts {
		for auth, n := range part {
			bound[auth] += n
		}
	}
	return bound, nil
}

// start returns the cursors of all buckets before the first step of a walk.
func start() []string {
	cursors := make([]string, buckets)
	for i := range cursors {
		cursors[i] = "0"
	}
	return cursors
}

// EditMemos implements [cache.Admin]. It asks each of the 256 buckets once for each 256 memos
// there, and then once for each memo that changes.
func (s *Store) EditMemos(ctx context.Context, edit func(b cache.Binding) (memo string)) error {
	cursors := start()
	var all []cache.Binding
	err := s.each(ctx, "memos", func(b int) []string { return []string{cursors[b], strconv.Itoa(chunk)} }, func(bucket int, reply []rueidis.RedisMessage) (bool, error) {
		if len(reply) == 0 {
			return false, errReply
		}
		var err error
		if cursors[bucket], err = reply[0].ToString(); err != nil {
			return false, err
		}
		for _, one := range reply[1:] {
			parts, err := one.ToArray()
			if err != nil {
				return false, err
			}
			b, _, err := s.binding(parts, byte(bucket))
			if err != nil {
				return false, err
			}
			all = append(all, b)
		}
		return cursors[bucket] != "", nil
	})
	if err != nil {
		return err
	}
	edited := map[cache.Key]bool{} // the server may name a session twice
	for _, b := range all {
		if edited[b.Session] {
			continue
		}
		edited[b.Session] = true
		if err := s.editMemo(ctx, b, edit); err != nil {
			return fmt.Errorf("editing the memo of a session: %w", err)
		}
	}
	return nil
}

func (s *Store) editMemo(ctx context.Context, b cache.Binding, edit func(cache.Binding) string) error {
	for b.Memo != "" {
		memo := edit(b)
		if memo == b.Memo {
			return nil
		}
		now, amended, err := s.Amend(ctx, b, memo)
		if err != nil || amended {
			return err
		}
		b = now
	}
	return nil
}
