package jsontext

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestUnescapeJoinsSurrogatesAsEncodingJSONDoes(t *testing.T) {
	units := []string{`\ud7ff`, `\ud800`, `\ud83d`, `\udbff`, `\udc00`, `\ude00`, `\udfff`, `\ue000`, `\u0041`, `x`}
	for _, a := range units {
		for _, b := range units {
			raw := `"` + a + b + `"`
			var want string
			require.NoError(t, json.Unmarshal([]byte(raw), &want))
			require.Equal(t, want, Unquote([]byte(raw), new(Scratch)), raw)
		}
	}
	for _, bad := range []string{``, `\`, `\u`, `\u12`, `\u12g4`, `\n0041`, `x`} {
		_, n := Unescape([]byte(bad))
		require.Zero(t, n, bad)
	}
}

func TestUnquoteIsEmptyForWhatIsNoString(t *testing.T) {
	for _, raw := range []string{``, `"`, `""`, `null`, `12345`, `{"a":"b"}`, `["a"]`, `"a\x"`, `"a\u00g0"`, `"a\"`} {
		require.Empty(t, Unquote([]byte(raw), new(Scratch)), raw)
	}
	for n := range 600 { // on the stack and beyond
		text := strings.Repeat("a", n) + "\n\"\\/\b\f\r\té" + strings.Repeat("b", n%9)
		raw, err := json.Marshal(text)
		require.NoError(t, err)
		require.Equal(t, text, Unquote(raw, new(Scratch)))
	}
	require.Equal(t, "a/b", Unquote([]byte(`"a\/b"`), new(Scratch)))
}

func TestLookupTakesTheLastOfDuplicates(t *testing.T) {
	require.Equal(t, `"last"`, string(Lookup([]byte(`{"a":"first","b":{"a":"no"},"a":"last"}`), "a")))
	require.Equal(t, `{"x":[1]}`, string(Lookup([]byte(`{"\u0061":{"x":[1]}}`), "a")), "escaped name")
	for _, raw := range []string{``, `[]`, `"a"`, ` {"a":1}`, `{"b":1}`, `{"a":1,"a":}`} {
		require.Nil(t, Lookup([]byte(raw), "a"), raw)
	}
	require.Equal(t, "1", string(Lookup([]byte(`{"a":1,"b":}`), "a")), "what stands before a mistake")
	require.NotNil(t, Lookup([]byte(`{`+strings.Repeat(`"b":1,`, maxLookup-2)+`"a":1}`), "a"))
	require.Nil(t, Lookup([]byte(`{`+strings.Repeat(`"b":1,`, maxLookup-1)+`"a":1}`), "a"), "too many members")
}

// isFound compares FindQuoted with Unquote and Find: it must agree with them.
func isFound(t *testing.T, raw []byte, name string) (ok bool) {
	t.Helper()
	value, ok := FindQuoted(raw, name)
	if ok {
		slow := Find([]byte(Unquote(raw, new(Scratch))), name)
		require.Equal(t, string(slow), `"`+string(value)+`"`, "%q", raw)
	}
	return ok
}

func TestFindQuotedReadsWhatClaudeCodeSends(t *testing.T) {
	for raw, want := range map[string]bool{
		`"{\"device_id\":\"\",\"session_id\":\"8a218e62-bb55-446a-bc6c-b288fc65f5b5\"}"`: true,
		`"{\"session_id\":\"8a218e62\",\"a\":\"b\"}"`:                                    true,
		`"{\"session_id\":\"a\",\"session_id\":\"b\"}"`:                                  true,
		`"{\"session_id\":\"a\",\"session_id\":\"\"}"`:                                   false,
		`"{\"session_id\":\"a\",\"b\":1}"`:                                               false,
		`"{\"session_id\":\"a\", \"b\":\"c\"}"`:                                          false,
		`"{\"session_id\":\"a\\\"\"}"`:                                                   false,
		`"{\"session_id\":\"a\\u0041\"}"`:                                                false,
		`"{\"session_id\":\"a\"}}"`:                                                      false,
		`"{\"session_id\":\"a\",}"`:                                                      false,
		"\"{\\\"session_id\\\":\\\"a\n\\\"}\"":                                           false,
		`"{\"session_id\":\"a\"`:                                                         false, `"{\"session_id\":\"a"`: false, `"{\"session_id\"`: false, `"{\"`: false, `"{"`: false, `"{}"`: false, `""`: false, `"`: false, ``: false,
	} {
		require.Equal(t, want, isFound(t, []byte(raw), "session_id"), raw)
	}
}

// outline walks over a text with a Cursor and returns what it met.
func outline(c *Cursor, object bool, skip string) (out string) {
	for {
		var name []byte
		var v Value
		var ok bool
		if object {
			name, v, ok = c.Member()
		} else {
			v, ok = c.Element()
		}
		switch {
		case !ok:
			return out + "."
		case v.Form != Open:
			out += fmt.Sprintf("%s=%s ", name, v.Raw)
		case string(name) == skip:
			out += fmt.Sprintf("%s skipped %s ", name, c.Skip().Raw)
		default:
			out += fmt.Sprintf("%s%s", name, v.Raw) + outline(c, v.Raw[0] == '{', skip) + " "
		}
	}
}

func TestCursorMeetsEveryValueOnce(t *testing.T) {
	text := ` { "a" : 1 , "b":[ "x" , {"c":null} , [ ] ],"skip":{"d":[1,2]}, "e":{ }, "long name of a member":"f\"" } `
	c, ok := NewCursor([]byte(text))
	require.True(t, ok)
	require.Equal(t, `a=1 b[="x" {c=null . [. . skip skipped {"d":[1,2]} e{. long name of a member="f\"" .`, outline(&c, true, "skip"))
	require.False(t, c.Failed)
	require.True(t, c.AtEnd())
}

