package content

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// turned is a message with its members in the other order. It says the same.
func turned(text string) string { return `{"content":"` + text + `","role":"user"}` }

func TestALongTalkOfSingleWordsCountsAsItIsSpelled(t *testing.T) {
	many := func(n int, message string) string { return list(slices.Repeat([]string{message}, n)...) }
	require.Equal(t, endOf(many(300, user("ok"))), endOf(many(300, turned("ok"))), "a few hundred are taken apart")
	require.NotEqual(t, endOf(many(6000, user("ok"))), endOf(many(6000, turned("ok"))))
	h := walked(many(6001, user("ok"))).History()
	require.Equal(t, endOf(many(6000, user("ok"))), h.Earlier()[0], "and still goes on turn by turn")
	sentence := strings.Repeat("word ", 20)
	require.Equal(t, endOf(many(6000, user(sentence))), endOf(many(6000, turned(sentence))), "sentences are always taken apart")
}

func TestAMessageOfTinyPartsCountsAsItIsSpelled(t *testing.T) {
	parts := func(n int, part string) string {
		return list(slices.Repeat([]string{`{"role":"user","content":` + list(slices.Repeat([]string{part}, n)...) + `}`}, 20)...)
	}
	one, other := `{"a":1,"b":2}`, `{"b":2,"a":1}`
	require.Equal(t, endOf(parts(5, one)), endOf(parts(5, other)))
	require.NotEqual(t, endOf(parts(900, one)), endOf(parts(900, other)))
}

func TestAListOfNothingButNumbersIsOneMessageInTheEnd(t *testing.T) {
	numbers := strings.Repeat("1,", 100000)
	first, second := walked(`[`+numbers+`1]`), walked(`[`+numbers+`2]`)
	require.False(t, first.Empty())
	require.NotEqual(t, endOf(`[`+numbers+`1]`), endOf(`[`+numbers+`2]`), "all of it counts")
	require.Less(t, first.n, 20000)
	require.Equal(t, first.n, second.n)
}
