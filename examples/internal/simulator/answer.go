package simulator

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// answer is the provider's answer before it has an API's form.
type answer struct {
	id, model, text string // id is that of this answer alone; the API puts its prefix before it
	call            *call  // instead of a text
	usage           bool
	state           names // what the request named and the answer names again

	prompt, cached, written, output int // tokens
}

// call is a tool's call.
type call struct{ name, arguments string }

// newID returns a random id: no two answers of real providers have the same.
func newID() string { return fmt.Sprintf("%016x", rand.Uint64()) }

// answerTo makes the answer. Its words depend on the prompt, and its id is random. Its length
// depends on tokens alone, so that the prompts of two runs over the same conversations have
// the same length.
func answerTo(q *question, tokens int, calls bool) *answer {
	a := &answer{id: newID(), model: q.model, prompt: q.tokens(), output: tokens, usage: q.usage, state: q.names}
	if calls && q.asked && q.tool != "" {
		a.call = &call{q.tool, fmt.Sprintf(`{"query":%q}`, a.id)}
		a.output = (len(a.call.name) + len(a.call.arguments) + 3) / 4
		return a
	}
	var b strings.Builder
	h := q.hash()
	fmt.Fprintf(&b, "Answer %s:", a.id)
	least := b.Len()
	words := strings.Fields("the cache of this account holds what it has read before and reads it again for a tenth")
	for b.Len() < 4*tokens {
		b.WriteByte(' ')
		b.WriteString(words[h%uint64(len(words))])
		h = h*6364136223846793005 + 1442695040888963407
		h ^= h >> 29
	}
	// The full stop makes sure that no blank is last: clients remove those.
	a.text = b.String()[:max(4*tokens-9, least)] + "."
	return a
}

// deltas returns the pieces in which a text or a call's arguments are streamed.
func deltas(text string) (out []string) {
	const n = 4
	for i := range n {
		out = append(out, text[len(text)*i/n:len(text)*(i+1)/n])
	}
	return out
}
