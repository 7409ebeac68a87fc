package field

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/sessionid"
)

// readAnswers returns the answers to the requests of one session, as a gateway reads
// them.
func readAnswers(t testing.TB, session []Request) []sessionid.Answer {
	out := make([]sessionid.Answer, len(session))
	for i, body := range Answers(t, session) {
		if body != "" {
			out[i] = sessionid.ReadAnswer([]byte(body))
			require.False(t, out[i].IsZero(), "%s", body)
		}
	}
	return out
}
