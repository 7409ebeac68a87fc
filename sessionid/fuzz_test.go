package sessionid

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"
)

var seeds = []string{
	``, `{}`, `null`, `[]`, `{"a":`, `{"session_id":"x"}`, `{"session_id":"x"} {}`, "{\"session_id\"\t:\n\"x\"}",
	`{"sess\u0069on_id":"x","session_id":"\ud800\u0041"}`, `{"session_id":"a","session_id":"b"}`,
	`{"metadata":{"user_id":"{\"device_id\":\"d\",\"session_id\":\"8a218e62-bb55-446a-bc6c-b288fc65f5b5\"}"}}`,
	`{"metadata":{"user_id":"user_a_account__session_8a218e62-bb55-446a-bc6c-b288fc65f5b5"}}`,
	`{"messages":[{"role":"user","content":[{"type":"text","text":"a\\\"b\u00e9\/"},{"type":"image","source":{"data":"AA"}}]},{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"r"}]}`,
	`{"contents":[{"parts":[{"functionResponse":{"id":"x","name":"f","response":{"o":[1,{"a":null}]}}}],"role":"user"}],"systemInstruction":{}}`,
	`{"input":[{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":[{"type":"input_text","text":"x"}]}],"prompt_cache_key":"a:b"}`,
	`{"request":{"session_id":"s","contents":[{"role":"user","parts":[{"text":"q"}]}]}}`, `{"prompt":["a","b"]}`,
	`{"own":{"path":{"id":"x"}},"previous_response_id":"resp_1","input":"yes"}`, `{"user_prompt_id":"a########1","container":{"id":"c"}}`,
	`{"conversation":{"id":"conv_1"},"x":"` + "\\\\\\\\" + `"}`, "\xff\xfe{", `{"a":"` + "\x01" + `"}`,
}

// FuzzBody holds the scanner against encoding/json: what is one JSON object
// there is one here, and every member that somebody reads has the same value.
func FuzzBody(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		a, b := Extract(nil, data), Extract(nil, data)
		if a.Primary() != b.Primary() || a.IsZero() != (a.Primary() == Key{}) {
			t.Fatalf("not a function of its input: %v, %v", a, b)
		}
		if all := everything.Extract(nil, data); len(data) <= small && (all.Primary() != a.Primary() || len(all.Owners()) < len(a.Owners())) && all.Signal().Kind != KindOwn && all.Signal().Kind != KindUser {
			t.Fatalf("%v with owners and own paths, %v without, in %q", all, a, data)
		}
		if !bytes.Equal(before, data) {
			t.Fatal("the body was changed")
		}
		var judge map[string]json.RawMessage
		if json.Unmarshal(data, &judge) != nil || judge == nil {
			return
		}
		var got body
		if bytes.Count(data, []byte(":")) > maxTopLevel {
			return // more than is taken apart
		}
		if !got.whole(&standard.members, data, new(chain)) {
			t.Fatalf("a JSON object was refused: %q", data)
		}
		var backwards body
		if back, ok := newTail(data); ok {
			for {
				name, value, ok := back.member()
				if !ok {
					break
				}
				if i, known := standard.members.find(name); known && !backwards.has(i) {
					backwards.set(i, value)
				}
			}
		}
		for name, i := range membersOf(standard) {
			if string(backwards.raw[i]) != string(got.raw[i]) {
				t.Fatalf("%s is %q from the end, %q from the front in %q", name, backwards.raw[i], got.raw[i], data)
			}
			want := judge[name]
			if string(got.raw[i]) != string(want) {
				t.Fatalf("%s is %q, want %q in %q", name, got.raw[i], want, data)
			}
			var s string
			if len(want) > 0 && want[0] == '"' && json.Unmarshal(want, &s) == nil {
				have := unquote(got.raw[i], new(scratch))
				x, okX := clean(have, MaxIDBytes)
				y, okY := clean(s, MaxIDBytes)
				if okX && okY && x != y {
					t.Fatalf("%s reads as %q, want %q", name, x, y)
				}
			}
		}
	})
}

// everything is switched on.
var everything = func() *Extractor {
	e, err := NewExtractor(Config{
		Own:   []Source{{Path: "own.path.id"}, {Header: "X-Own"}},
		Order: append(DefaultOrder(), KindPattern, KindUser),
		Lanes: LanesApart, Owners: OwnersAlways,
	})
	if err != nil {
		panic(err)
	}
	return e
}()

