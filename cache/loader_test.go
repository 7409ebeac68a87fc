package cache

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// While a store is saved, a key can move from a session that was copied to one that is copied
// later. Then both have it in the snapshot, and after loading the later one has it.
func TestAKeyThatWasCopiedTwiceIsTheLaterOnes(t *testing.T) {
	m, err := New(&Options{MaxSessions: 100})
	require.NoError(t, err)
	ctx, scope, table := context.Background(), Scope{}, &m.sessions
	mix := table.mix(&scope)
	bind := func(name, auth string) held {
		k := testKey(name, 0)
		_, _, err := m.Bind(ctx, scope, Keys{Names: [MaxNames]Key{k}}, auth)
		require.NoError(t, err)
		d := table.digest(mix, &k)
		return table.shard(d).home(d)
	}
	both, home, end := testKey("both", 0), testKey("two", 0), testKey("end", 0)
	one, two := bind("one", "A"), bind("two", "B")
	for _, h := range []held{one, two} {
		(&op{t: table}).add(h, also, table.digest(mix, &both), 0)
	}
	// A key that is the home of the later session belongs to no other session.
	(&op{t: table}).add(one, names, table.digest(mix, &home), 0)
	(&op{t: table}).add(one, ends, table.digest(mix, &end), 0)

	var b bytes.Buffer
	require.NoError(t, m.Save(&b))
	loaded, err := Load(&b, &Options{MaxSessions: 100})
	require.NoError(t, err)
	consistent(t, loaded)
	at := func(k Keys) string {
		b, _, err := loaded.Peek(ctx, scope, k)
		require.NoError(t, err)
		return b.Auth
	}
	require.Equal(t, "B", at(Keys{Names: [MaxNames]Key{both}}))
	require.Equal(t, "B", at(Keys{Names: [MaxNames]Key{home}}))
	require.Equal(t, "A", at(Keys{End: end}))
}
