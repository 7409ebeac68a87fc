package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// once records requests, and returns what Parse reads from the recording.
func once(t *testing.T, all ...Request) (out []Request) {
	t.Helper()
	var b bytes.Buffer
	rec, err := New(&b)
	require.NoError(t, err)
	for _, q := range all {
		require.NoError(t, rec.Record(q))
	}
	for line := range strings.Lines(b.String()) {
		q, err := Parse([]byte(line))
		require.NoError(t, err)
		out = append(out, q)
	}
	require.Len(t, out, len(all))
	return out
}

const (
	uuid  = "5a1b0c9e-4f6d-4b3a-9f7e-1c2d3e4f5a6b"
	other = "8a218e62-bb55-446a-bc6c-b288fc65f5b5"
)

// at returns a body with a value at a path.
func at(path, value string) []byte {
	text, _ := json.Marshal(value)
	names := strings.Split(path, ".")
	for i := len(names) - 1; i >= 0; i-- {
		text = fmt.Appendf(nil, `{%q:%s}`, names[i], text)
	}
	return text
}

// Each signal of package sessionid is also found in a recording. An id in several places is the
// same id in all of them.
func TestEachSignalIsKept(t *testing.T) {
	values := map[string]string{ // values for places that have a form of their own
		"X-Codex-Turn-Metadata": `{"session_id":"` + other + `","forked_from_thread_id":"` + uuid + `","request_kind":"compaction","cwd":"/home/me"}`,
		"metadata.user_id":      "user_0123456789abcdef_account_" + uuid + "_session_" + uuid,
		"conversation":          "conv_0123456789abcdef0123",
		"conversation.id":       "conv_0123456789abcdef0123",
		"user_prompt_id":        uuid + "########3",
	}
	for _, s := range sessionid.Signals() {
		if s.Kind == sessionid.KindContent {
			continue
		}
		t.Run(s.Name+" "+s.Kind.String(), func(t *testing.T) {
			value := uuid
			if v, ok := values[s.Name]; ok {
				value = v
			}
			q := Request{Header: http.Header{}, Body: []byte(`{}`)}
			switch s.Kind {
			case sessionid.KindLane, sessionid.KindParent, sessionid.KindOwnerHeader, sessionid.KindSide: // these signals need a session of the client
				q.Header = http.Header{"X-Session-Id": {other}}
				switch {
				case strings.Contains(s.Name, "Claude"):
					q.Header = http.Header{"X-Claude-Code-Session-Id": {other}}
					if s.Kind == sessionid.KindParent {
						q.Header.Set("X-Claude-Code-Agent-Id", "a0123456789abcdef")
					}
				case strings.Contains(s.Name, "Codex"), s.Name == "Thread-Id":
					q.Header = http.Header{"Session-Id": {other}}
					if s.Kind == sessionid.KindParent {
						q.Header.Set("Thread-Id", "a0123456789abcdef")
					}
				}
			}
			bare := sessionid.Extract(q.Header, q.Body)
			if inBody(s.Kind) || strings.Contains(s.Name, ".") {
				q.Body = at(s.Name, value)
			} else {
				q.Header.Set(s.Name, value)
			}
			if s.Kind == sessionid.KindGuarded {
				q.Header.Set("User-Agent", "KimiCLI/1.2")
				q.Body = at("prompt_cache_key", value)
				if s.Name == "metadata.user_id" {
					q.Body = at(s.Name, uuid)
				}
			}
			is := once(t, q)[0]
			was, got := sessionid.Extract(q.Header, q.Body), sessionid.Extract(is.Header, is.Body)
			require.Equal(t, outline(&was), outline(&got), "%s %s", is.Header, is.Body)
			if s.Kind != sessionid.KindUser { // this kind is not in the default order
				require.True(t, outline(&bare) != outline(&was), "the signal changes nothing in the request, so the test proves nothing")
			}
			if !was.IsZero() {
				require.NotEqual(t, was.Primary(), got.Primary(), "the recording must have another id than the request")
			}
		})
	}
	two := once(t,
		Request{Header: http.Header{"X-Claude-Code-Session-Id": {uuid}}},
		Request{Body: at("metadata.user_id", `{"session_id":"`+uuid+`"}`)},
		Request{Body: at("metadata.user_id", "user_01_account__session_"+uuid)},
	)
	keys := map[sessionid.Key]bool{}
	for _, q := range two {
		id := sessionid.Extract(q.Header, q.Body)
		require.False(t, id.IsZero())
		keys[id.Primary()] = true
	}
	require.Len(t, keys, 1, "the same id in different places must be the same session")
}

