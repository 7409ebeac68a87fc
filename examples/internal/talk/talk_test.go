package talk_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/examples/internal/talk"
)

// Both sides understand each other in all four APIs, also in pieces.
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
