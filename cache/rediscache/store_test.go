package rediscache_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/cache/rediscache"
	"github.com/llmaffinity/llmaffinity/cache/rediscache/internal/servers"
)

var scope = cache.Scope{Tenant: "tenant", Pool: "pool", Model: "model"}

func key(name string) (k cache.Key) {
	copy(k[:], name)
	return k
}

func named(names ...string) (k cache.Keys) {
	for i, n := range names {
		k.Names[i] = key(n)
	}
	return k
}

func open(t *testing.T, url string, o *rediscache.Options) *rediscache.Store {
	t.Helper()
	s, err := rediscache.Open(url, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// client makes a plain client, with which a test looks at the server's data.
func client(t *testing.T, url string) rueidis.Client {
	t.Helper()
	o, err := rueidis.ParseURL(url)
	require.NoError(t, err)
	o.ForceSingleClient = true
	c, err := rueidis.NewClient(o)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func do(t *testing.T, url string, args ...string) rueidis.RedisResult {
	t.Helper()
	c := client(t, url)
	r := c.Do(t.Context(), c.B().Arbitrary(args...).Build())
	require.NoError(t, r.NonRedisError())
	return r
}

func TestOptionsThatCannotWorkAreNamed(t *testing.T) {
	for want, o := range map[string]rediscache.Options{
		"Prefix is \"a{b\"": {Prefix: "a{b"},
		"TTL is 10ms":       {TTL: 10 * time.Millisecond},
		"TTL is -1s":        {TTL: -time.Second},
		"Lag is 10s":        {TTL: time.Minute, Lag: 10 * time.Second},
		"Near is -1":        {Near: -1},
		"Timeout is -1ns":   {Timeout: -1},
	} {
		_, err := rediscache.Open("redis://127.0.0.1:1", &o)
		require.ErrorContains(t, err, "rediscache: Options."+want)
	}
	_, err := rediscache.Open("http://127.0.0.1:1", nil)
	require.ErrorContains(t, err, "rediscache: ")
	_, err = rediscache.New(rueidis.ClientOption{}, nil)
	require.ErrorContains(t, err, "no address")
	_, err = rediscache.New(rueidis.ClientOption{InitAddress: []string{"x"}, OnInvalidations: func([]rueidis.RedisMessage) {}}, nil)
	require.ErrorContains(t, err, "tracking")
}

// The Store can be made while the server is not running. It connects when the server is there.
func TestTheServerMayBeAwayAtFirst(t *testing.T) {
	server := servers.Redis(t)
	server.Kill()
	s := open(t, server.URL(), nil)
	_, _, err := s.Bind(t.Context(), scope, named("s"), "A")
	require.ErrorContains(t, err, "rediscache: connecting: ")
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	_, _, err = s.Bind(ctx, scope, named("s"), "A")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	server.Start()
	require.Eventually(t, func() bool {
		b, _, err := s.Bind(t.Context(), scope, named("s"), "A")
		return err == nil && b.Auth == "A"
	}, 10*time.Second, 10*time.Millisecond)
}

// While the server hangs, each operation fails after Options.Timeout. When the server continues,
// operations succeed again.
func TestAServerThatHangs(t *testing.T) {
	server := servers.Redis(t)
	s := open(t, server.URL(), &rediscache.Options{Timeout: 50 * time.Millisecond})
	require.Eventually(t, func() bool { // connecting may take longer
		_, _, err := s.Peek(t.Context(), scope, named("s"))
		return err == nil
	}, 10*time.Second, time.Millisecond)
	b := settled(t, s, named("s"), "A")
	server.Stop()
	_, ok, err := s.Get(t.Context(), scope, named("s"))
	require.NoError(t, err, "the near-cache must answer while the server hangs")
	require.True(t, ok)
	for range 3 {
		_, _, err = s.Get(t.Context(), scope, named("other"))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, _, err = s.Move(t.Context(), b, "B")
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = s.InvalidateAuth(ctx, "A")
	require.Error(t, err)
	server.Continue()
	require.Eventually(t, func() bool {
		got, ok, err := s.Get(t.Context(), scope, named("s"))
		return err == nil && ok && got.Session == b.Session
	}, 10*time.Second, 10*time.Millisecond)
}

// If the server has lost its scripts, the Store sends them again.
func TestAFlushedScriptIsSentAgain(t *testing.T) {
	server := servers.Redis(t)
	s := open(t, server.URL(), &rediscache.Options{Lag: -1})
	b := settled(t, s, named("s"), "A")
	for range 3 {
		_, err := server.Do("SCRIPT", "FLUSH")
		require.NoError(t, err)
		got, ok, err := s.Get(t.Context(), scope, named("s"))
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, b.Session, got.Session)
		_, err = server.Do("SCRIPT", "FLUSH")
		require.NoError(t, err)
		n, err := s.CountAuth(t.Context(), "A")
		require.NoError(t, err)
		require.Equal(t, 1, n)
	}
}

// A server with full memory refuses operations that need more. Each operation is done completely
// or not at all.
func TestFullMemory(t *testing.T) {
	server := servers.Redis(t)
	s := open(t, server.URL(), &rediscache.Options{Lag: -1})
	b := settled(t, s, named("s", "alias"), "A")
	_, err := server.Do("CONFIG", "SET", "maxmemory", "1")
	require.NoError(t, err)
	sessions, refused, home := 1, 0, "A"
	done := func(err error) bool {
		if err != nil {
			require.ErrorContains(t, err, "OOM")
			refused++
		}
		return err == nil
	}
	for i := range 20 {
		if _, _, err = s.Bind(t.Context(), scope, named(fmt.Sprint("new", i)), "B"); done(err) {
			sessions++
		}
		if now, moved, err := s.Move(t.Context(), b, "B"); done(err) && moved {
			b, home = now, "B"
		}
		_, _, err = s.Amend(t.Context(), b, fmt.Sprint("memo", i))
		done(err)
	}
	require.NotZero(t, refused)
	_, err = server.Do("CONFIG", "SET", "maxmemory", "0")
	require.NoError(t, err)
	for _, name := range []string{"s", "alias"} {
		got, ok, err := s.Get(t.Context(), scope, named(name))
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, []any{b.Session, b.Gen, home}, []any{got.Session, got.Gen, got.Auth})
	}
	bound := 0
	for _, auth := range []string{"A", "B"} {
		n, err := s.CountAuth(t.Context(), auth)
		require.NoError(t, err)
		bound += n
	}
	require.Equal(t, sessions, bound)
}

// When all sessions and notes have expired, the server has no keys but the buckets' epochs.
func TestNothingIsLeftBehind(t *testing.T) {
	url := servers.Redis(t).URL()
	s := open(t, url, &rediscache.Options{TTL: time.Second})
	for i := range 300 {
		sc := scope
		sc.Tenant = fmt.Sprint("tenant", i%7)
		k := named(fmt.Sprint("s", i), fmt.Sprint("alias", i))
		k.Also[0] = key(fmt.Sprint("also", i))
		b, _, err := s.Bind(t.Context(), sc, k, fmt.Sprint("auth", i%5))
		require.NoError(t, err)
		_, _, err = s.Amend(t.Context(), b, "memo")
		require.NoError(t, err)
		content := cache.Keys{End: key(fmt.Sprint("e", i)), Fallbacks: []cache.Key{key(fmt.Sprint("e", i-7))}}
		b, _, err = s.Bind(t.Context(), sc, content, "A")
		require.NoError(t, err)
		_, err = s.BindAnswer(t.Context(), b, cache.Answer{End: content.End, Keys: []cache.Key{key(fmt.Sprint("x", i))}, Marks: []cache.Key{key(fmt.Sprint("m", i))}})
		require.NoError(t, err)
		require.NoError(t, s.Remember(t.Context(), sc, key(fmt.Sprint("n", i)), "A"))
	}
	size, err := do(t, url, "DBSIZE").AsInt64()
	require.NoError(t, err)
	require.Greater(t, size, int64(1500))
	require.Eventually(t, func() bool {
		all, err := do(t, url, "KEYS", "*").AsStrSlice()
		require.NoError(t, err)
		for _, k := range all {
			if !strings.HasSuffix(k, "}:E") {
				return false
			}
		}
		return len(all) == 7
	}, 15*time.Second, 100*time.Millisecond)
}

// With a negative MaxPerTenant a tenant keeps all of its sessions and notes.
func TestATenantWithoutABound(t *testing.T) {
	s := open(t, servers.Redis(t).URL(), &rediscache.Options{MaxPerTenant: -1})
	for i := range 50 {
		_, _, err := s.Bind(t.Context(), scope, named(fmt.Sprint("s", i)), "A")
		require.NoError(t, err)
		require.NoError(t, s.Remember(t.Context(), scope, key(fmt.Sprint("n", i)), "B"))
	}
	n, err := s.CountAuth(t.Context(), "A")
	require.NoError(t, err)
	require.Equal(t, 50, n)
	_, ok, err := s.Recall(t.Context(), scope, key("n0"))
	require.NoError(t, err)
	require.True(t, ok)
}

// The sessions of many auths are counted, in one bucket and over many.
func TestTheSessionsOfManyAuthsAreCounted(t *testing.T) {
	server := servers.Redis(t)
	s := open(t, server.URL(), nil)
	want := map[string]int{}
	for i := range 2500 {
		sc, auth := scope, fmt.Sprint("auth", i%1000)
		if i%2 == 0 {
			sc.Tenant = fmt.Sprint("tenant", i%700)
		}
		_, _, err := s.Bind(t.Context(), sc, named(fmt.Sprint("s", i)), auth)
		require.NoError(t, err)
		want[auth]++
	}
	got, err := s.CountAuths(t.Context())
	require.NoError(t, err)
	require.Equal(t, want, got)
	n, err := s.InvalidateAuth(t.Context(), "auth7")
	require.NoError(t, err)
	require.Equal(t, want["auth7"], n)
	delete(want, "auth7")
	got, err = s.CountAuths(t.Context())
	require.NoError(t, err)
	require.Equal(t, want, got)

	server.Stop()
	defer server.Continue()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	got, err = s.CountAuths(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Nil(t, got)
}

// A tenant with more than MaxPerTenant sessions or notes loses its own least recently used ones,
// and never those of another tenant.
func TestATenantIsBounded(t *testing.T) {
	url := servers.Redis(t).URL()
	s := open(t, url, &rediscache.Options{MaxPerTenant: 100})
	other := scope
	other.Tenant = "quiet"
	_, _, err := s.Bind(t.Context(), other, named("s0"), "A")
	require.NoError(t, err)
	for i := range 1000 {
		_, _, err := s.Bind(t.Context(), scope, named(fmt.Sprint("s", i)), "A")
		require.NoError(t, err)
		require.NoError(t, s.Remember(t.Context(), scope, key(fmt.Sprint("n", i)), "B"))
		_, ok, err := s.Get(t.Context(), scope, named("s0"))
		require.NoError(t, err)
		require.True(t, ok, "a session that is used all the time must stay")
	}
	n, err := s.CountAuth(t.Context(), "A")
	require.NoError(t, err)
	require.Equal(t, 101, n)
	_, ok, err := s.Peek(t.Context(), scope, named("s1"))
	require.NoError(t, err)
	require.False(t, ok)
	_, ok, err = s.Recall(t.Context(), scope, key("n1"))
	require.NoError(t, err)
	require.False(t, ok)
	_, ok, err = s.Recall(t.Context(), scope, key("n999"))
	require.NoError(t, err)
	require.True(t, ok)
	_, ok, err = s.Peek(t.Context(), other, named("s0"))
	require.NoError(t, err)
	require.True(t, ok, "the session of another tenant must stay")
	size, err := do(t, url, "DBSIZE").AsInt64()
	require.NoError(t, err)
	require.Less(t, size, int64(350), "101 sessions and 100 notes have too many keys on the server")
}

// Operations on all sessions of an auth or of a tenant reach each session, although they are done
// in parts, so that the server can serve other requests meanwhile.
func TestManySessionsOfAnAuth(t *testing.T) {
	s := open(t, servers.Redis(t).URL(), nil)
	for i := range 1500 {
		sc := scope
		sc.Tenant = fmt.Sprint("tenant", i%3)
		_, _, err := s.Bind(t.Context(), sc, named(fmt.Sprint("s", i)), "A")
		require.NoError(t, err)
	}
	n, err := s.RenameAuth(t.Context(), "A", "B")
	require.NoError(t, err)
	require.Equal(t, 1500, n)
	n, err = s.InvalidateTenant(t.Context(), "tenant0", "B")
	require.NoError(t, err)
	require.Equal(t, 500, n)
	n, err = s.InvalidateAuth(t.Context(), "B")
	require.NoError(t, err)
	require.Equal(t, 1000, n)
	n, err = s.InvalidateTenant(t.Context(), "tenant1", "")
	require.NoError(t, err)
	require.Equal(t, 500, n)
	gens := map[uint64]bool{}
	for i := range 1500 {
		sc := scope
		sc.Tenant = fmt.Sprint("tenant", i%3)
		b, ok, err := s.Peek(t.Context(), sc, named(fmt.Sprint("s", i)))
		require.NoError(t, err)
		require.Equal(t, i%3 != 1, ok)
		if ok {
			require.False(t, gens[b.Gen], "two sessions have the same generation")
			gens[b.Gen] = true
		}
	}
}

// The epoch changes when the server has lost its data.
func TestTheEpochIsNewWhenTheDataIs(t *testing.T) {
	url := servers.Redis(t).URL()
	s := open(t, url, nil)
	_, _, err := s.Bind(t.Context(), scope, named("s"), "A")
	require.NoError(t, err)
	epoch := func() string {
		e, err := s.Epoch(t.Context(), scope)
		require.NoError(t, err)
		require.NotEmpty(t, e)
		return e
	}
	first := epoch()
	_, err = s.InvalidateSession(t.Context(), scope, named("s"))
	require.NoError(t, err)
	require.Equal(t, first, epoch(), "the epoch must not change when a session is removed")
	do(t, url, "FLUSHALL")
	require.NotEqual(t, first, epoch())
	require.Equal(t, epoch(), epoch())
}

// The Store works with a server user that has only the permissions in the package's comment.
func TestTheServersUserNeedsNoMoreThanIsSaid(t *testing.T) {
	url := servers.Redis(t).URL()
	do(t, url, "ACL", "SETUSER", "gateway", "on", ">secret", "resetkeys", "~{llmaffinity:*", "-@all",
		"+evalsha", "+eval", "+script|load", "+client", "+hello", "+ping", "+cluster|slots", "+cluster|shards", "+info", "+select",
		"+time", "+get", "+set", "+del", "+pexpire", "+pttl", "+exists", "+zadd", "+zrem", "+zrange", "+zrangebyscore", "+zcard", "+zcount", "+zscan", "+zscore")
	s := open(t, strings.Replace(url, "redis://", "redis://gateway:secret@", 1), nil)
	settled(t, s, named("s"), "A")
	require.NoError(t, s.Remember(t.Context(), scope, key("n"), "A"))
	_, _, err := s.Recall(t.Context(), scope, key("n"))
	require.NoError(t, err)
	_, err = s.RenameAuth(t.Context(), "A", "B")
	require.NoError(t, err)
	require.NoError(t, s.EditMemos(t.Context(), func(cache.Binding) string { return "" }))
	n, err := s.CountAuth(t.Context(), "B")
	require.NoError(t, err)
	require.Equal(t, 1, n)
	_, err = s.InvalidateTenant(t.Context(), scope.Tenant, "")
	require.NoError(t, err)
	foreign := open(t, strings.Replace(url, "redis://", "redis://gateway:secret@", 1), &rediscache.Options{Prefix: "other"})
	_, _, err = foreign.Bind(t.Context(), scope, named("s"), "A")
	require.ErrorContains(t, err, "rediscache: ")
}

// A value that another program or another version has written counts as missing.
func TestForeignValuesAreNothing(t *testing.T) {
	url := servers.Redis(t).URL()
	s := open(t, url, &rediscache.Options{Lag: -1})
	for _, v := range []string{"", "x", "\xc1", "\x93\x01\x02\x03", "\x81\xa1a\x01", "\x81\xa1v\x02", strings.Repeat("\x91", 1000)} {
		do(t, url, "FLUSHALL")
		b, _, err := s.Bind(t.Context(), scope, named("s"), "A")
		require.NoError(t, err)
		require.NoError(t, s.Remember(t.Context(), scope, key("n"), "A"))
		keys, err := do(t, url, "KEYS", "*").AsStrSlice()
		require.NoError(t, err)
		for _, k := range keys {
			if strings.Contains(k, "}:s") || strings.Contains(k, "}:n") {
				do(t, url, "SET", k, v)
			}
		}
		_, ok, err := s.Get(t.Context(), scope, named("s"))
		require.NoError(t, err)
		require.False(t, ok, "%q", v)
		_, current, err := s.Confirm(t.Context(), b)
		require.NoError(t, err)
		require.False(t, current)
		_, ok, err = s.Recall(t.Context(), scope, key("n"))
		require.NoError(t, err)
		require.False(t, ok)
		next, existed, err := s.Bind(t.Context(), scope, named("s"), "B")
		require.NoError(t, err)
		require.False(t, existed)
		require.NotEqual(t, b.Session, next.Session)
		n, err := s.InvalidateAuth(t.Context(), "A")
		require.NoError(t, err)
		require.Zero(t, n)
	}
}
