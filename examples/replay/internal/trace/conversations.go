package trace

import (
	"cmp"
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
)

// conversation is a line of a trace that has the messages of whole conversations. The messages
// before each assistant message are one request.
type conversation struct {
	Session  string            `json:"session"`
	Messages []json.RawMessage `json:"messages"`
}

// Such a trace has no times. A conversation begins every beginEvery. From one request to the
// next it takes turnFirst, plus the time to write the answer and to read it.
const (
	beginEvery = 3 * time.Second
	turnMean   = 10 * time.Second
)

func ofConversations(name string, all []conversation) (*Trace, error) {
	t := &Trace{Name: name, Named: true, Sessions: len(all)}
	rng := rand.New(rand.NewPCG(7, 11))
	var h hasher
	for s, c := range all {
		at := time.Duration(s) * beginEvery
		for i, m := range c.Messages {
			var role struct {
				Role string `json:"role"`
			}
			if err := json.Unmarshal(m, &role); err != nil {
				return nil, err
			}
			if role.Role != "assistant" {
				continue
			}
			r := Request{Session: s, At: at, Output: max(1, len(m)/tokenBytes), Model: model, body: messages{c.Messages[:i], m}}
			var text []byte
			for _, m := range c.Messages[:i] {
				text = append(text, m...)
			}
			r.Input, r.Blocks = len(text)/tokenBytes, h.blocks(text)
			t.Requests = append(t.Requests, r)
			// Pauses are exponential, as if people and tools were independent of each other.
			at += time.Duration(math.Min(rng.ExpFloat64(), 12) * float64(turnMean))
		}
	}
	t.Blocks = len(h.numbers)
	slices.SortStableFunc(t.Requests, func(a, b Request) int { return cmp.Compare(a.At, b.At) })
	return t, nil
}

// messages is the body of a request of the chat API, with its answer.
type messages struct {
	said   []json.RawMessage
	answer json.RawMessage
}

func (m messages) appendTo(buf []byte, _ bool) []byte {
	buf = append(buf, `{"model":"`+model+`","messages":[`...)
	for i, one := range m.said {
		if i > 0 {
			buf = append(buf, ',')
		}
		buf = append(buf, one...)
	}
	return append(buf, `]}`...)
}

func (m messages) appendAnswer(buf []byte) []byte {
	return append(append(append(buf, answerBegin...), m.answer...), answerEnd...)
}

// hasher numbers the blocks of texts: equal prefixes have equal numbers.
type hasher struct {
	numbers map[uint64]int32
}

func (h *hasher) blocks(text []byte) (out []int32) {
	if h.numbers == nil {
		h.numbers = map[uint64]int32{}
	}
	chain := xxhash.New()
	for len(text) > 0 {
		n := min(blockBytes, len(text))
		chain.Write(text[:n])
		text = text[n:]
		sum := chain.Sum64()
		number, ok := h.numbers[sum]
		if !ok {
			number = int32(len(h.numbers))
			h.numbers[sum] = number
		}
		out = append(out, number)
	}
	return out
}
