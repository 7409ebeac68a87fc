package content

import "bytes"

// Past is what the messages of a request show of a conversation that goes on: where
// nothing is known of it, that was lost.
type Past uint8

const (
	// PastNone: for all that is seen the conversation begins here.
	PastNone Past = iota
	// PastTurns: the messages begin at the beginning, and answers stand in them.
	PastTurns
	// PastCut: the first message is an answer, a call or a result.
	PastCut
	// PastSummary: a summary stands in place of earlier messages.
	PastSummary
)

const (
	// longAnswer is the length in bytes of JSON from which on a model's words are an
	// answer. Clients put shorter ones there themselves: "Got it. Thanks for the
	// context!" (Qwen Code, captured).
	longAnswer = 64
	// longTurns is how many messages are turns, whatever they say: clients put up to
	// three before the first prompt.
	longTurns = 5
	// summaryWithin is among how many first messages a summary stands.
	summaryWithin = 9
)

func (ch *Chain) past() Past {
	switch {
	case ch.n == 0:
		return PastNone
	case ch.ids.summary:
		return PastSummary
	case !ch.begun:
		return PastCut
	case ch.n >= longTurns || ch.spoke >= longAnswer:
		return PastTurns
	}
	return PastNone
}

// summaries are how texts begin that clients put in place of earlier messages.
var summaries = [...][]byte{
	[]byte(`"This session is being continued from a previous`), // Claude Code (captured)
	[]byte(`"Another language model started to solve this`),    // Codex (captured)
	[]byte(`"What did we do so far?"`),                         // OpenCode (captured)
	[]byte(`"Got it. Thanks for the additional context!"`),     // Gemini CLI, the answer to one (captured)
	[]byte(`"Here is a summary of the conversation`),           // LangChain (captured)
	[]byte(`"Summary of the conversation`), []byte(`"Conversation summary`), []byte(`"<summary>`), []byte(`"<conversation_summary>`),
}

// read looks whether a text among the first messages is a summary.
func (s *ids) read(raw []byte) {
	if s == nil || s.summary || s.message >= summaryWithin || len(raw) < 3 {
		return
	}
	switch raw[1] {
	case 'T', 'A', 'W', 'G', 'H', 'S', 'C', '<':
	default:
		return
	}
	for _, begin := range summaries {
		if bytes.HasPrefix(raw, begin) {
			s.summary = true
			return
		}
	}
}