// A value that is not an id does not become one in a recording. A prompt_cache_key that many
// conversations share does not become one either.
func TestWhatIsNoIDStaysNone(t *testing.T) {
	for _, v := range []string{"null", "default", "", " ", "0", "00000000-0000-0000-0000-000000000000", "{{session_id}}", "${SESSION}", strings.Repeat("x", 300), "a\x00b"} {
		is := once(t, Request{Header: http.Header{"X-Session-Id": {v}}, Body: at("session_id", v)})[0]
		id := sessionid.Extract(is.Header, is.Body)
		require.True(t, id.IsZero(), "%q is not an id, but its recording has one: %q and %s", v, is.Header, is.Body)
	}
	for v, names := range map[string]bool{
		"support-bot": false, "user:" + uuid: false, "tenant:acme:v1": false, uuid: true, "ses_" + uuid: true,
		"agents-sdk:session:abc": true, "agents-sdk:run:abc": false, strings.Repeat("0a1b", 10): false, strings.Repeat("0a1b", 8): true,
	} {
		q := Request{Body: at("prompt_cache_key", v)}
		was := sessionid.Extract(nil, q.Body)
		is := once(t, q)[0]
		got := sessionid.Extract(nil, is.Body)
		require.Equal(t, names, !was.IsZero(), v)
		require.Equal(t, names, !got.IsZero(), "whether %s names a session must be the same in its recording: %s", v, is.Body)
	}
}

// Two texts with a common prefix also have one in a recording, up to the piece in which they
// differ. The texts in a recording are as long as the recorded ones.
func TestTextsThatBeginAlikeStillDo(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	alphabet := []rune("abc dé\n\"\\\t 漢🙂")
	random := func(n int) string {
		var b strings.Builder
		for range n {
			b.WriteRune(alphabet[rng.IntN(len(alphabet))])
		}
		return b.String()
	}
	for range 300 {
		begin := "x" + random(rng.IntN(5000))
		a, b := begin+"1"+random(rng.IntN(3000))+"x", begin+"2"+random(rng.IntN(3000))+"x"
		body := func(s string) []byte {
			text, err := marshal(map[string]any{"messages": []any{map[string]any{"role": "user", "content": s}}})
			require.NoError(t, err)
			return text
		}
		out := once(t, Request{Body: body(a)}, Request{Body: body(b)}, Request{Body: body(a)})
		text := func(i int) string { return gjson.GetBytes(out[i].Body, "messages.0.content").String() }
		require.Equal(t, text(0), text(2))
		require.NotEqual(t, text(0), text(1))
		require.InDelta(t, jsonLen(a), len(text(0)), leastPiece)
		alike := common(text(0), text(1))
		pieces := len(begin) / pieceBytes * pieceBytes
		require.GreaterOrEqual(t, alike, jsonLen(begin[:pieces]))
		require.LessOrEqual(t, alike, jsonLen(begin)+leastPiece)
	}
}

// A piece's digest also depends on everything before the piece. So a recording does not show what
// two texts have in common after the place where they differ.
func TestTextsThatEndAlikeDoNot(t *testing.T) {
	d := digester{}
	end := strings.Repeat("the same ", 500) + "end"
	a, b := d.text(strings.Repeat("a", pieceBytes)+end), d.text(strings.Repeat("b", pieceBytes)+end)
	require.Len(t, b, len(a))
	pieces := func(s string) []string { return strings.Split(s, "~")[1:] }
	require.Len(t, pieces(a), 6)
	for i, piece := range pieces(a) {
		require.NotEqual(t, piece, pieces(b)[i])
	}
	require.Equal(t, d.text(end), d.text(end))
}

// Blanks around a text stay as they are, and are not part of the digest, because clients cut them
// off.
func TestBlanksAroundATextStay(t *testing.T) {
	d := digester{}
	require.Equal(t, " \n"+d.text("said")+"\t", d.text(" \nsaid\t"))
	require.Equal(t, "  ", d.text("  "))
	require.Empty(t, d.text(""))
}

// A hostile body costs little, and the recording does not contain it.
func TestHostileBodies(t *testing.T) {
	deep := func(n int) string {
		return `{"messages":` + strings.Repeat("[", n) + `"secret"` + strings.Repeat("]", n) + `}`
	}
	for _, body := range []string{"", "secret", "[]", `"secret"`, "{", deep(1_000_000), "\x1f\x8bsecret"} {
		require.Empty(t, once(t, Request{Body: []byte(body)})[0].Body)
	}
	is := once(t, Request{Body: []byte(deep(9000))})[0]
	require.True(t, json.Valid(is.Body))
	require.NotContains(t, string(is.Body), "secret")
	is = once(t, Request{Body: []byte(`{"secret":{"secret":["secret",12345,true,null]},"messages":"secret","role":"secret"}`)})[0]
	require.NotContains(t, string(is.Body), "secret")
	require.NotContains(t, string(is.Body), "12345")
	require.Contains(t, string(is.Body), "true,null")
}

