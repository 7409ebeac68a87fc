package sessionid

import (
	"fmt"
	"net/http"
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

func TestPlaceholdersAreNoIDs(t *testing.T) {
	for _, id := range []string{
		"session", "Test", "new", "changeme", "''", `""`, "$(SESSION_ID)", "$SESSION_ID", "${X}", "{{x}}", "<id>", "%ID%", "null", "0",
		"ffffffff-ffff-ffff-ffff-ffffffffffff", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", "00000000-0000-0000-0000-000000000000",
		"xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", "half \ufffd", "\ufffd",
	} {
		_, ok := clean(id, MaxIDBytes)
		require.False(t, ok, id)
	}
	for _, id := range []string{"session-1", "test-7f", "newest", "$5", "a$(b", "fffffffe-ffff-ffff-ffff-ffffffffffff"} {
		_, ok := clean(id, MaxIDBytes)
		require.True(t, ok, id)
	}
	lone := func(half string) ID { return Extract(nil, []byte(`{"session_id":"a`+half+`"}`)) }
	one, two := lone(`\ud800`), lone(`\udbff`)
	require.True(t, one.IsZero() && two.IsZero(), "half a surrogate pair is no id: two of them would be equal when they are decoded")
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

// Copilot writes the model's family after the conversation's id and a colon. In keys of other
// clients the part before a colon may be a word.
func TestOnlyCopilotsCacheKeyLosesItsModelFamily(t *testing.T) {
	of := func(agent, key string) Key {
		id := Extract(http.Header{"User-Agent": {agent}}, []byte(`{"prompt_cache_key":"`+key+`"}`))
		return id.Weak()
	}
	const copilot, other, uuid = "GitHubCopilotChat/0.31.2", "python-httpx/0.28", "8a218e62-bb55-446a-bc6c-b288fc65f5b5"
	require.NotZero(t, of(copilot, uuid))
	require.Equal(t, of(copilot, uuid+":gpt-5"), of(copilot, uuid+":o4-mini"), "the id is the same with two models")
	require.Equal(t, of(copilot, uuid), of(copilot, uuid+":gpt-5"))
	require.NotEqual(t, of(other, uuid+":a"), of(other, uuid+":b"))
	require.NotZero(t, of(other, "guardian:"+uuid))
	require.NotEqual(t, of(other, "guardian:"+uuid), of(other, "guardian:01a20f77-a6b2-7273-bceb-7ef097d23585"))
}

func TestACacheKeyOfWordsIsABucketOfManyConversations(t *testing.T) {
	for _, v := range []string{
		"support-bot", "user:alice", "user:bob", "tenant:acme:support-v1", "my-app-2026-11-24", "prod", "conv", ":family", "agents-sdk:run:8a218e62bb55446a",
		"user:8a218e62-bb55-446a-bc6c-b288fc65f5b5", "tenant-8a218e62-bb55-446a-bc6c-b288fc65f5b5", "org_5f3a9c1b2d4e6f70:support",
	} {
		_, ok := cacheKey.id(v, MaxIDBytes)
		require.False(t, ok, v)
	}
	for _, v := range []string{
		"8a218e62-bb55-446a-bc6c-b288fc65f5b5", "session_8a218e62-bb55-446a-bc6c-b288fc65f5b5", "ses_5d1f0a9b3ffe7cUq2KxZ81mPaB",
		"d41d8cd98f00b204e9800998ecf8427e", "agents-sdk:session:s", "agents-sdk:group:g", "agents-sdk:conversation:c",
		"guardian:8a218e62-bb55-446a-bc6c-b288fc65f5b5", "user:5f3a9c1b2d4e6f70:8a218e62-bb55-446a-bc6c-b288fc65f5b5",
	} {
		got, ok := cacheKey.id(v, MaxIDBytes)
		require.True(t, ok, v)
		require.Equal(t, v, got)
	}
}

// Of duplicate members the last one counts, as for the providers: at the top, in a member's
// object, and at the ends of a large body.
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
