package content

import "bytes"

// maxIDs is how many of the latest ids are looked at.
const maxIDs = 32

// id is an id of a message, a tool's call or a result.
type id struct {
	raw     []byte // as it is spelled
	sum     uint64 // of all that it stands for
	message int    // in which it stands
	made    made
}

// ids are the latest ids of a conversation, in a ring, and whether its first messages
// stand for others.
type ids struct {
	ring    [maxIDs]id
	n       int
	message int // that is walked now
	summary bool
}

// note keeps an id of what has a sum; with is 0 or the id's own sum, if the sum of what
// it stands for does not have it.
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

// summaryWithin is among how many first messages a summary stands.
const summaryWithin = 9

// summaries are how texts begin that clients put in place of earlier messages.
var summaries = [...][]byte{
	[]byte(`"This session is being continued from a previous`), // Claude Code (captured)
	[]byte(`"Another language model started to solve this`),    // Codex (captured)
	[]byte(`"What did we do so far?"`),                         // OpenCode (captured)
	thanks,
	[]byte(`"Some of the conversation history has been summ`), // Copilot CLI (captured)
	[]byte(`"Here is a summary of the conversation`),          // LangChain (captured)
	[]byte(`"Summary of the conversation`), []byte(`"Conversation summary`), []byte(`"<summary>`), []byte(`"<conversation_summary>`),
}

// thanks is what Gemini CLI and Qwen Code put there as the answer to a summary (captured).
var thanks = []byte(`"Got it. Thanks for the additional context!"`)

// read looks whether a text among the first messages is a summary.
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

// headOfMessage is how much of a message is searched for the words with which clients ask
// for a summary.
const headOfMessage = 512

// asking are words of those requests. The first one is in summary, Summarize and
// summarizes; Qwen Code and Gemini CLI also ask for a <state_snapshot> and name it no
// summary.
var asking = [...][]byte{[]byte("ummar"), []byte("snapshot")}

// asksSummary reports whether a message, as it is spelled, asks for a summary as clients
// do that compact a conversation.
func asksSummary(raw []byte) bool {
	head := raw[:min(len(raw), headOfMessage)]
	for _, words := range asking {
		if bytes.Contains(head, words) {
			return true
		}
	}
	return false
}
