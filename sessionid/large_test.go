package sessionid_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/sessionid"
)

// large returns a body that is too large to be walked whole at once, with more
// members at its front, in its middle and at its end.
func large(front, middle, end string) string {
	messages := `"messages":[{"role":"user","content":"` + strings.Repeat(`some \"words\" `, 1000) + `"}]`
	tools := `"tools":[{"name":"t","description":"` + strings.Repeat(`{\\\"session_id\\\": \"x\"}, `, 1000) + `"}]`
	return `{` + front + `"model":"m",` + messages + middle + `,` + tools + `,"stream":true` + end + `}`
}

func TestAnIDInALargeBodyIsFoundWhereverItStands(t *testing.T) {
	claude := `"metadata":{"user_id":"{\"device_id\":\"d\",\"session_id\":\"` + uuidA + `\"}"}`
	id := `"session_id":"` + uuidA + `"`
	for name, c := range map[string]struct{ member, small string }{
		"session_id": {id, `{` + id + `}`}, "claude": {claude, `{` + claude + `}`},
		"prompt_cache_key": {`"prompt_cache_key":"` + uuidA + `"`, `{"prompt_cache_key":"` + uuidA + `"}`},
	} {
		want := primary(t, nil, c.small)
		for place, body := range map[string]string{
			"front":        large(c.member+",", "", ""),
			"middle":       large("", ","+c.member, ""),
			"end":          large("", "", ","+c.member),
			"near the end": large("", "", ","+c.member+`,"context_management":{"edits":[{"a":"\\"}]},"n": -1.5e3 , "x":null`),
			"white space":  " " + large("", "", ", "+c.member+" \n") + " \n",
		} {
			require.Equal(t, want, primary(t, nil, body), "%s, %s", name, place)
		}
	}
	require.Equal(t, primary(t, nil, `{"session_id":"last"}`), primary(t, nil, large("", `,"session_id":"first"`, `,"session_id":"`+"last"+`"`)),
		"of duplicates the last counts")
	with := extract(t, headers("X-Session-Id", "proxy"), large("", "", ","+claude))
	require.Equal(t, sessionid.KindNativeBody, with.Signal().Kind, "Claude's own id wins over a generic header")
	require.Len(t, with.Names(), 2)
}

func TestALargeBodyThatIsNoObjectNamesNothing(t *testing.T) {
	whole := large("", "", "")
	require.Equal(t, sessionid.KindContent, kindOf(t, whole))
	for name, body := range map[string]string{
		"truncated": whole[:len(whole)-1], "two objects": whole + "{}", "an array": "[" + whole + "]", "garbage behind": whole + "x",
		"unbalanced": strings.Replace(whole, `"tools":[`, `"tools":[[`, 1),
	} {
		require.Equal(t, sessionid.KindNone, kindOf(t, body), name)
	}
}

func kindOf(t *testing.T, body string) sessionid.Kind {
	id := extract(t, nil, body)
	return id.Signal().Kind
}

func TestTheShapesOfInteractionsAndCompletionsDoNotCount(t *testing.T) {
	same(t, `{"input":"q"}`, `{"input":[{"type":"text","text":"q"}]}`, "a string and one block")
	same(t, `{"input":"q"}`, `{"input":[{"role":"user","content":[{"type":"text","text":"q"}]}]}`, "and a turn")
	same(t, `{"input":"q"}`, `{"input":[{"type":"user_input","content":[{"type":"text","text":"q"}]}]}`, "and a step")
	follows(t, `{"input":[{"role":"user","content":"q"}]}`,
		`{"input":[{"role":"user","content":"q"},{"role":"model","content":[{"type":"text","text":"a"}]},{"role":"user","content":"q2"}]}`, "turns")
	follows(t, `{"input":[{"type":"user_input","content":"q"},{"type":"function_call","id":"c1","name":"f","arguments":{}},{"type":"function_result","call_id":"c1","result":"r"}]}`,
		`{"input":[{"type":"user_input","content":"q"},{"type":"function_call","id":"c1","name":"f","arguments":{}},{"type":"function_result","call_id":"c1","result":"r"},{"type":"thought","signature":"s"},{"type":"model_output","content":[{"type":"text","text":"a"}]},{"type":"user_input","content":"q2"}]}`, "steps")
	different(t, `{"prompt":"one"}`, `{"prompt":"two"}`, "legacy completions")
	different(t, `{"prompt":"one"}`, `{"prompt":"one and more"}`, "a prompt that has grown")
	follows(t, `{"prompt":["one"]}`, `{"prompt":["one","two"]}`, "a list of prompts")
	same(t, `{"request":{"contents":[{"role":"user","parts":[{"text":"q"}]}]}}`, `{"contents":[{"role":"user","parts":[{"text":"q"}]}]}`, "Code Assist wraps Gemini")
	same(t, `{"input":"q","messages":[]}`, `{"input":"q"}`, "an empty stronger member hides nothing")
	same(t, `{"input":"x","messages":[{"role":"user","content":"q"}]}`, `{"messages":[{"role":"user","content":"q"}],"input":"x"}`, "the stronger member, in either order")
}
