package affinityhttp

import (
	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// AnswerWriter reads an answer as it passes, for a gateway that can use neither a [Transport] nor
// [Send], because its answers are no http.Response. It is a [sessionid.AnswerWriter] that also
// reads what the answer has cost and which model has answered. Write to it the bytes that the
// client gets, decompressed, for example by an io.TeeReader. When the answer has ended, pass what
// Answer and Usage return to affinity.Pick.Answered and affinity.Pick.Done.
//
// It reads JSON and server-sent events of the chat, Claude, Responses and Gemini APIs. Of other
// answers it says nothing. The zero AnswerWriter is ready to use. It holds at most some MiB. Only
// one goroutine may use it at a time.
type AnswerWriter struct{ w watch }

// Write takes the next bytes of the answer. It never fails.
func (a *AnswerWriter) Write(p []byte) (int, error) {
	a.w.words, a.w.named = true, true
	return a.w.Write(p)
}

// IsWhole reports whether the bytes written so far include the end of a stream, see
// [sessionid.AnswerWriter.IsWhole].
func (a *AnswerWriter) IsWhole() bool { return a.w.answer.IsWhole() }

// Usage returns what the answer has cost, as it says. It is zero if the answer does not say so: a
// stream of the chat API does only if the request asks for it. If a stream broke off, Usage is
// what was said so far.
func (a *AnswerWriter) Usage() affinity.Usage {
	a.w.end()
	return a.w.usage.Usage
}

// Model returns the model that has answered, as the answer names it, "" if it does not. It may
// be another name than that of the request, such as that of a version.
func (a *AnswerWriter) Model() string {
	a.w.end()
	return a.w.model
}

// Answer returns what identifies the conversation, see [sessionid.AnswerWriter.Answer].
func (a *AnswerWriter) Answer() sessionid.Answer {
	a.w.end()
	return a.w.answer.Answer()
}

// modelPlaces are the members in which answers and events of streams name the model.
var modelPlaces = [...]string{"model", "message.model", "response.model", "modelVersion", "response.modelVersion", "interaction.model"}

// longestModel is how long the name of a model may be.
const longestModel = 256
