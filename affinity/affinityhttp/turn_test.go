package affinityhttp_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
	"github.com/llmaffinity/llmaffinity/selector"
)

// talk is a Transport for messages, and what was reported of them.
type talk struct {
	*affinityhttp.Transport[string]
	t       testing.TB
	reports []affinity.Event
	asked   []affinityhttp.Attempt
}

func newTalk(t testing.TB) *talk {
	k := &talk{t: t}
	var err error
	k.Transport, err = affinityhttp.New(selector.RoundRobin[string](), func(s string) string { return s },
		func(*http.Request, affinity.Request) []string { return names },
		func(out *http.Request, auth string) error {
			if auth == "unprepared" {
				return errors.New("no credential")
			}
			out.URL.Scheme, out.URL.Host = "ws", auth
			return nil
		},
		&affinityhttp.Options[string]{
			Affinity: affinity.Options[string]{OnEvent: func(_ context.Context, e affinity.Event) {
				if e.Reported {
					k.reports = append(k.reports, e)
				}
			}},
			OnAttempt: func(_ context.Context, a affinityhttp.Attempt) { k.asked = append(k.asked, a) },
		})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, k.Close()) })
	return k
}

func (k *talk) turn(message string) (*affinityhttp.Turn[string], string) {
	k.t.Helper()
	in := httptest.NewRequestWithContext(k.t.Context(), http.MethodGet, "/v1/responses", nil)
	in.Header.Set("Session_id", "one session of many")
	in.Header.Set("Authorization", "Bearer caller")
	turn := k.Turn(in, []byte(message))
	auth, err := turn.Next()
	require.NoError(k.t, err)
	require.Equal(k.t, auth, turn.Decision().Auth)
	return turn, auth
}

// last returns the latest report.
func (k *talk) last() affinity.Report {
	k.t.Helper()
	require.NotEmpty(k.t, k.reports)
	require.Len(k.t, k.asked, len(k.reports))
	r := k.reports[len(k.reports)-1]
	require.False(k.t, r.Again)
	require.Equal(k.t, r.Report.Result, k.asked[len(k.asked)-1].Result)
	return r.Report
}

const message = `{"type":"response.create","model":"m","input":"hello"}`

func TestATurnIsServedByItsEvents(t *testing.T) {
	k := newTalk(t)
	turn, home := k.turn(message)
	require.False(t, turn.Event([]byte(`{"type":"response.created","response":{"id":"resp_1","store":false}}`)))
	require.False(t, turn.Event([]byte(`{"type":"response.output_text.delta","delta":"yes"}`)))
	require.False(t, turn.Event([]byte(`nonsense`)))
	require.Empty(t, k.reports)
	require.True(t, turn.Event([]byte("{\"type\":\n\"response.completed\",\r\n\"response\":{\"id\":\"resp_1\",\"store\":false,\"usage\":{\"input_tokens\":9,\"input_tokens_details\":{\"cached_tokens\":4},\"output_tokens\":2}}}")))
	require.True(t, turn.Event([]byte(`{"type":"response.completed"}`)), "after the last event each event is ignored")
	r := k.last()
	require.Equal(t, []any{affinity.Served, affinity.Usage{Prompt: 9, Cached: 4, Output: 2}}, []any{r.Result, r.Usage})
	require.Positive(t, r.FirstToken)
	turn.Broken(io.ErrUnexpectedEOF)
	require.Len(t, k.reports, 1)

	// The auth has the response, stored or not.
	k.Drain(home, true)
	other := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/responses", nil)
	other.Header.Set("Session_id", "another session")
	other.Header.Set("Authorization", "Bearer caller")
	next := k.Turn(other, []byte(`{"type":"response.create","model":"m","previous_response_id":"resp_1","input":"more"}`))
	auth, err := next.Next()
	require.NoError(t, err)
	require.Equal(t, home, auth)
	require.Equal(t, affinity.OutcomeOwner, next.Decision().Outcome)
	require.True(t, next.Event([]byte(`{"type":"response.incomplete","response":{"id":"resp_2"}}`)))
}

// A failure that an event reports counts like the same answer over HTTP.
func TestEventsOfAFailureMeanWhatTheyMeanOverHTTP(t *testing.T) {
	for event, want := range map[string]struct {
		result affinity.Result
		away   time.Duration
	}{
		`{"type":"error","status":429,"headers":{"retry-after":"30"},"error":{"type":"rate_limit_exceeded"}}`:                         {affinity.Transient, 30 * time.Second},
		`{"type":"error","status":429,"error":{"type":"usage_limit_reached","resets_in_seconds":90}}`:                                 {affinity.Transient, 90 * time.Second},
		`{"type":"error","status_code":401,"error":{"code":"invalid_api_key"}}`:                                                       {affinity.Terminal, 0},
		`{"type":"error","status":400,"error":{"code":"previous_response_not_found","message":"Previous response … not found."}}`:     {affinity.Rejected, 0},
		`{"type":"error","status":429,"error":{"code":"websocket_connection_limit_reached"}}`:                                         {affinity.Rejected, 0},
		`{"type":"error","error":{"type":"invalid_request_error","code":"x"}}`:                                                        {affinity.Rejected, 0},
		`{"type":"error","code":"server_error","message":"sorry"}`:                                                                    {affinity.Transient, 0},
		`{"type":"response.failed","response":{"id":"resp_1","error":{"code":"rate_limit_exceeded","message":"wait"}}}`:               {affinity.Transient, 0},
		`{"type":"response.failed","response":{"id":"resp_1","error":{"code":"context_length_exceeded","message":"it is too long"}}}`: {affinity.Rejected, 0},
	} {
		k := newTalk(t)
		turn, _ := k.turn(message)
		require.True(t, turn.Event([]byte(event)), event)
		r := k.last()
		require.Equal(t, want.result, r.Result, event)
		require.Equal(t, want.away, r.Away, event)
	}
}

