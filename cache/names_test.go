package cache_test

import (
	"crypto/sha256"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"unsafe"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/cache"
)

// longNames differ only at their end.
func longNames(n int) (names []string) {
	for i := range n {
		names = append(names, strings.Repeat("n", 1<<20)+fmt.Sprint(i))
	}
	return names
}

func TestShortTellsAllNamesApart(t *testing.T) {
	long := strings.Repeat("x", 129)
	digest := func(s string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(s))) }
	for name, want := range map[string]string{
		"": "", "gpt-5": "gpt-5", strings.Repeat("x", 128): strings.Repeat("x", 128), "sha256": "sha256",
		long: digest(long), "sha256:": digest("sha256:"), digest(long): digest(digest(long)),
	} {
		require.Equal(t, cache.Scope{Tenant: want}, cache.Scope{Tenant: name}.Short())
		require.Equal(t, cache.Scope{Pool: want}, cache.Scope{Pool: name}.Short())
		require.Equal(t, cache.Scope{Model: want}, cache.Scope{Model: name}.Short())
	}
	sc := cache.Scope{Tenant: strings.Repeat("t", 128), Pool: "p", Model: "m"}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if sc.Short() != sc {
			t.Error("Short has changed a scope of short names")
		}
	}))
}

func TestNamesOfAMegabyteAreToldApartAndBounded(t *testing.T) {
	c := newCache(t, cache.Options{})
	names := longNames(3)
	short := func(name string) string { return cache.Scope{Pool: name}.Short().Pool }
	var scopes []cache.Scope
	for _, n := range names {
		scopes = append(scopes, cache.Scope{Tenant: n}, cache.Scope{Pool: n}, cache.Scope{Model: n})
		scopes = append(scopes, cache.Scope{Tenant: short(n)}) // a short name that looks like a digest
	}
	for i, sc := range scopes {
		_, existed := c.Bind(sc, named("s"), fmt.Sprint("auth", i))
		require.False(t, existed, i)
		c.Remember(sc, key("n"), fmt.Sprint("auth", i))
	}
	for i, sc := range scopes {
		b, ok := c.Get(sc, named("s"))
		require.True(t, ok)
		require.Equal(t, fmt.Sprint("auth", i), b.Auth)
		require.Equal(t, b.Auth, c.Recall(sc, key("n")))
	}
	for sc := range c.All() {
		require.LessOrEqual(t, len(sc.Tenant)+len(sc.Pool)+len(sc.Model), 128)
	}
	require.Equal(t, 1, c.InvalidateTenant(names[0], ""))
	require.Equal(t, 1, c.InvalidateTenant(short(names[0]), ""))
	require.True(t, c.InvalidateSession(scopes[1], named("s")))
	require.Equal(t, len(scopes)-3, c.Len())
	require.Empty(t, c.Recall(scopes[0], key("n")))
}

// The names of auths come from the host. They are copied, and not shortened.
func TestNamesOfAuthsAreKeptAsTheyAre(t *testing.T) {
	c := newCache(t, cache.Options{})
	names := longNames(4)
	for i, n := range names[:3] {
		b, _ := c.Bind(scope, named(fmt.Sprint(i)), n)
		require.Equal(t, n, b.Auth)
		require.Equal(t, 1, c.CountAuth(n))
		c.Remember(scope, key(fmt.Sprint(i)), n)
		require.Equal(t, n, c.Recall(scope, key(fmt.Sprint(i))))
	}
	b, _ := c.Peek(scope, named("0"))
	b, moved := c.Move(b, names[1])
	require.True(t, moved)
	require.Equal(t, names[1], b.Auth)
	require.Equal(t, map[string]int{names[1]: 2, names[2]: 1}, c.CountAuths())
	n, err := c.RenameAuth(t.Context(), names[1], names[3])
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.Equal(t, 2, c.CountAuth(names[3]))
	require.Equal(t, 1, c.InvalidateTenant(scope.Tenant, names[2]))
	require.Equal(t, 2, c.InvalidateAuth(names[3]))
	require.Empty(t, c.CountAuths())
}

// body is a large string and a pointer that sees whether it is still there.
func body() (string, weak.Pointer[byte]) {
	b := make([]byte, 256<<10)
	for i := range b {
		b[i] = "abcdefgh"[i%8]
	}
	return unsafe.String(&b[0], len(b)), weak.Make(&b[0])
}

// A name, a memo or an auth that is part of a request's body must not keep the body in memory.
func TestAKeptNameDoesNotKeepTheBodyThatItWasCutFrom(t *testing.T) {
	c := newCache(t, cache.Options{})
	for what, keep := range map[string]func(part string){
		"tenant": func(part string) { c.Bind(cache.Scope{Tenant: part}, named("s"), "A") },
		"pool":   func(part string) { c.Bind(cache.Scope{Pool: part}, named("s"), "A") },
		"model":  func(part string) { c.Bind(cache.Scope{Model: part}, named("s"), "A") },
		"auth":   func(part string) { c.Bind(scope, named("auth"), part) },
		"moved auth": func(part string) {
			b, _ := c.Bind(scope, named("moved"), "A")
			c.Move(b, part+"x")
		},
		"renamed auth": func(part string) {
			c.Bind(scope, named("renamed"), "to be renamed")
			_, err := c.RenameAuth(t.Context(), "to be renamed", part[1:])
			require.NoError(t, err)
		},
		"memo": func(part string) {
			b, _ := c.Bind(scope, named("memo"), "A")
			_, amended := c.Amend(b, part)
			require.True(t, amended)
		},
		"scope of a note": func(part string) { c.Remember(cache.Scope{Model: part}, key("n"), "A") },
		"auth of a note":  func(part string) { c.Remember(scope, key("n"), part[2:]) },
	} {
		s, there := body()
		keep(s[8:16])
		s = ""
		runtime.GC()
		require.Nil(t, there.Value(), "the %s has kept the whole body", what)
	}
	got, ok := c.Peek(scope, named("memo"))
	require.True(t, ok)
	require.Equal(t, "abcdefgh", got.Memo)
	require.Equal(t, "cdefgh", c.Recall(scope, key("n")))
}
