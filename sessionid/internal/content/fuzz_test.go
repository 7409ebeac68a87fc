package content

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/llmaffinity/llmaffinity/sessionid/internal/jsontext"
)

// walked is the chain of a request whose messages are given.
func walked(messages string) *Chain {
	c, _ := jsontext.NewCursor([]byte(`{"messages":` + messages + `}`))
	_, v, _ := c.Member()
	var ch Chain
	ch.Walk(0, &c, v)
	return &ch
}

// endOf is the end of a request whose messages are given.
func endOf(messages string) Key {
	h := walked(messages).History()
	return h.End()
}

// FuzzSpelling shows that all spellings of one text have one identity.
func FuzzSpelling(f *testing.F) {
	for _, s := range []string{"", "a", "a/b<c>&\u2028é😀\x00\x1f\"\\\n\\u0041"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		text = strings.ToValidUTF8(text, "?")
		html, err := json.Marshal(text) // escapes <, >, & and U+2028
		if err != nil {
			t.Fatal(err)
		}
		var plain bytes.Buffer
		e := json.NewEncoder(&plain)
		e.SetEscapeHTML(false)
		if err := e.Encode(text); err != nil {
			t.Fatal(err)
		}
		var ascii strings.Builder
		ascii.WriteByte('"')
		for _, r := range text {
			if r > 0xffff {
				r -= 0x10000
				ascii.WriteString(u16(0xd800 + r>>10))
				r = 0xdc00 + r&0x3ff
			}
			ascii.WriteString(u16(r))
		}
		ascii.WriteByte('"')
		sum := func(text string) Key {
			return endOf(`[{"role":"user","content":` + text + `},{"role":"user","content":"x"}]`)
		}
		a, b, c := sum(string(html)), sum(strings.TrimSpace(plain.String())), sum(ascii.String())
		if a != b || a != c {
			t.Fatalf("%q has three identities: %x %x %x", text, a, b, c)
		}
	})
}

// u16 is the escape of one UTF-16 unit.
func u16(r rune) string {
	const hex = "0123456789ABCDEF"
	return `\u` + string([]byte{hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15]})
}
