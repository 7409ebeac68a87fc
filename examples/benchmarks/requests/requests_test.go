package requests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/sessionid"
)

var sizes = []int{2 << 10, 80 << 10, 200 << 10}

// sized requires that a body is JSON of about a size, so that the benchmarks' names are true.
func sized(t *testing.T, size int, body []byte) {
	t.Helper()
	require.True(t, json.Valid(body))
	if size > 8<<10 {
		require.InEpsilon(t, size, len(body), 0.15)
	} else {
		require.Less(t, len(body), 2*size)
		require.Greater(t, len(body), size/2)
	}
}

func TestBodiesWithoutAnID(t *testing.T) {
	for _, size := range sizes {
		for _, format := range Formats {
			for _, text := range Texts {
				body := Plain(format, text, size).Bytes
				sized(t, size, body)
				id := sessionid.Extract(Header(), body)
				require.Equal(t, sessionid.KindContent, id.Signal().Kind, "%s %s %d", format, text, size)
			}
		}
		if size > 8<<10 { // less is not possible: the system prompt alone has 6 KB
			id := sessionid.Extract(Header(), Airline(size))
			require.Equal(t, sessionid.KindContent, id.Signal().Kind)
			sized(t, size, Airline(size))
		}
	}
}

func TestLargeBodies(t *testing.T) {
	sized(t, 4<<20, Plain("claude", "code", 4<<20).Bytes)
	sized(t, 4<<20, WithEnd("client_metadata", 4<<20).Bytes)
	sized(t, 4<<20, Airline(4<<20))
}

func TestTheIDIsWhereTheNameSays(t *testing.T) {
	seen := map[sessionid.Key]bool{}
	for i := range 3 {
		for _, name := range []string{OwnHeader, GenericHeader} {
			h, value := WithID(name)
			value[0] = SessionID(i)
			id := sessionid.Extract(h, nil)
			require.Equal(t, map[string]sessionid.Kind{OwnHeader: sessionid.KindNativeHeader, GenericHeader: sessionid.KindGenericHeader}[name], id.Signal().Kind)
			seen[id.Primary()] = true
		}
	}
	require.Len(t, seen, 6)
	for _, size := range sizes {
		for member, kind := range map[string]sessionid.Kind{
			"metadata.user_id": sessionid.KindNativeBody, "client_metadata": sessionid.KindNativeBody, "prompt_cache_key": sessionid.KindCacheKey,
		} {
			seen := map[sessionid.Key]bool{}
			body := WithEnd(member, size)
			for i := range 3 {
				body.Set(SessionID(i))
				sized(t, size, body.Bytes)
				require.NotContains(t, string(body.Bytes), hole)
				id := sessionid.Extract(Header(), body.Bytes)
				require.Equal(t, kind, id.Signal().Kind, member)
				seen[id.Primary()] = true

				messages := bytes.Clone(body.Bytes[:body.lists])
				body.SetEnd(SessionID(i + 3))
				id = sessionid.Extract(Header(), body.Bytes)
				seen[id.Primary()] = true
				require.Equal(t, messages, body.Bytes[:body.lists])
			}
			require.Len(t, seen, 6)
		}
	}
}

func TestAConversationGrows(t *testing.T) {
	for _, format := range Formats {
		bodies := Conversation(format, 20, 200<<10)
		sized(t, 200<<10, bodies[19].Bytes)
		var ends []sessionid.Key
		for _, name := range []string{SessionID(1), SessionID(2)} {
			for i, b := range bodies {
				b.Set(name)
				require.True(t, json.Valid(b.Bytes))
				id := sessionid.Extract(nil, b.Bytes)
				if i > 0 {
					require.True(t, slices.Contains(id.Fallbacks(), ends[len(ends)-1]), "turn %d must continue the turn before", i)
				}
				require.False(t, slices.Contains(ends, id.End()))
				ends = append(ends, id.End())
				if i > 0 {
					before, _, _ := bytes.Cut(bodies[i-1].Bytes, []byte(`],"tools"`))
					require.True(t, bytes.HasPrefix(b.Bytes, before))
				}
			}
		}
	}
}

func TestIDs(t *testing.T) {
	seen, digests := map[string]bool{}, map[[16]byte]bool{}
	for i := range 20_000 {
		id := SessionID(i)
		require.Len(t, id, idLen)
		seen[id], digests[Digest(i)] = true, true
	}
	require.Len(t, seen, 20_000)
	require.Len(t, digests, 20_000)
	order := Order(1000, false)[:1<<12]
	ids := NewIDs(order)
	for _, i := range []int{0, 1, 999, len(order) - 1} {
		require.Equal(t, SessionID(int(order[i])), ids.At(i))
		require.Equal(t, ids.At(i), ids.At(i+len(order)))
	}
}

// In uniform order all sessions have about the same number of turns. In Zipf's order few sessions
// have most of them.
func TestOrder(t *testing.T) {
	const n = 10_000
	share := func(zipf bool) float64 {
		count := make([]int, n)
		for _, i := range Order(n, zipf) {
			count[i]++
		}
		first := 0
		for _, c := range count[:n/100] {
			first += c
		}
		return float64(first) / (1 << 20)
	}
	require.InDelta(t, 0.01, share(false), 0.002)
	require.Greater(t, share(true), 0.5)
	for _, zipf := range []bool{false, true} {
		require.Zero(t, slices.Max(Order(1, zipf)))
	}
}

func TestTextsDiffer(t *testing.T) {
	between := map[string][2]float64{"prose": {80, 130}, "code": {35, 70}, "json": {5, 35}, "metadata": {5, 100}}
	for _, text := range Texts {
		body := string(Plain("claude", text, 200<<10).Bytes)
		per := float64(len(body)) / float64(strings.Count(body, `\`))
		require.True(t, between[text][0] < per && per < between[text][1], "the text %s has one escape in %.0f bytes, which is out of its range", text, per)
		require.Equal(t, text == "json" || text == "metadata", strings.Contains(body, "metadata"), text)
	}
	require.NotContains(t, fmt.Sprint(texts), hole)
}
