package rediscache

import (
	"testing"

	"github.com/redis/rueidis"
	"github.com/redis/rueidis/mock"
	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/cache"
)

func TestAKeyIsReadAsItIsWritten(t *testing.T) {
	p := placeOf(cache.Scope{Tenant: "t", Pool: "p", Model: "m"})
	name := anyKey()
	epoch := epochKeys("prefix")[p.bucket]
	a, ok := aliasIn(aliasKey(epoch, p.scope, name), "prefix")
	require.True(t, ok)
	require.Equal(t, aliasOf(p.scope, name), a)
	for _, prefix := range []string{"", "pre", "prefix:", "other"} {
		_, ok = aliasIn(aliasKey(epoch, p.scope, name), prefix)
		require.False(t, ok, prefix)
	}
}

// A message of the server about changed keys may contain any bytes: only keys of explicit ids of
// this prefix count.
func FuzzChangedKeys(f *testing.F) {
	scope, name := anyKey(), anyKey()
	f.Add(aliasKey(epochKeys("p")[7], scope, name))
	f.Add("{p:7}:E")
	f.Add("{p:}:k")
	f.Add("{p:" + string(make([]byte, 40)))
	f.Fuzz(func(t *testing.T, key string) {
		a, ok := aliasIn(key, "p")
		if ok {
			require.Equal(t, string(a[:]), key[len(key)-len(a):])
		}
		n := newNear(&Options{Prefix: "p", Near: 1})
		n.invalidations([]rueidis.RedisMessage{mock.RedisBlobString(key), mock.RedisInt64(1), mock.RedisNil()})
		require.Equal(t, ok, n.told.Load() == 1)
	})
}

// A reply may come from another script, or from a server that is not Redis: it gives a valid
// binding, none, or an error.
func FuzzReply(f *testing.F) {
	f.Add([]byte("ssgiiiisiii"), "12345678", int64(1))
	f.Add([]byte("ssgiiiisiiii"), "1234567", int64(-1))
	f.Add([]byte(""), "", int64(0))
	f.Add([]byte("nnnnnnnnnnnn"), "x", int64(1<<62))
	f.Add([]byte("aaaaaaaaaaaa"), "x", int64(256))
	f.Fuzz(func(t *testing.T, kinds []byte, text string, number int64) {
		var reply []rueidis.RedisMessage
		for _, k := range kinds {
			switch k {
			case 's', 'g':
				reply = append(reply, mock.RedisBlobString(text))
			case 'i':
				reply = append(reply, mock.RedisInt64(number))
			case 'a':
				reply = append(reply, mock.RedisArray(mock.RedisBlobString(text)))
			default:
				reply = append(reply, mock.RedisNil())
			}
		}
		b, flag, err := (&Store{}).binding(reply, 7)
		switch {
		case len(reply) == 0:
			require.NoError(t, err)
			require.Zero(t, b)
		case err != nil:
			require.ErrorIs(t, err, errReply)
			require.Zero(t, b)
			require.False(t, flag)
		default:
			require.NotZero(t, b.Gen)
			require.Less(t, b.Gen, uint64(1)<<63)
			require.EqualValues(t, 7, b.Ref[0])
		}
	})
}