func TestATurnThatBreaksOff(t *testing.T) {
	for name, events := range map[string][]string{"before it is answered": nil, "in the middle": {`{"type":"response.created","response":{"id":"r"}}`}} {
		for _, err := range []error{nil, io.EOF, errors.New("the connection is gone")} {
			k := newTalk(t)
			turn, _ := k.turn(message)
			for _, e := range events {
				require.False(t, turn.Event([]byte(e)))
			}
			turn.Broken(err)
			require.Equal(t, affinity.Transient, k.last().Result, "%s %v", name, err)
		}
	}
	k := newTalk(t)
	ctx, cancel := context.WithCancel(t.Context())
	in := httptest.NewRequestWithContext(ctx, http.MethodGet, "/v1/responses", nil)
	turn := k.Turn(in, []byte(message))
	turn.Broken(nil) // nobody was picked
	require.Equal(t, affinity.Decision{}, turn.Decision())
	_, err := turn.Next()
	require.NoError(t, err)
	cancel()
	turn.Broken(io.EOF)
	require.Equal(t, affinity.Cancelled, k.last().Result, "the client has left")
}

// Nothing was sent, so another auth may be asked: as often as Options.Attempts says.
func TestATurnGoesElsewhereUntilItIsSent(t *testing.T) {
	k := newTalk(t)
	turn, first := k.turn(message)
	resp := &http.Response{StatusCode: 503, Header: http.Header{"Retry-After": {"60"}}, Body: io.NopCloser(strings.NewReader("busy"))}
	require.True(t, turn.Failed(resp, errors.New("refused")))
	require.Equal(t, []any{affinity.Transient, time.Minute}, []any{k.last().Result, k.last().Away})
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "busy", string(text), "its body can still be read")
	turn.Abandon()
	turn.Broken(io.EOF)
	turn.Owns("previous_response_id", "resp_1")
	require.True(t, turn.Event([]byte(`{}`)))
	require.Len(t, k.reports, 1, "what has failed is reported once")
	second, err := turn.Next()
	require.NoError(t, err)
	require.NotEqual(t, first, second)
	turn.Skip() // no failure
	require.Equal(t, affinity.Cancelled, k.last().Result)
	tried := map[string]bool{first: true, second: true}
	for again := true; again; {
		auth, err := turn.Next()
		require.NoError(t, err)
		require.False(t, tried[auth])
		tried[auth] = true
		again = turn.Failed(nil, errors.New("no such host")) && len(tried) < len(names)
	}
	require.Len(t, tried, len(names))
	_, err = turn.Next()
	require.ErrorAs(t, err, new(*affinity.NoAuthError))
}

func TestAnUpgradeIsPreparedForItsAuth(t *testing.T) {
	k := newTalk(t)
	in := httptest.NewRequest(http.MethodGet, "/v1/responses?key=secret", nil)
	for name, v := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-Websocket-Key": "k", "Sec-Websocket-Version": "13", "Sec-Websocket-Extensions": "e", "Sec-Websocket-Protocol": "p",
		"Origin": "o", "Authorization": "Bearer caller", "Openai-Beta": "b", "Session_id": "s",
	} {
		in.Header.Set(name, v)
	}
	require.True(t, affinityhttp.IsUpgrade(in))
	out, err := k.Upgrade(t.Context(), in, "A")
	require.NoError(t, err)
	require.Equal(t, http.Header{"Openai-Beta": {"b"}, "Session_id": {"s"}}, out.Header)
	require.Equal(t, "ws://A/v1/responses", out.URL.String())
	_, err = k.Upgrade(t.Context(), in, "unprepared")
	require.EqualError(t, err, "no credential")
	require.NotNil(t, k.Base())
}

// Whatever a client and a provider send, a turn has one report, and no event comes after the
// last one.
func FuzzTurn(f *testing.F) {
	for _, s := range [][2]string{
		{message, "{\"type\":\"response.created\",\"response\":{\"id\":\"a\"}}\n{\"type\":\"response.completed\",\"response\":{\"id\":\"a\"}}"},
		{`{"type":"response.create","previous_response_id":"resp_1","model":4}`, `{"type":"error","status":"x","headers":{"Retry-After":[1],"":2}}`},
		{"", "[]\n\"\"\n{\"type\":\"response.failed\"}"},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, message, events string) {
		k := newTalk(t)
		in := httptest.NewRequest(http.MethodGet, "/v1/responses", nil)
		turn := k.Turn(in, []byte(message))
		_, err := turn.Next()
		require.NoError(t, err)
		over := false
		for e := range strings.Lines(events) {
			last := turn.Event([]byte(e))
			require.False(t, over && !last)
			over = last
		}
		turn.Broken(io.EOF)
		require.Len(t, k.reports, 1)
		require.Len(t, k.asked, 1)
	})
}
