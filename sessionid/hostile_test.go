package sessionid_test

import (
	"bytes"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/sessionid"
)

// A body of a hundred megabytes. The memory for its ID does not depend on its size.
func TestAHugeBodyIsNotCopied(t *testing.T) {
	var b bytes.Buffer
	b.WriteString(`{"model":"m","messages":[`)
	for b.Len() < 100<<20 {
		b.WriteString(`{"role":"user","content":"` + strings.Repeat(`some \"quoted\" text\n`, 5000) + `"},{"role":"assistant","content":[{"type":"text","text":"ok"}]},`)
	}
	b.WriteString(`{"role":"user","content":"and now?"}]}`)
	for name, h := range map[string][]string{"content": nil, "header": {"Session-Id", uuidA}, "generic header": {"X-Session-Id", uuidA}} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		id := sessionid.Extract(headers(h...), b.Bytes())
		runtime.ReadMemStats(&after)
		require.False(t, id.IsZero(), name)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<10), name)
	}
}

// This test says what each body is. BenchmarkHostile shows that none takes long,
// and FuzzBody that none panics.
func TestHostileBodiesHaveADefinedAnswer(t *testing.T) {
	const n = 1 << 20
	say := func(text string) string { return `{"messages":[{"role":"user","content":"` + text + `"}]}` }
	for name, c := range map[string]struct {
		body string
		want sessionid.Kind
	}{
		"deep nesting says something":  {`{"messages":[{"role":"user","content":` + strings.Repeat("[", n) + `"x"` + strings.Repeat("]", n) + `}]}`, sessionid.KindContent},
		"deep nesting that never ends": {`{"messages":` + strings.Repeat("[", n), sessionid.KindNone},
		"deep objects":                 {`{"messages":[{"content":` + strings.Repeat(`{"content":`, n/11) + `"x"` + strings.Repeat("}", n/11) + `}]}`, sessionid.KindContent},
		"a million tiny keys":          {`{` + strings.Repeat(`"a":1,`, n) + `"session_id":"s"}`, sessionid.KindNone},
		"keys that are all the same":   {`{` + strings.Repeat(`"session_id":"x",`, 100) + `"session_id":7}`, sessionid.KindNone},
		"more members than are read":   {`{` + strings.Repeat(`"session_id":"x",`, n/16) + `"session_id":"s"}`, sessionid.KindNone},
		"a megabyte of backslashes":    {say(strings.Repeat(`\\`, n/2)), sessionid.KindContent},
		"an odd number of them":        {say(strings.Repeat(`\`, n+1)), sessionid.KindNone},
		"a megabyte of quotes":         {say(strings.Repeat(`\"`, n/2)), sessionid.KindContent},
		"truncated":                    {say("x")[:40], sessionid.KindNone},
		"invalid UTF-8":                {say("\xff\xfe"), sessionid.KindContent},
		"invalid UTF-8 in an id":       {"{\"session_id\":\"a\xff\"}", sessionid.KindNone},
		"escaped key":                  {`{"\u0073ession_id":"s"}`, sessionid.KindBody},
		"escaped key, large":           {large("", "", `,"\u0073ession_id":"s"`), sessionid.KindBody},
		"a long key":                   {`{"` + strings.Repeat("a", n) + `":1,"session_id":"s"}`, sessionid.KindBody},
		"a long id":                    {`{"session_id":"` + strings.Repeat("a", n) + `"}`, sessionid.KindNone},
		"mismatched brackets":          {`{"messages":[}]}`, sessionid.KindNone},
		"brackets in a string":         {say(`]}\"{[`), sessionid.KindContent},
		"broken escapes in a text":     {say(`\u12`), sessionid.KindNone},
		"and in a large one":           {say(`\u12` + strings.Repeat("a", n)), sessionid.KindContent},
		"half a surrogate pair":        {say(`\ud800`), sessionid.KindContent},
		"an id of escapes":             {`{"session_id":"` + strings.Repeat(`\u0061`, 256) + `"}`, sessionid.KindBody},
	} {
		require.Equal(t, c.want, kindOf(t, c.body), name)
	}
}
