package sessionid

import "github.com/llmaffinity/llmaffinity/sessionid/internal/content"

// Past is what the messages of a request show of a conversation that goes on.
type Past uint8

const (
	// PastNone: for all that is seen the conversation begins with this request.
	PastNone = Past(content.PastNone)
	// PastTurns: answers of some length, or four turns of any, stand in the messages, or
	// a state stands for them. What is shorter clients put there themselves.
	PastTurns = Past(content.PastTurns)
	// PastCut: the messages begin in the middle, with an answer or a tool's result.
	PastCut = Past(content.PastCut)
	// PastSummary: a summary stands in place of earlier messages, as clients and
	// providers write it when they compact a conversation.
	PastSummary = Past(content.PastSummary)

	pasts = PastSummary + 1
)

// String is the word in lower case, fit for a metric label; empty for PastNone.
func (p Past) String() string {
	if p >= pasts {
		return "unknown"
	}
	return [pasts]string{"", "turns", "cut", "summary"}[p]
}
