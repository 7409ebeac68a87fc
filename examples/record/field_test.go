package record

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/examples/internal/field"
	"github.com/llmaffinity/llmaffinity/selector"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// capture has requests, their recording, and the requests that Parse reads from the recording.
type capture struct {
	all     []field.Request
	text    string
	records []Request
}

func newCapture(t *testing.T, all []field.Request) *capture {
	t.Helper()
	var b bytes.Buffer
	rec, err := New(&b)
	require.NoError(t, err)
	c := &capture{all: all}
	for i, r := range all {
		require.NoError(t, rec.Record(Request{At: time.Unix(int64(i), 0), Path: r.Path, Header: headersOf(r), Body: []byte(r.Body)}))
	}
	c.text = b.String()
	for line := range strings.Lines(c.text) {
		q, err := Parse([]byte(line))
		require.NoError(t, err)
		c.records = append(c.records, q)
	}
	require.Len(t, c.records, len(all))
	return c
}

func headersOf(r field.Request) http.Header {
	h := http.Header{}
	for _, p := range r.Headers {
		h.Add(p[0], p[1])
	}
	return h
}

// sources are sources of requests: made up, and captured in two captures. Each also comes without
// the ids that name sessions.
var sources = []string{"made up", "first", "second", "made up, messages alone", "first, messages alone", "second, messages alone"}

// captureOf records the requests of a source. It does so once, because the tests do not run in
// parallel. It skips the test if the requests are not there.
func captureOf(t *testing.T, source string) *capture {
	t.Helper()
	if recorded[source] == nil {
		var all []field.Request
		name, alone := strings.CutSuffix(source, ", messages alone")
		switch name {
		case "made up":
			all = field.GeneratedRequests()
		case "first":
			all = field.Captured(t)
		case "second":
			all = field.Captured2(t)
		}
		if alone {
			for i, r := range all {
				all[i] = r.WithoutIDs(t)
				all[i].Body = plainly(all[i].Body)
			}
		}
		recorded[source] = newCapture(t, all)
	}
	return recorded[source]
}

var recorded = map[string]*capture{}

// plainly removes the escapes for HTML that encoding/json writes. No client writes them, and
// package sessionid reads texts in the form in which they are written.
func plainly(body string) string {
	return regexp.MustCompile(`\\\\|\\u003[ce]|\\u0026`).ReplaceAllStringFunc(body, func(escape string) string {
		switch escape {
		case `\u003c`:
			return "<"
		case `\u003e`:
			return ">"
		case `\u0026`:
			return "&"
		}
		return escape
	})
}

// An affinity finds the same sessions in a recording as in the requests that were recorded.
func TestARecordingNamesTheSameSessions(t *testing.T) {
	for _, source := range sources {
		t.Run(source, func(t *testing.T) {
			c := captureOf(t, source)
			all, records := c.all, c.records
			order := make([]int, len(all))
			for i := range order {
				order[i] = i
			}
			for seed := range uint64(2) {
				if seed > 0 {
					order = field.Interleave(order, func(i int) string { return all[i].Session }, rand.New(rand.NewPCG(seed, 3)))
				}
				was, is := newSessions(t), newSessions(t)
				for _, i := range order {
					d := was.of(headersOf(all[i]), all[i].Path, []byte(all[i].Body))
					e := is.of(records[i].Header, records[i].Path, records[i].Body)
					require.Equal(t, d, e, "%s, turn %d", all[i].Session, all[i].Turn)
				}
			}
		})
	}
}

// sessions numbers the sessions that an affinity finds.
type sessions struct {
	t       *testing.T
	s       *affinity.Selector[int]
	numbers map[sessionid.Key]int
}

func newSessions(t *testing.T) *sessions {
	s, err := affinity.Wrap(selector.RoundRobin[int](), func(i int) string { return fmt.Sprint(i) }, nil)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return &sessions{t, s, map[sessionid.Key]int{}}
}

// of describes the decision about a request, with the number of its session.
func (n *sessions) of(h http.Header, path string, body []byte) string {
	p, err := n.s.Pick(n.t.Context(), affinity.Request{Header: h, Path: path, Body: body}, []int{0, 1, 2, 3, 4, 5, 6, 7})
	require.NoError(n.t, err)
	p.Report(affinity.Served)
	d := p.Decision
	number, ok := n.numbers[d.Session]
	if !ok {
		number = len(n.numbers)
		n.numbers[d.Session] = number
	}
	return fmt.Sprintf("session %d, %s, by %s %s, at %s, lost history %v (%s)",
		number, d.Outcome, d.Signal.Kind, d.Signal.Name, d.Auth, d.LostHistory, d.Past)
}

// Package sessionid finds the same in a recorded request as in the request itself: the kinds of its
// names, whether it is beside the conversation, and the shape of its messages.
func TestARecordedRequestSaysTheSameOfItself(t *testing.T) {
	for _, source := range sources {
		t.Run(source, func(t *testing.T) {
			c := captureOf(t, source)
			all, records := c.all, c.records
			for i, r := range all {
				was := sessionid.Extract(headersOf(r), []byte(r.Body))
				is := sessionid.Extract(records[i].Header, records[i].Body)
				require.Equal(t, outline(&was), outline(&is), "%s, turn %d", r.Session, r.Turn)
			}
		})
	}
}

func outline(id *sessionid.ID) string {
	var owners []string
	for _, o := range id.Owners() {
		owners = append(owners, o.Name)
	}
	return fmt.Sprint(id.Signal().Name, len(id.Names()), id.Leading(), len(id.Fallbacks()), len(id.Boundaries()), len(id.Marks()), id.Ongoing(), id.Past(), id.Side(),
		id.Lane() != sessionid.Key{}, id.Parent() != sessionid.Key{}, id.Parent() == id.Primary(), id.Tail() != sessionid.Key{}, id.Weak() != sessionid.Key{}, owners)
}