func TestHeadersAndPaths(t *testing.T) {
	is := once(t, Request{
		Path: "/v1/conversations/conv_0123456789abcdef/items?key=secret",
		Header: http.Header{
			"Authorization": {"Bearer secret"}, "Cookie": {"secret"}, "X-Api-Key": {"secret"}, "User-Agent": {"secret/1.0"},
			"X-Acme-Session-Id": {uuid}, "X-Session-Id": {uuid, "other-secret"},
		},
	})[0]
	require.Regexp(t, `^/v1/conversations/conv_[0-9a-f]{16}/items$`, is.Path)
	require.NotContains(t, is.Path, "0123456789abcdef")
	require.Len(t, is.Header, 2)
	require.Len(t, is.Header["X-Session-Id"], 2)
	require.Equal(t, is.Header["X-Session-Id"][0], is.Header["X-Acme-Session-Id"][0])
	require.NotContains(t, fmt.Sprint(is.Header), "secret")
	is = once(t, Request{Path: "/v1beta/models/gemini-9:streamGenerateContent"})[0]
	require.Regexp(t, `^/v1beta/models/[a-z]{6}-9:streamGenerateContent$`, is.Path)
	require.NotContains(t, is.Path, "gemini")
}

func TestTimesAndUsage(t *testing.T) {
	begun := time.Now()
	usage := affinity.Usage{Prompt: 1234, Cached: 1000, CacheWritten: 200, Output: 77}
	out := once(t,
		Request{At: begun, Took: 1500 * time.Millisecond, Usage: usage},
		Request{At: begun.Add(250 * time.Millisecond)},
		Request{At: begun.Add(-time.Second)}, // this request was sent first, and ended last
	)
	require.Equal(t, usage, out[0].Usage)
	require.Equal(t, 1500*time.Millisecond, out[0].Took)
	require.Equal(t, 250*time.Millisecond, out[1].At.Sub(out[0].At))
	require.Equal(t, -time.Second, out[2].At.Sub(out[0].At))
	require.True(t, out[1].Usage.IsZero())
}

// Several goroutines can record at the same time, and each line is complete.
func TestManyRecordAtOnce(t *testing.T) {
	var b bytes.Buffer
	rec, err := New(&b)
	require.NoError(t, err)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			_ = rec.Record(Request{At: time.Now(), Body: at("messages", strings.Repeat("said ", 100*i+1))})
		})
	}
	wg.Wait()
	n := 0
	for line := range strings.Lines(b.String()) {
		_, err := Parse([]byte(line))
		require.NoError(t, err)
		n++
	}
	require.Equal(t, 50, n)
}

type broken struct{ writes int }

func (b *broken) Write([]byte) (int, error) {
	b.writes++
	return 0, errors.New("disk full")
}

func TestAWriterThatFailsIsNotAskedAgain(t *testing.T) {
	var b broken
	rec, err := New(&b)
	require.NoError(t, err)
	for range 3 {
		require.ErrorContains(t, rec.Record(Request{}), "disk full")
	}
	require.Equal(t, 1, b.writes)
}

func TestParseReadsRequestsAsTheyAre(t *testing.T) {
	for _, line := range []string{
		`{"timestamp":5,"headers":{"x-session-id":"a"},"body":{"model":"m"}}`,
		`{"timestamp":5,"headers":{"x-session-id":["a"]},"body":{"model":"m"}}`,
		`{"timestamp":5,"headers":[["x-session-id","a"]],"body":"{\"model\":\"m\"}"}`,
	} {
		q, err := Parse([]byte(line))
		require.NoError(t, err)
		require.Equal(t, http.Header{"X-Session-Id": {"a"}}, q.Header)
		require.Equal(t, `{"model":"m"}`, string(q.Body))
		require.Equal(t, 5*time.Millisecond, q.At.Sub(time.Time{}))
	}
	for _, line := range []string{"", "x", `{}`, `{"headers":{"a":1}}`, `{"headers":[[1,2,3]]}`} {
		_, err := Parse([]byte(line))
		require.Error(t, err, line)
	}
}

// Expand cannot make a small text, which somebody has written by hand, into gigabytes.
func TestExpandIsBounded(t *testing.T) {
	for _, text := range []string{"~", "~bcdf", "~" + strings.Repeat("b", 16) + ".", "~" + strings.Repeat("b", 16) + ".999999999", "~" + strings.Repeat("a", 16) + ".10"} {
		require.LessOrEqual(t, len(Expand(nil, []byte(text))), len(text)+maxPiece)
	}
	require.Len(t, Expand([]byte("x"), []byte("~"+strings.Repeat("b", 16)+".10,")), 12)
}