func TestCursorFailsWhereTheTextIsNoJSON(t *testing.T) {
	for _, text := range []string{
		`{`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{"a" 1}`, `{a:1}`, `{"a":1 "b":2}`, `{"a":[1 2]}`, `{"a":[1,]}`,
		`{"a":"x}`, `{"a":{"b":1]}`, `{,}`, `{"a":[,]}`,
		`{"a"1,"b":"a name and its colon in a longer text"}`, `{"a"::1,"b":"a name and its colon in a longer text"}`,
	} {
		c, ok := NewCursor([]byte(text))
		require.True(t, ok)
		outline(&c, true, "")
		require.True(t, c.Failed, text)
		_, _, ok = c.Member()
		require.False(t, ok, "nothing is found after that")
	}
	_, ok := NewCursor([]byte(` []`))
	require.False(t, ok)
}

func TestPlainIsTheShortestSpelling(t *testing.T) {
	for text, want := range map[string]bool{
		`"abc"`: true, `"a\n\"b\\"`: true, `"a\/b"`: false, `"a\u0041"`: false, `"\\u0041"`: true, `12`: true,
		`{"a":[1,2]}`: true, `{"a": 1}`: false, `["a b"]`: true, `["\/"]`: false, "[1,\n2]": false,
	} {
		for _, pad := range []int{0, 30, 100} { // short, plain, vector
			text := text
			if text[0] == '"' {
				text = `"` + strings.Repeat("p", pad) + text[1:]
			}
			end, plain := ValueEnd([]byte(text+strings.Repeat(" ", pad)), 0)
			require.Equal(t, len(text), end, text)
			require.Equal(t, want, plain, text)
		}
	}
}

// Strings of every length that end in every way are walked over in the same steps, with and
// without vectors: long ones are looked at in parts, and a backslash may stand before a part.
func TestBackwardWalksOverLongStrings(t *testing.T) {
	defer func(has bool) { vector = has }(vector)
	for _, part := range []string{"a", `\"`, `\\`, `x\\\"y`, strings.Repeat(`\\`, 130) + "b", "é"} {
		for n := 1; n < 3000; n += 1 + n/3 {
			value := `"` + strings.Repeat(part, n) + `"`
			text := `{"messages":[1],"before":` + value + `,"a":"` + strings.Repeat("z", n%97) + `","b":[` + value + `,"c"]}`
			for _, v := range []bool{vector, false} {
				was := vector
				vector = v
				var walk Backward
				require.True(t, walk.Begin([]byte(text)))
				walk.spare = 1 << 30
				for _, want := range []string{"b", "a", "before", "messages"} {
					name, got, ok := walk.Member()
					require.True(t, ok, "%s of %d times %q", want, n, part)
					require.Equal(t, want, string(name))
					if want == "before" {
						require.Equal(t, value, string(got))
					}
				}
				require.True(t, walk.AtStart())
				vector = was
			}
		}
	}
}

// A walk from the end gives up when it has taken as long as it may, whatever it walks over.
func TestBackwardGivesUp(t *testing.T) {
	defer func(has bool) { vector = has }(vector)
	for _, v := range []bool{vector, false} {
		vector = v
		for name, value := range map[string]string{
			"a string": `"` + strings.Repeat("a", 400<<10) + `"`, "quotes": `"` + strings.Repeat(`\"`, 200<<10) + `"`,
			"backslashes": `"` + strings.Repeat(`\\`, 200<<10) + `"`, "strings": `{"a":[` + strings.Repeat(`"a",`, 100<<10) + `1]}`,
			"a number": strings.Repeat("1", 400<<10), "brackets": strings.Repeat("[", 200<<10) + strings.Repeat("]", 200<<10) + " ",
			"space": "1" + strings.Repeat(" ", 400<<10), "space in a list": "{" + strings.Repeat(" ", 400<<10) + "}",
		} {
			text := `{"before":1,"long":` + value + `,"last":"` + strings.Repeat("b", 100) + `"}`
			var walk Backward
			require.True(t, walk.Begin([]byte(text)), name)
			may := walk.spare
			last, _, ok := walk.Member()
			require.True(t, ok, name)
			require.Equal(t, "last", string(last), name)
			_, _, ok = walk.Member()
			require.False(t, ok, name)
			require.False(t, walk.AtStart(), name)
			require.GreaterOrEqual(t, walk.spare, -may, name)
		}
	}
}

func TestBackwardMeetsTheMembersInReverse(t *testing.T) {
	for _, pad := range []int{0, 10, 64, 500, 2000} {
		text := `{"first":"` + strings.Repeat(`\\\"`, pad) + `","a":{"b":["}",1]},"n": -1.5e3 , "\u0065":"x\\" } `
		var walk Backward
		require.True(t, walk.Begin([]byte(text)))
		walk.spare = len(text) // without vectors it would give up in the longest one
		var got []string
		for {
			name, value, ok := walk.Member()
			if !ok {
				break
			}
			got = append(got, string(name)+"="+string(value))
		}
		require.Equal(t, []string{`e="x\\"`, `n=-1.5e3`, `a={"b":["}",1]}`, `first="` + strings.Repeat(`\\\"`, pad) + `"`}, got)
	}
	require.False(t, new(Backward).Begin([]byte(`{"a":1`)))
}
