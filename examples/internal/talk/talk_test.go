package talk_test

import (
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
	for _, c := range all {
		require.NoError(t, c.Turn(t.Context(), front.Client(), front.URL))
		require.NoError(t, c.Stream(t.Context(), front.Client(), front.URL))
		require.NoError(t, c.Turn(t.Context(), front.Client(), front.URL))
		require.Equal(t, []string{"key-of-a-caller", "key-of-a-caller", "key-of-a-caller"}, provider.Served(c.Name))
	}
	require.Equal(t, map[string]int{"key-of-a-caller": 8}, provider.Spread())
	require.Equal(t, 24, provider.Stats()["key-of-a-caller"].Served)
}
