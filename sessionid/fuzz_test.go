package sessionid

import (
	"bytes"
	"encoding/json"
	"math/bits"
	"net/http"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/llmaffinity/llmaffinity/sessionid/internal/content"
	"github.com/llmaffinity/llmaffinity/sessionid/internal/jsontext"
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
	`{"a\":1,\"session_id":"x","session_id\":1":"y","model":"the name of a model"}`,
	`{"conversation":{"id":"conv_1"},"x":"` + "\\\\\\\\" + `"}`, "\xff\xfe{", `{"a":"` + "\x01" + `"}`,
}

// FuzzBody compares the walks over a body with encoding/json. Both agree on what is one JSON
// object, and each member that is read has the same value, from the front and from the end.
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
		if len(data) <= small && !json.Valid(data) && (!a.IsZero() || a.Owners() != nil) {
			t.Fatalf("%v of a text that is no JSON: %q", a, data)
		}
		var judge map[string]json.RawMessage
		if json.Unmarshal(data, &judge) != nil || judge == nil {
			return
		}
		got := body{text: data}
		if bytes.Count(data, []byte(":")) > maxTopLevel {
			return // perhaps more members than are read
		}
		if !got.whole(&standard.members, new(content.Chain)) {
			t.Fatalf("a JSON object was refused: %q", data)
		}
		backwards := body{text: data}
		if back := new(jsontext.Backward); back.Begin(data) {
			for {
				name, value, ok := back.Member()
				if !ok {
					break
				}
				if i, known := standard.members.find(name); known && !backwards.has(i) {
					backwards.set(i, back.At, back.At+len(value))
				}
			}
			if !back.AtStart() {
				t.Fatalf("the walk from the end did not come to the beginning of %q", data)
			}
		}
		for name, i := range membersOf(standard) {
			if string(rawOf(&backwards, i)) != string(rawOf(&got, i)) {
				t.Fatalf("%s is %q from the end, %q from the front in %q", name, rawOf(&backwards, i), rawOf(&got, i), data)
			}
			want := judge[name]
			if string(rawOf(&got, i)) != string(want) {
				t.Fatalf("%s is %q, want %q in %q", name, rawOf(&got, i), want, data)
			}
			var s string
			if len(want) > 0 && want[0] == '"' && json.Unmarshal(want, &s) == nil {
				have := jsontext.Unquote(rawOf(&got, i), new(jsontext.Scratch))
				x, okX := clean(have, MaxIDBytes)
				y, okY := clean(s, MaxIDBytes)
				if okX && okY && x != y {
					t.Fatalf("%s reads as %q, want %q", name, x, y)
				}
			}
		}
	})
}

// rawOf returns the value of a member, or nil.
func rawOf(b *body, i int) []byte {
	if !b.has(i) {
		return nil
	}
	return b.raw(i)
}

// everything is an Extractor with everything switched on.
var everything = func() *Extractor {
	e, err := NewExtractor(&Options{
		Own:        []Place{{Path: "own.path.id"}, {Header: "X-Own"}},
		Order:      append(DefaultOrder(), KindPattern, KindUser),
		LanesApart: true, OwnersEverywhere: true,
	})
	if err != nil {
		panic(err)
	}
	return e
}()

// FuzzHeader shows that a value in any header of the census names a session if
// clean accepts it, and that the ID shows nothing of the value.
func FuzzHeader(f *testing.F) {
	for i, s := range append(seeds, "8a218e62-bb55-446a-bc6c-b288fc65f5b5", "null", "{{x}}", "a\nb", strings.Repeat("a", 257)) {
		f.Add(uint8(i), s)
	}
	f.Fuzz(func(t *testing.T, which uint8, value string) {
		slots := headerSlots(standard)
		s := slots[int(which)%len(slots)]
		id := Extract(http.Header{s.name: {"", value}}, nil)
		want, ok := s.read.id(value, MaxIDBytes)
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
		// The same value as a subagent's id beside a session: it gives a lane or
		// none, and the session stays.
		h := http.Header{"X-Claude-Code-Session-Id": {"s-1"}, "X-Claude-Code-Agent-Id": {value}, "X-Claude-Code-Parent-Agent-Id": {value}}
		inherits, apart := Extract(h, nil), everything.Extract(h, nil)
		if (inherits.Lane() != Key{}) != (apart.Primary() != inherits.Primary()) || apart.Lane() != inherits.Lane() {
			t.Fatalf("%q: lane %x, apart %x", value, inherits.Lane(), apart.Primary())
		}
	})
}

