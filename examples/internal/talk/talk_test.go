package talk_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/examples/internal/talk"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// The provider and the clients work together with all four APIs, streamed and not.
func TestTheProviderUnderstandsAllConversations(t *testing.T) {
	provider, err := talk.NewProvider()
	require.NoError(t, err)
	front := httptest.NewServer(provider)
	defer front.Close()
	all := talk.Conversations(2)
	require.Len(t, all, 8)
	for turn := range 3 {
		require.NoError(t, talk.Round(t.Context(), front.Client(), front.URL, all, turn == 1))
	}
	homes, err := provider.Homes(all, 3)
	require.NoError(t, err)
	require.Len(t, homes, 8)
	_, err = provider.Homes(all, 4)
	require.ErrorContains(t, err, "has 3 answers, not 4")
	require.Equal(t, map[string]int{"key-of-a-caller": 8}, provider.Spread())
	provider.AuthOf = func(*http.Request) string { return "another" }
	require.NoError(t, all[0].Turn(t.Context(), front.Client(), front.URL))
	_, err = provider.Homes(all[:1], 4)
	require.ErrorContains(t, err, "was sent to [key-of-a-caller key-of-a-caller key-of-a-caller another]")
	require.Equal(t, 25, provider.Stats()["key-of-a-caller"].Served)
}

// The made-up conversations are the same in each run, and all differ.
func TestMadeUpConversationsAreTheSameEachTime(t *testing.T) {
	require.Equal(t, talk.AgentTalks(), talk.AgentTalks())
	require.Equal(t, talk.Twins(), talk.Twins())
	names, ids := map[string]bool{}, map[sessionid.Key]string{}
	for _, c := range talk.AgentTalks() {
		names[c.Name] = true
	}
	require.Len(t, names, 200)
	sessions := map[string]bool{}
	for _, r := range talk.Twins() {
		sessions[r.Session] = true
		require.True(t, json.Valid([]byte(r.Body)), r.Body)
		h := http.Header{}
		for _, line := range r.Header {
			h.Add(line[0], line[1])
		}
		id := sessionid.Extract(h, []byte(r.Body))
		if r.Path == "/v1/conversations" {
			require.True(t, id.IsZero())
			continue
		}
		require.False(t, id.IsZero(), r.Body)
		if s := id.Signal(); s.Kind != sessionid.KindContent {
			require.Contains(t, []string{"claude-code", "claude-code, compacted", "codex", "opencode", "kimi-code", "mastra", "openai-sdk, conversation"}, r.Client)
			key := id.Primary()
			if other, ok := ids[key]; ok {
				require.Equal(t, other, r.Session, "two sessions have the same id")
			}
			ids[key] = r.Session
		}
	}
	require.Len(t, sessions, 45)
	require.Len(t, ids, 7*3)
}
