package sessionid

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAControlCharacterAnywhereMakesAnIDNoID(t *testing.T) {
	for _, n := range []int{2, 7, 8, 9, 16, 23, 24, 40} {
		for at := range n {
			for _, c := range []byte{0x01, 0x09, 0x0a, 0x1f, 0x7f} {
				if c == '\t' && (at == 0 || at == n-1) {
					continue // a blank at an end is cut off
				}
				for _, rest := range []string{"a", "z"} {
					id := []byte(strings.Repeat(rest, n))
					id[at] = c
					_, ok := clean(string(id), MaxIDBytes)
					require.False(t, ok, "%q", id)
					_, ok = clean("é"+string(id)+"é", MaxIDBytes)
					require.False(t, ok, "%q between letters that are not ASCII", id)
				}
			}
		}
		_, ok := clean(strings.Repeat("a", n), MaxIDBytes)
		require.True(t, ok)
	}
}

func TestATemplateInALongIDIsNoID(t *testing.T) {
	for at := range 20 {
		for _, template := range []string{"{{id}}", "${ID}"} {
			id := strings.Repeat("a", at) + template + "tail"
			_, ok := clean(id, MaxIDBytes)
			require.False(t, ok, id)
		}
	}
	for _, id := range []string{"a-b_c.d:e/f", "{half", "half}", "a<b>c", "100%", "é", "ünï-cödé-ünï-cödé", fmt.Sprintf("%040d1", 0)} {
		_, ok := clean(id, MaxIDBytes)
		require.True(t, ok, id)
	}
}

func TestBlanksAroundAnIDDoNotCount(t *testing.T) {
	id, ok := clean(" \tabc \t", MaxIDBytes)
	require.True(t, ok)
	require.Equal(t, "abc", id)
}

func TestOnlyTheShapeOfAUUIDIsAUUID(t *testing.T) {
	const good = "8a218e62-bb55-446a-BC6C-b288fc65f5b5"
	require.True(t, isUUID(good))
	for i := range good {
		bad := []byte(good)
		bad[i] = 'g'
		require.False(t, isUUID(string(bad)), string(bad))
	}
	require.False(t, isUUID(good+"0"))
	require.False(t, isUUID(good[1:]))
}

func TestTheFamilyOfAModelIsCutOffTheCacheKey(t *testing.T) {
	for v, want := range map[string]string{
		"conv:gpt-5": "conv", "conv": "conv", "agents-sdk:session:s": "agents-sdk:session:s", "agents-sdk:group:g": "agents-sdk:group:g",
		"agents-sdk:run:r": "", "tenant:acme:v1": "", ":family": "",
	} {
		got, ok := cacheKey.id(v, MaxIDBytes)
		require.Equal(t, want != "", ok, v)
		require.Equal(t, want, got, v)
	}
	one, other := Extract(nil, []byte(`{"prompt_cache_key":"conv:gpt-5"}`)), Extract(nil, []byte(`{"prompt_cache_key":"conv:o4-mini"}`))
	bare := Extract(nil, []byte(`{"prompt_cache_key":"conv"}`))
	require.Equal(t, one.Primary(), other.Primary(), "two models, one conversation")
	require.Equal(t, bare.Primary(), one.Primary())
}

// The last of duplicate members counts, as it does for the providers: at the
// top, in a member's object, and at the ends of a large body.
func TestTheLastOfDuplicateMembersCounts(t *testing.T) {
	filler := `,"tools":"` + strings.Repeat("x", 3*small) + `"`
	want := spaceSession.key("last")
	for name, body := range map[string]string{
		"at the top":                    `{"session_id":"first","session_id":"last"}`,
		"in a member's object":          `{"metadata":{"session_id":"first","session_id":"last"}}`,
		"of the member itself":          `{"metadata":{"session_id":"first"},"metadata":{"session_id":"last"}}`,
		"at a large body's end":         `{"model":"m"` + filler + `,"session_id":"first","session_id":"last"}`,
		"in an object at the end":       `{"model":"m"` + filler + `,"metadata":{"session_id":"first","session_id":"last"}}`,
		"an object at the end, twice":   `{"model":"m"` + filler + `,"metadata":{"session_id":"first"},"metadata":{"session_id":"last"}}`,
		"at a large body's front":       `{"session_id":"first","session_id":"last"` + filler + `}`,
		"front and end of a large body": `{"model":"m","x":[],"session_id":"first"` + filler + `,"session_id":"last"}`,
	} {
		id := Extract(nil, []byte(body))
		require.Equal(t, []Key{want}, id.Names(), name)
	}
	for name, body := range map[string]string{
		"at the top":                   `{"session_id":"first","session_id":7}`,
		"at a large body's end":        `{"model":"m"` + filler + `,"session_id":"first","session_id":7}`,
		"an object at a large end":     `{"model":"m"` + filler + `,"metadata":{"session_id":"first"},"metadata":{}}`,
		"in an object at a large end":  `{"model":"m"` + filler + `,"metadata":{"session_id":"first","session_id":null}}`,
		"the cache key at a large end": `{"model":"m"` + filler + `,"prompt_cache_key":"first","prompt_cache_key":7}`,
	} {
		id := Extract(nil, []byte(body))
		require.True(t, id.IsZero(), "the last one is no id: %s", name)
	}
}
