package content

// Past is what the messages of a request show of earlier turns of the conversation. If
// no session is known for it, the session was lost.
type Past uint8

const (
	// PastNone: nothing shows that the conversation began before this request.
	PastNone Past = iota
	// PastTurns: the messages start at the conversation's beginning, and contain answers.
	PastTurns
	// PastCut: the first message is an answer, a call or a result.
	PastCut
	// PastSummary: a summary stands in place of earlier messages.
	PastSummary
)

// longTurns is how many messages show earlier turns, whatever they say: clients put up to
// three messages before the first prompt.
const longTurns = 5