// FuzzGate compares clean, which looks at eight bytes at once, with isClean, which looks at one
// byte at a time.
func FuzzGate(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	for _, s := range []string{"1234567\x1f", "12345678", "12345678\x7f", "é234567\x01", "1234567{{x}}", "{1234567}", "${1234567", "default ", "00000000-0000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, id string) {
		if _, ok := clean(id, MaxIDBytes); ok != isClean(id) {
			t.Fatalf("%q passes the gate: %v", id, ok)
		}
	})
}

// isClean does what the documentation of the package says of ids.
func isClean(v string) bool {
	v = strings.Trim(v, " \t")
	if v == "" || len(v) > MaxIDBytes || !utf8.ValidString(v) || strings.Trim(v, "0-") == "" || placeholders[strings.ToLower(v)] || isBlankUUID(v) && len(v) == 36 {
		return false
	}
	for _, r := range v {
		if r < 0x20 || r == 0x7f || r == utf8.RuneError {
			return false
		}
	}
	return !isTemplate(v)
}

// membersOf returns the places of all members that are read.
func membersOf(e *Extractor) map[string]int {
	all := map[string]int{}
	for _, of := range e.members.byLen {
		for _, m := range of {
			all[m.name] = m.i
		}
	}
	return all
}

// headerSlots returns the slots of all session headers.
func headerSlots(e *Extractor) (slots []*slot) {
	for i := range e.stages {
		for j := range e.stages[i].slots {
			if !e.stages[i].inBody {
				slots = append(slots, &e.stages[i].slots[j])
			}
		}
	}
	return slots
}

// FuzzPrefixes reads bodies of any kind. Prefixes depend on nothing but the body, a longer
// conversation has those of a shorter one, and there are few.
func FuzzPrefixes(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s), "more words")
	}
	long := strings.Repeat("a text that is long enough, ", 300)
	f.Add([]byte(`{"messages":[{"role":"user","content":"`+long+`"},{"role":"system","content":"`+long+`"}]}`), long)
	f.Add([]byte(`{"contents":[{"parts":[{"text":"`+long+`","thoughtSignature":"`+long+`"}]}]}`), long)
	f.Fuzz(func(t *testing.T, data []byte, more string) {
		before := bytes.Clone(data)
		got := Prefixes(nil, data)
		if again := Prefixes(nil, data); !slices.Equal(got, again) || !bytes.Equal(before, data) {
			t.Fatalf("not a function of its input, or the input was changed: %q", data)
		}
		if most := 3 + 2*bits.Len(uint(len(data)/1024)); len(got) > most {
			t.Fatalf("%d prefixes of %d bytes", len(got), len(data))
		}
		message, err := json.Marshal(map[string]string{"role": "user", "content": more})
		if err != nil || !bytes.HasPrefix(data, []byte(`{"messages":[`)) || !bytes.HasSuffix(data, []byte(`}]}`)) || !json.Valid(data) {
			return
		}
		if bytes.Count(data, []byte(`"messages"`)) != 1 {
			return // here it is not tested which list counts
		}
		longer := append(append(bytes.TrimSuffix(data, []byte(`]}`)), ','), append(message, `]}`...)...)
		if !json.Valid(longer) {
			return // the list that ends there is another one
		}
		if l := Prefixes(nil, longer); len(l) < len(got) || !slices.Equal(l[:len(got)], got) {
			t.Fatalf("a longer conversation begins in another way: %q", data)
		}
	})
}