// FuzzHeader: any value in any header of the census is an id that passes the
// gate, or none; the ID shows nothing of it.
func FuzzHeader(f *testing.F) {
	for i, s := range append(seeds, "8a218e62-bb55-446a-bc6c-b288fc65f5b5", "null", "{{x}}", "a\nb", strings.Repeat("a", 257)) {
		f.Add(uint8(i), s)
	}
	f.Fuzz(func(t *testing.T, which uint8, value string) {
		rows := headerRows(standard)
		s := rows[int(which)%len(rows)]
		id := Extract(http.Header{s.name: {"", value}}, nil)
		want, ok := s.id(value, MaxIDBytes)
		if ok == id.IsZero() {
			t.Fatalf("%s: %q is an id: %v, but the ID is %v", s.name, value, ok, id)
		}
		if !ok {
			return
		}
		if len(want) > MaxIDBytes || strings.ContainsAny(want, "\n\r\x00") {
			t.Fatalf("%q passed the gate", want)
		}
		if len(want) > 16 && strings.Contains(id.String(), want) {
			t.Fatalf("%v shows the id", id)
		}
		// The same value as a subagent's, beside another session: a lane of its
		// own, or none; the session stays.
		h := http.Header{"X-Claude-Code-Session-Id": {"s-1"}, "X-Claude-Code-Agent-Id": {value}, "X-Claude-Code-Parent-Agent-Id": {value}}
		inherits, apart := Extract(h, nil), everything.Extract(h, nil)
		if (inherits.Lane() != Key{}) != (apart.Primary() != inherits.Primary()) || apart.Lane() != inherits.Lane() {
			t.Fatalf("%q: lane %x, apart %x", value, inherits.Lane(), apart.Primary())
		}
	})
}

// FuzzSpelling: two spellings of one text are one text.
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
		sum := func(content string) Key {
			id := Extract(nil, []byte(`{"messages":[{"role":"user","content":`+content+`},{"role":"user","content":"x"}]}`))
			return id.Primary()
		}
		a, b, c := sum(string(html)), sum(strings.TrimSpace(plain.String())), sum(ascii.String())
		if a != b || a != c {
			t.Fatalf("%q has three identities: %x %x %x", text, a, b, c)
		}
	})
}

func u16(r rune) string {
	const hex = "0123456789ABCDEF"
	return `\u` + string([]byte{hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15]})
}

// FuzzVector holds the vector scanners against the plain ones, from every quote
// and every bracket of the text, and the gate against one that goes byte by
// byte.
func FuzzVector(f *testing.F) {
	if !vector {
		f.Skip("no vector scanners on this machine")
	}
	for _, s := range seeds {
		f.Add([]byte(s), uint8(0))
		f.Add([]byte(strings.Repeat(s, 5)), uint8(3))
	}
	for n := range 70 {
		f.Add([]byte(`{"a":["`+strings.Repeat("x", n)+strings.Repeat(`\`, n)+`\u0041\/"," ",{}]}`), uint8(n))
	}
	f.Fuzz(func(t *testing.T, data []byte, pad uint8) {
		data = append(bytes.Repeat([]byte(" "), int(pad%64)), data...)
		const most = 50 // starts, so that a text of quotes stays linear
		for i, starts := 0, 0; i < len(data) && starts < most; i++ {
			switch data[i] {
			case '"':
				end, plain := textEnd(data, i)
				wantEnd, wantPlain := textEndPlain(data, i+1, 0)
				if end != wantEnd || end >= 0 && plain != wantPlain {
					t.Fatalf("the string at %d of %q ends at %d, %v, want %d, %v", i, data, end, plain, wantEnd, wantPlain)
				}
			case '{', '[':
				end, plain := valueEnd(data, i)
				wantEnd, wantPlain := nestedEndPlain(data, i, 0, 0)
				// Other control characters outside strings are no JSON: what they
				// do to plain does not matter, since nothing is respelled there.
				if end != wantEnd || end >= 0 && plain != wantPlain && bytes.IndexFunc(data, func(r rune) bool { return r < ' ' }) < 0 {
					t.Fatalf("the value at %d of %q ends at %d, %v, want %d, %v", i, data, end, plain, wantEnd, wantPlain)
				}
			default:
				continue
			}
			starts++
		}
		fast, ok := newTail(data)
		slow := fast
		slow.marked = len(data)
		for ok {
			n1, v1, ok1 := fast.member()
			n2, v2, ok2 := slow.member()
			if ok1 != ok2 || !bytes.Equal(n1, n2) || !bytes.Equal(v1, v2) || fast.i != slow.i {
				t.Fatalf("from the end of %q: %q:%q %v, want %q:%q %v", data, n1, v1, ok1, n2, v2, ok2)
			}
			ok = ok1
		}
		if _, ok := clean(string(data), MaxIDBytes); ok != isClean(string(data)) {
			t.Fatalf("%q passes the gate: %v", data, ok)
		}
	})
}

// isClean is what the documentation of the package says of an id.
func isClean(v string) bool {
	v = strings.Trim(v, " \t")
	if v == "" || len(v) > MaxIDBytes || !utf8.ValidString(v) || strings.Trim(v, "0-") == "" || placeholders[strings.ToLower(v)] {
		return false
	}
	for _, r := range v {
		if r < 0x20 || r == 0x7f {
			return false
		}
	}
	return !isTemplate(v)
}

func membersOf(e *Extractor) map[string]int {
	all := map[string]int{}
	for _, of := range e.members.byLen {
		for _, m := range of {
			all[m.name] = m.i
		}
	}
	return all
}

func headerRows(e *Extractor) (rows []*source) {
	for i := range e.stages {
		for j := range e.stages[i].rows {
			if !e.stages[i].inBody {
				rows = append(rows, &e.stages[i].rows[j])
			}
		}
	}
	return rows
}
