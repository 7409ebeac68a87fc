package sessionid

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestModelIsFoundWhereverItStands(t *testing.T) {
	const list = `"messages":[{"role":"user","content":"\"model\":\"x\""}]`
	for _, size := range []int{0, 10, 100 << 10} {
		text := `"system":"` + strings.Repeat(`a \"text\" `, size/10) + `"`
		for name, members := range map[string][]string{
			"first":           {`"model":"m-1"`, list, text},
			"behind lists":    {list, `"tools":[]`, text, `"model":"m-1"`},
			"between lists":   {list, `"model":"m-1"`, text, `"tools":[{"model":"x"}]`},
			"no list":         {text, `"model":"m-1"`},
			"behind objects":  {`"metadata":{"model":"x"}`, `"model":"m-1"`, list, `"model_kwargs":{"model":"x"}`},
			"with an escape":  {list, `"model":"m\u002d1"`, text},
			"an escaped name": {list, `"mod\u0065l":"m-1"`, text},
		} {
			body := "{" + strings.Join(members, " ,\n ") + "}"
			require.True(t, json.Valid([]byte(body)))
			require.Equal(t, "m-1", Model([]byte(body)), "%s, %d", name, size)
		}
		for name, members := range map[string][]string{
			"none": {list, text}, "a number": {`"model":1`, list, text}, "an object": {list, `"model":{"model":"x"}`, text}, "null": {list, text, `"model":null`},
		} {
			require.Empty(t, Model([]byte("{"+strings.Join(members, ",")+"}")), "%s, %d", name, size)
		}
	}
	for _, body := range []string{"", "null", `"model"`, `["model","m"]`, `{"model"`, `{"model":"m`, `{"messages":[`} {
		require.Empty(t, Model([]byte(body)), body)
	}
}

// A body does not stay in memory because of the model that it names.
func TestModelIsACopy(t *testing.T) {
	body := []byte(`{"model":"m-1"}`)
	model := Model(body)
	clear(body)
	require.Equal(t, "m-1", model)
}

// FuzzModel holds Model against encoding/json.
func FuzzModel(f *testing.F) {
	for _, s := range seeds {
		f.Add(s, "m", uint8(3))
	}
	f.Add(`"a":[1],"model":"x"`, "m\"\\", uint8(200))
	f.Fuzz(func(t *testing.T, body, model string, pad uint8) {
		Model([]byte(body)) // it does not panic
		value, err := json.Marshal(model)
		require.NoError(t, err)
		var want string
		require.NoError(t, json.Unmarshal(value, &want))
		short, long := strings.Repeat(`\"`, int(pad)), strings.Repeat("a", 64*int(pad))
		for _, text := range []string{
			fmt.Sprintf(`{"model":%s,"pad":"%s","a":[%s]}`, value, short, body),
			fmt.Sprintf(`{"a":[%s],"pad":"%s","model":%s,"more":"%s"}`, body, short, value, long),
			fmt.Sprintf(`{"a":{"b":%s},"model":%s,"b":[{"model":%s}],"pad":{"x":"%s"}}`, body, value, value, long),
		} {
			if got := Model([]byte(text)); json.Valid([]byte(text)) && got != want {
				t.Fatalf("the model of %q is %q, want %q", text, got, want)
			}
		}
	})
}
