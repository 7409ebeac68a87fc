package jsontext

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

var seeds = []string{
	``, `{}`, `[]`, `{"a":`, `{"session_id":"x"} {}`, "{\"id\"\t:\n\"x\"}", `{"sess\u0069on_id":"x","id":"\ud800\u0041"}`,
	`{"metadata":{"user_id":"{\"device_id\":\"d\",\"session_id\":\"8a218e62-bb55-446a-bc6c-b288fc65f5b5\"}"}}`,
	`{"messages":[{"role":"user","content":[{"type":"text","text":"a\\\"b\u00e9\/"},{"source":{"data":"AA"}}]},{"content":null,"a":[{"b":"{}"}]}]}`,
	`{"o":[1,-2.5e3,{"a":null,"b":true}],"x":"` + "\\\\\\\\" + `"}`, "\xff\xfe{", `{"a":"` + "\x01" + `"}`,
}

// FuzzVector compares the vector scanners with the plain ones, from each quote and each bracket
// of the text.
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
	for n := 100; n < 420; n += 13 { // texts of several blocks
		f.Add([]byte(`{"a":["`+strings.Repeat("x", n)+`\\\"`+strings.Repeat("]", n)+strings.Repeat(`\`, 2*(n%70))+`",["`+strings.Repeat(`\"`, n)+`"]]}`), uint8(n))
	}
	f.Fuzz(func(t *testing.T, data []byte, pad uint8) {
		data = append(bytes.Repeat([]byte(" "), int(pad%64)), data...)
		const most = 50 // starts, so that a text of quotes stays linear
		for i, starts := 0, 0; i < len(data) && starts < most; i++ {
			switch data[i] {
			case '"':
				end, plain := StringEnd(data, i)
				wantEnd, wantPlain := stringRest(data, i+1, 0)
				if i+65 <= len(data) { // what a machine without AVX-512 does
					pos, state := scanString(&data[i+1], len(data)-i-1)
					narrowEnd, narrowPlain := i+1+pos, state&stateRespelled == 0
					if state&stateFound == 0 {
						narrowEnd, narrowPlain = stringRest(data, i+1+pos, state)
					}
					if narrowEnd != wantEnd || narrowEnd >= 0 && narrowPlain != wantPlain {
						t.Fatalf("AVX2: the string at %d of %q ends at %d, %v, want %d, %v", i, data, narrowEnd, narrowPlain, wantEnd, wantPlain)
					}
				}
				if end != wantEnd || end >= 0 && plain != wantPlain {
					t.Fatalf("the string at %d of %q ends at %d, %v, want %d, %v", i, data, end, plain, wantEnd, wantPlain)
				}
			case '{', '[':
				end, plain := ValueEnd(data, i)
				wantEnd, wantPlain := nestedRest(data, i, 0, 0)
				for name, over := range map[string]int{
					"the chosen scanner": ValueOver(data, i), "AVX2": overWith(passNested, data, i), "AVX-512": overWide(data, i),
				} {
					if over != wantEnd {
						t.Fatalf("%s: the value at %d of %q is over at %d, want %d", name, i, data, over, wantEnd)
					}
				}
				if wide && i+64 <= len(data) { // what a machine without AVX-512 does is the same
					pos, state, depth := scanNested(&data[i], len(data)-i)
					widePos, wideState, wideDepth := scanNestedWide(&data[i], len(data)-i)
					if pos != widePos || state != wideState || state&stateFound == 0 && depth != wideDepth {
						t.Fatalf("the value at %d of %q: AVX2 stops at %d, %b, %d, AVX-512 at %d, %b, %d", i, data, pos, state, depth, widePos, wideState, wideDepth)
					}
				}
				// A text with other control characters outside strings is no JSON.
				// There plain may differ, because such a text has no session.
				if end != wantEnd || end >= 0 && plain != wantPlain && bytes.IndexFunc(data, func(r rune) bool { return r < ' ' }) < 0 {
					t.Fatalf("the value at %d of %q ends at %d, %v, want %d, %v", i, data, end, plain, wantEnd, wantPlain)
				}
			default:
				continue
			}
			starts++
		}
		var fast Backward
		ok := fast.Begin(data)
		fast.spare = 1 << 30 // with vectors it would give up later
		slow := fast
		for has := vector; ok; {
			n1, v1, ok1 := fast.Member()
			vector = false
			n2, v2, ok2 := slow.Member()
			vector = has
			if ok1 != ok2 || !bytes.Equal(n1, n2) || !bytes.Equal(v1, v2) || fast.i != slow.i {
				t.Fatalf("from the end of %q: %q:%q %v, want %q:%q %v", data, n1, v1, ok1, n2, v2, ok2)
			}
			ok = ok1
		}
	})
}

// FuzzValid compares Valid with encoding/json.
func FuzzValid(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s), uint16(0))
	}
	for _, s := range []string{
		"tru", "true", "false", "nul", "null", "01", "-", "-0", "0.", "0.5e", "1e+5", "1E-", "[1}", "{]", "[1,]", "{\"a\":1,}", "{\"a\"}", "{1:2}", "[", "\"a\nb\"",
		`"\x"`, `"\u12g4"`, `"\u00e9\n\/"`, `"\`, "\"a\x7f\xff\"", "[] []", " [ ] ", "[[[]]]", `[{"a":[{}]}]`, "[tru]", "[truee]", "12345678901234567890", "\"1234567\x1f\"", "\"1234567\x80\x1f\"", "\ufeff{}",
	} {
		f.Add([]byte(s), uint16(0))
		f.Add([]byte(s), uint16(62))
		f.Add([]byte(s), uint16(63))
		f.Add([]byte(s), uint16(64))
		f.Add([]byte(s), uint16(128))
		f.Add([]byte(s), uint16(9999))
		f.Add([]byte(s), uint16(10001))
	}
	f.Fuzz(func(t *testing.T, data []byte, deep uint16) {
		deep %= 10010
		// Objects and lists by turns, so that each bracket must be closed by its own.
		var open, end []byte
		for i := range deep {
			if i%3 == 1 {
				open, end = append(open, `{"a":`...), append(end, '}')
			} else {
				open, end = append(open, '['), append(end, ']')
			}
		}
		slices.Reverse(end)
		for _, text := range [][]byte{data, slices.Concat(open, data, end), slices.Concat(open, data, end[:len(end)/2])} {
			if got, want := Valid(text), json.Valid(text); got != want {
				t.Fatalf("Valid is %v of %q", got, text)
			}
			var members map[string]json.RawMessage
			if json.Unmarshal(text, &members) != nil {
				members = nil
			}
			for _, name := range []string{"a", "id", "session_id"} {
				if got, want := Find(text, name), members[name]; !bytes.Equal(got, want) {
					t.Fatalf("%s is %q, want %q in %q", name, got, want, text)
				}
			}
		}
	})
}

// overWith is ValueOver with one of the vector scanners.
func overWith(scan func(*byte, int) (int, uint64, int), b []byte, i int) (end int) {
	if i+64 > len(b) {
		return ValueOver(b, i)
	}
	pos, state, depth := scan(&b[i], len(b)-i)
	if state&stateFound != 0 {
		return i + pos
	}
	end, _ = nestedRest(b, i+pos, state, depth)
	return end
}

func overWide(b []byte, i int) int {
	if !wide {
		return ValueOver(b, i)
	}
	return overWith(passNestedWide, b, i)
}

// FuzzQuoted compares FindQuoted with Unquote and Find.
func FuzzQuoted(f *testing.F) {
	for _, s := range []string{`{\"a\":\"b\"}`, `{\"a\":\"b\",\"id\":\"12345678\",\"a\":\"c\"}`, `{\"a\":\"\"}`, `{\"a\":\"b\",\"c\":1}`, `{\"\":\"\",\"a\":\"é\"}`, `{\"a\":\"b\\\"\"}`, "{\\\"a\\\":\\\"b\x1f\\\"}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		raw := slices.Concat([]byte(`"`), data, []byte(`"`))
		for _, name := range []string{"a", "id"} {
			isFound(t, raw, name)
		}
	})
}
