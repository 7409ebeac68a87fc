package sessionid

import "github.com/llmaffinity/llmaffinity/sessionid/internal/content"

// Past is what the messages of a request show of earlier turns of the conversation.
type Past uint8

const (
	// PastNone: nothing shows that the conversation began before this request.
	PastNone = Past(content.PastNone)
	// PastTurns: there are five messages or more, or one of them is an answer of some
	// length, or state stands for earlier messages. Fewer messages and shorter answers
	// may be an opening that the client has made up.
	PastTurns = Past(content.PastTurns)
	// PastCut: the messages begin in the middle, with an answer or a tool's result.
	PastCut = Past(content.PastCut)
	// PastSummary: a summary stands in place of earlier messages, as clients and
	// providers write it when they compact a conversation.
	PastSummary = Past(content.PastSummary)

	pasts = PastSummary + 1
)

// String returns the word in lower case, fit for a metric label. It is empty for PastNone.
func (p Past) String() string {
	if p >= pasts {
		return "unknown"
	}
	return [pasts]string{"", "turns", "cut", "summary"}[p]
}
