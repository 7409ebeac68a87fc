package trace

import (
	"fmt"
	"math/rand/v2"
	"sync"
)

// blockBytes is how long the text of a block is.
const blockBytes = BlockTokens * tokenBytes

// words is text to cut blocks from: letters and blanks, which JSON has no need to escape.
var words = sync.OnceValue(func() []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	text := make([]byte, 1<<20+blockBytes)
	for i, left := 0, 0; i < len(text); i, left = i+1, left-1 {
		if left == 0 {
			text[i], left = ' ', 2+rng.IntN(9)
			continue
		}
		text[i] = byte('a' + rng.IntN(26))
	}
	return text
})

// appendText appends the first n bytes of the text of a block. Each block has a text of its
// own, made from its number: the number, and then words.
func appendText(buf []byte, block int32, n int) []byte {
	var head [16]byte
	copy(head[:], fmt.Appendf(head[:0], "%012d", block))
	head[12], head[13], head[14], head[15] = ' ', 'o', 'f', ' '
	if n <= len(head) {
		return append(buf, head[:n]...)
	}
	buf = append(buf, head[:]...)
	// The multiplier is odd and large, so that neighbours start at places far apart.
	at := uint32(block) * 2654435761 % (1 << 20)
	return append(buf, words()[at:int(at)+n-len(head)]...)
}

// rendered is a body that is made of blocks, and cut into messages.
type rendered struct {
	texts []int32 // whose text each block has
	bytes int     // length of the text
	cuts  []cut   // where a message ends and the next one begins

	// Where the answer to the request stands in a later one; nil if no request continues it.
	goesOn   *rendered
	from, to int
}

// cut is where an earlier prompt ended.
type cut struct {
	at     int // its place in the text
	answer int // length of the answer to that prompt, which follows it
}

func (r *rendered) appendTo(buf []byte, answers bool) []byte {
	buf = append(buf, `{"model":"`+model+`","messages":[{"role":"user","content":"`...)
	at := 0
	part := func(to int, role string) {
		buf = r.appendText(buf, at, to)
		at = to
		buf = append(buf, `"},{"role":"`+role+`","content":"`...)
	}
	for _, c := range r.cuts {
		if answers && c.answer > 0 {
			part(c.at, "assistant")
			part(c.at+c.answer, "user")
		} else {
			part(c.at, "user")
		}
	}
	return append(r.appendText(buf, at, r.bytes), `"}]}`...)
}

func (r *rendered) appendAnswer(buf []byte) []byte {
	buf = append(buf, answerBegin+`{"role":"assistant","content":"`...)
	if r.goesOn != nil {
		buf = r.goesOn.appendText(buf, r.from, r.to)
	} else {
		buf = append(buf, "an answer that nobody repeats"...)
	}
	return append(buf, `"}`+answerEnd...)
}

// The text around the message in an answer of the chat API.
const (
	answerBegin = `{"object":"chat.completion","choices":[{"index":0,"finish_reason":"stop","message":`
	answerEnd   = `}]}`
)

// appendText appends the bytes [at, end) of the text.
func (r *rendered) appendText(buf []byte, at, end int) []byte {
	for at < end {
		block, from := at/blockBytes, at%blockBytes
		to := min(blockBytes, from+end-at)
		buf = appendPart(buf, r.texts[block], from, to)
		at += to - from
	}
	return buf
}

// appendPart appends the bytes [from, to) of a block's text.
func appendPart(buf []byte, block int32, from, to int) []byte {
	if from == 0 {
		return appendText(buf, block, to)
	}
	begin := len(buf)
	buf = appendText(buf, block, to)
	return append(buf[:begin], buf[begin+from:]...)
}
