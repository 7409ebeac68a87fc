package identity

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/examples/benchmarks/requests"
)

func TestAllFindTheSameID(t *testing.T) {
	const id = "0f8fad5b-d9cb-469f-a165-70867728950e"
	bodies := map[string]string{
		`{"messages":[{"role":"user","content":"\"session_id\":\"no\""}],"metadata":{"user_id":"user_1_account__session_` + id + `"}}`:        id,
		`{"messages":[],"metadata":{"a":[1,{"user_id":"no"}],"user_id":"{\"device_id\":\"d\",\"session_id\":\"` + id + `\"}"},"stream":true}`: id,
		`{"session_id":"` + id + `","input":"q","prompt_cache_key":"weaker"}`:                                                                 id,
		`{"input":[{"session_id":"no"}],"client_metadata":{"session_id":"` + id + `"},"session_id":"weaker","prompt_cache_key":"weakest"}`:    id,
		`{"input":[],"metadata":{"user_id":"somebody"},"prompt_cache_key":"` + id + `"}`:                                                      id,
		`{"messages":[{"role":"user","content":"q"}],"metadata":{"user_id":"somebody"}}`:                                                      "",
		`{}`: "",
	}
	for _, r := range All {
		for body, want := range bodies {
			require.Equal(t, want, r.Read([]byte(body)), "%s: %s", r.Name, body)
		}
		for _, member := range []string{"metadata.user_id", "client_metadata", "prompt_cache_key"} {
			body := requests.WithEnd(member, 80<<10)
			for i := range 3 {
				body.Set(requests.SessionID(i))
				require.Equal(t, requests.SessionID(i), r.Read(body.Bytes), "%s: %s", r.Name, member)
			}
		}
		require.Empty(t, r.Read(requests.Plain("chat", "json", 80<<10).Bytes), r.Name)
		for _, body := range []string{"", "null", "[]", `{"messages":`, `{"a":1}}`} {
			require.Empty(t, r.Read([]byte(body)), "%s: %s", r.Name, body)
		}
	}
}
