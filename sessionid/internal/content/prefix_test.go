package content

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// chat returns a request whose messages have so many different bytes each.
func chat(t *testing.T, seed int, lengths ...int) string {
	var messages []map[string]any
	for i, n := range lengths {
		text := strings.Repeat(fmt.Sprintf("%d/%d ", seed, i), n)[:n]
		messages = append(messages, map[string]any{"role": "user", "content": text})
	}
	b, err := json.Marshal(map[string]any{"model": "m", "messages": messages})
	require.NoError(t, err)
	return string(b)
}

func TestPrefixesAreCutByTheLengthOfTheText(t *testing.T) {
	of := func(kib ...int) int {
		for i := range kib {
			kib[i] <<= 10
		}
		return len(Prefixes(nil, []byte(chat(t, 1, kib...))))
	}
	for kib, n := range map[int]int{1: 1, 2: 2, 3: 3, 4: 4, 5: 4, 6: 5, 7: 5, 8: 6, 11: 6, 12: 7, 16: 8, 24: 9, 32: 10, 1 << 10: 20} {
		require.Equal(t, n, of(kib), "%d KiB", kib)
		require.Equal(t, n, of(1, kib-1), "where messages end does not count: %d KiB", kib)
	}
}

func TestWhoBeginsAlikeSharesPrefixes(t *testing.T) {
	a := Prefixes(nil, []byte(chat(t, 1, 5000, 40000)))
	longer := Prefixes(nil, []byte(chat(t, 1, 5000, 40000, 90000)))
	require.Equal(t, a, longer[:len(a)])
	require.Greater(t, len(longer), len(a))
	other := Prefixes(nil, []byte(strings.Replace(chat(t, 1, 5000, 40000), "1/1 ", "2/1 ", 1)))
	require.Len(t, other, len(a))
	require.Equal(t, a[:4], other[:4], "the first message is the same, of 5,000 bytes")
	for i := 4; i < len(a); i++ {
		require.NotEqual(t, a[i], other[i])
	}
}

// Parts that clients move from turn to turn, and parts that all conversations of an application
// share, do not count.
func TestPrefixesLeaveOutWhatSaysNothing(t *testing.T) {
	text := strings.Repeat("words of a user, ", 200)
	plain := Prefixes(nil, []byte(`{"messages":[{"role":"user","content":"`+text+`"}]}`))
	require.NotEmpty(t, plain)
	for _, same := range []string{
		`{"system":"` + text + `","messages":[{"role":"user","content":[{"type":"text","text":"` + text + `","cache_control":{"type":"ephemeral"}}]}]}`,
		`{"messages":[{"content":"` + text + `x","role":"system"},{"role":"developer","content":"` + text + `"},{"role":"user","content":"` + text + `"}]}`,
		`{"contents":[{"role":"user","parts":[{"text":"` + text + `"}]}]}`,
		`{"input":"` + text + `"}`,
		`{"input":[{"role":"user","content":[{"type":"input_text","text":"` + text + `"}],"id":"msg_0123456789012345678901234567890123456789"}]}`,
		`{"request":{"contents":[{"parts":[{"text":"` + text + `"}]}],"systemInstruction":{"parts":[{"text":"` + text + `"}]}}}`,
		`{"prompt":["` + text + `"]}`,
		`{"contents":{"parts":[{"text":"` + text + `"}]}}`,
	} {
		require.Equal(t, plain, Prefixes(nil, []byte(same)), same[:60])
	}
}

func TestPrefixesOfWhatIsNone(t *testing.T) {
	long := strings.Repeat("x", 3000)
	for _, body := range []string{"", "[]", "null", "{", `{"messages":`, `{"messages":["` + long, `{"model":"` + long + `"}`, `{"messages":7}`, `{"messages":[[["` + long + `"]]]}`} {
		require.Empty(t, Prefixes(nil, []byte(body)), "%.20s", body)
	}
	deep := `{"messages":[` + strings.Repeat(`{"content":[`, 100) + `"` + long + `"` + strings.Repeat(`]}`, 100) + `]}`
	require.Empty(t, Prefixes(nil, []byte(deep)))
}
