package content

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

// longTurns is how many messages are turns, whatever they say: clients put up to three
// before the first prompt.
const longTurns = 5
