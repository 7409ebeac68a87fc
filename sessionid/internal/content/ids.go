package content

import "bytes"

// maxIDs is how many of the latest ids are looked at.
const maxIDs = 32

// id is an id of a message, a tool's call or a result.
type id struct {
	raw     []byte // as it is spelled
	sum     uint64 // of the call, result or message that it identifies
	message int    // the index of its message
	made    made
}

// ids are the latest ids of a conversation, in a ring, and whether its first messages
// stand for others.
type ids struct {
	ring    [maxIDs]id
	n       int
	message int // the index of the message that is walked now
	summary bool
}

// note keeps an id. sum is the sum of the call, result or message that it identifies. If
// that sum does not include the id, with is the id's own sum; otherwise with is 0.
func (s *ids) note(raw []byte, sum, with uint64) {
	if s != nil && len(raw) > 2 && raw[0] == '"' {
		if with != 0 {
			sum = Fold(with, sum)
		}
		s.ring[s.n%maxIDs] = id{raw, sum, s.message, notAsked}
		s.n++
	}
}

func (s *ids) restart() { s.n, s.message, s.summary = 0, 0, false }

// summaryWithin is how many messages, from the first on, may be a summary.
const summaryWithin = 9

// summaries are the beginnings of texts that clients put in place of earlier messages.
var summaries = [...][]byte{
	[]byte(`"This session is being continued from a previous`), // Claude Code (captured)
	[]byte(`"Another language model started to solve this`),    // Codex (captured)
	[]byte(`"What did we do so far?"`),                         // OpenCode (captured)
	thanks,
	[]byte(`"Some of the conversation history has been summ`), // Copilot CLI (captured)
	[]byte(`"Here is a summary of the conversation`),          // LangChain (captured)
	[]byte(`"Summary of the conversation`), []byte(`"Conversation summary`), []byte(`"<summary>`), []byte(`"<conversation_summary>`),
}

// thanks is the text that Gemini CLI and Qwen Code put after a summary as its answer
// (captured).
var thanks = []byte(`"Got it. Thanks for the additional context!"`)

// read notes whether a text among the first messages is a summary.
func (s *ids) read(raw []byte) { s.summary = s.summary || beginsSummary(raw) }

// beginsSummary reports whether a text stands in place of earlier messages.
func beginsSummary(raw []byte) bool {
	if len(raw) < 3 {
		return false
	}
	switch raw[1] {
	case 'T', 'A', 'W', 'G', 'H', 'S', 'C', '<':
	default:
		return false
	}
	for _, begin := range summaries {
		if bytes.HasPrefix(raw, begin) {
			return true
		}
	}
	return false
}

// headOfMessage is how many bytes of a message are searched for the words with which
// clients ask for a summary.
const headOfMessage = 512

// asking are words of those requests. The first one is a part of summary, Summarize and
// summarizes. Qwen Code and Gemini CLI also ask for a <state_snapshot>, and do not call
// it a summary.
var asking = [...][]byte{[]byte("ummar"), []byte("snapshot")}

// asksSummary reports whether a message, as it is spelled, asks for a summary in the words
// of clients that compact a conversation.
func asksSummary(raw []byte) bool {
	head := raw[:min(len(raw), headOfMessage)]
	for _, words := range asking {
		if bytes.Contains(head, words) {
			return true
		}
	}
	return false
}