// The common prefix of two bodies is as long in their recordings, except for the last piece of a
// text.
func TestARecordingSharesTheSamePrefixes(t *testing.T) {
	for _, source := range sources[:3] {
		t.Run(source, func(t *testing.T) {
			all, records := captureOf(t, source).all, captureOf(t, source).records
			was, is := make([]string, len(all)), make([]string, len(all))
			for i := range all {
				was[i], is[i] = said(gjson.Parse(all[i].Body)), said(gjson.ParseBytes(records[i].Body))
				require.InDelta(t, len(was[i]), len(is[i]), 0.05*float64(len(was[i]))+100, "%s, turn %d", all[i].Session, all[i].Turn)
			}
			long := 0
			for i := range all {
				for j := range i {
					w, s := common(was[i], was[j]), common(is[i], is[j])
					if w > 4*pieceBytes {
						long++
					}
					require.GreaterOrEqual(t, float64(s), 0.97*float64(w)-2*pieceBytes, "%s and %s", all[i].Session, all[j].Session)
					require.LessOrEqual(t, float64(s), 1.03*float64(w)+100, "%s and %s", all[i].Session, all[j].Session)
				}
			}
			require.NotZero(t, long, "no two prompts have a long common prefix: the test proves nothing")
		})
	}
}

// said returns the strings of a body, as JSON writes them, one behind the other.
func said(v gjson.Result) string {
	var b strings.Builder
	var walk func(v gjson.Result)
	walk = func(v gjson.Result) {
		switch {
		case v.IsObject(), v.IsArray():
			v.ForEach(func(_, v gjson.Result) bool { walk(v); return true })
		case v.Type == gjson.String:
			text, _ := marshal(v.String())
			b.Write(text[1 : len(text)-2])
			b.WriteByte('\n')
		}
	}
	walk(v)
	return b.String()
}

// common returns the length of the common prefix of two texts, in bytes.
func common(a, b string) int {
	n, at := min(len(a), len(b)), 0
	for step := 4096; at+step <= n && a[at:at+step] == b[at:at+step]; at += step {
	}
	for at < n && a[at] == b[at] {
		at++
	}
	return at
}

// A recording has no word of the messages, and no id.
func TestNoWordIsInARecording(t *testing.T) {
	// Words of the API, and words that clients always write, may be in the recording.
	known := map[string]bool{}
	for _, words := range []map[string]bool{members, apiWords, idWords, pathWords, headers, set(strings.Join(openings, " ")), set(strings.Join(agents, " ")), set(dateReminder), set("timestamp headers")} {
		for w := range words {
			for _, part := range wordsOf(w) {
				known[strings.ToLower(part)] = true
			}
		}
	}
	for _, source := range sources[:3] {
		t.Run(source, func(t *testing.T) {
			all, text := captureOf(t, source).all, captureOf(t, source).text
			written := map[string]bool{}
			for _, w := range wordsOf(text) {
				written[strings.ToLower(w)] = true
			}
			words := 0
			check := func(from, s string) {
				for _, w := range wordsOf(s) {
					if w = strings.ToLower(w); known[w] || strings.Trim(w, "0") == "" {
						continue
					}
					words++
					require.False(t, written[w], "%s: the recording must not contain %q", from, w)
				}
			}
			for _, r := range all {
				check(r.Session, said(gjson.Parse(r.Body)))
				for _, h := range r.Headers {
					check(r.Session+" "+h[0], h[1])
				}
			}
			require.Greater(t, words, 10_000)
		})
	}
}

// wordsOf returns the words of a text with at least 6 letters, and its runs of at least 8 hex
// digits.
func wordsOf(s string) (out []string) {
	for _, w := range strings.FieldsFunc(s, func(r rune) bool { return !unicode.IsLetter(r) }) {
		if len(w) >= 6 {
			out = append(out, w)
		}
	}
	for _, w := range strings.FieldsFunc(s, func(r rune) bool { return r >= 0x80 || !isHex(byte(r)) }) {
		if len(w) >= 8 {
			out = append(out, w)
		}
	}
	return out
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// Two recordings of a request have the same form, but different ids and texts.
func TestTwoRecordingsCannotBeCompared(t *testing.T) {
	body, err := json.Marshal(map[string]any{"messages": []any{map[string]any{"role": "user", "content": "what is in the cellar?", "id": "msg_01ab23cd45ef"}}})
	require.NoError(t, err)
	var lines []string
	for range 2 {
		var b bytes.Buffer
		rec, err := New(&b)
		require.NoError(t, err)
		require.NoError(t, rec.Record(Request{Header: http.Header{"X-Session-Id": {"7d1f3a52-0c4b-4e6a-9003-0123456789ab"}}, Body: body}))
		lines = append(lines, b.String())
	}
	require.Len(t, lines[1], len(lines[0]))
	one, err := Parse([]byte(lines[0]))
	require.NoError(t, err)
	two, err := Parse([]byte(lines[1]))
	require.NoError(t, err)
	require.NotEqual(t, one.Header, two.Header)
	require.NotEqual(t, gjson.GetBytes(one.Body, "messages.0.content").String(), gjson.GetBytes(two.Body, "messages.0.content").String())
	require.NotEqual(t, gjson.GetBytes(one.Body, "messages.0.id").String(), gjson.GetBytes(two.Body, "messages.0.id").String())
}
