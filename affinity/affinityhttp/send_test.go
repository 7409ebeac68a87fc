package affinityhttp_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
	"github.com/llmaffinity/llmaffinity/selector"
)

// loop is a gateway with a loop of its own.
type loop struct {
	*affinity.Selector[string]
	t    *testing.T
	told []affinity.Event // of reports
}

func newLoop(t *testing.T) *loop {
	l := &loop{t: t}
	sticky, err := affinity.Wrap(selector.RoundRobin[string](), itself, &affinity.Options[string]{
		OnEvent: func(_ context.Context, e affinity.Event) {
			if e.Reported {
				l.told = append(l.told, e)
			}
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() { sticky.Close() })
	l.Selector = sticky
	return l
}

// pick picks for a request with a body, or of a session if body is none.
func (l *loop) pick(body string) affinity.Pick[string] {
	r := affinity.Request{Body: []byte(body)}
	if body == "" {
		r.Header = http.Header{"X-Session-Id": {"s"}}
	}
	pick, err := l.Pick(l.t.Context(), r, names)
	require.NoError(l.t, err)
	return pick
}

// reported is the only report of the last pick.
func (l *loop) reported() affinity.Report {
	require.NotEmpty(l.t, l.told)
	last := l.told[len(l.told)-1]
	require.False(l.t, last.Again)
	require.Zero(l.t, l.Stats().Again)
	return last.Report
}

func giving(status int, body io.Reader) func(context.Context) (*http.Response, error) {
	return func(context.Context) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(body), ContentLength: -1}, nil
	}
}

const openai = `{"choices":[{"message":{"role":"assistant","content":"%s"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10}}`

// Answers are read as they pass: their cost, and what tells conversations apart that begin with
// the same words. A compressed one is read, too.
func TestSendReadsAnswers(t *testing.T) {
	l := newLoop(t)
	const chat = `{"messages":[{"role":"user","content":"hello"}`
	auths := map[string]string{}
	for i, word := range []string{"one", "two"} {
		pick := l.pick(chat + `]}`)
		text := strings.ReplaceAll(openai, "%s", word)
		shown := text
		if i == 1 {
			var zipped bytes.Buffer
			z := gzip.NewWriter(&zipped)
			_, err := io.WriteString(z, text)
			require.NoError(t, err)
			require.NoError(t, z.Close())
			shown = zipped.String()
		}
		answer, report, err := affinityhttp.Send(t.Context(), pick, func(context.Context) (*http.Response, error) {
			resp, err := giving(200, iotest.OneByteReader(strings.NewReader(shown)))(t.Context())
			if i == 1 {
				resp.Header.Set("Content-Encoding", "gzip")
			}
			return resp, err
		})
		require.NoError(t, err)
		require.Equal(t, affinity.Served, report.Result)
		require.Len(t, l.told, i, "the report comes when the answer has ended")
		got, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		require.Equal(t, shown, string(got))
		require.Equal(t, affinity.Usage{Prompt: 10}, l.reported().Usage)
		require.Equal(t, affinity.Served, l.reported().Result)
		require.NoError(t, answer.Body.Close())
		require.Len(t, l.told, i+1)
		auths[word] = pick.Auth
	}
	require.NotEqual(t, auths["one"], auths["two"])
	for _, word := range []string{"one", "two"} {
		pick := l.pick(chat + `,{"role":"assistant","content":"` + word + `"},{"role":"user","content":"go on"}]}`)
		require.Equal(t, affinity.OutcomeHit, pick.Decision.Outcome)
		require.Equal(t, auths[word], pick.Auth)
	}
}

// A stream that begins with an error is a failure before anything of it was passed on, and the
// caller still has all of it. One that says it later is a failure of its session.
func TestSendFindsErrorsInStreams(t *testing.T) {
	const overloaded = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n"
	const begins = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\n"
	l := newLoop(t)
	answer, report, err := affinityhttp.Send(t.Context(), l.pick(""), giving(200, strings.NewReader(overloaded)))
	require.NoError(t, err)
	require.Equal(t, affinity.Transient, report.Result)
	require.Equal(t, affinity.Transient, l.reported().Result, "it is reported at once")
	all, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Equal(t, overloaded, string(all))
	require.NoError(t, answer.Body.Close())
	require.Len(t, l.told, 1)

	for what, rest := range map[string]string{"an error": overloaded, "an end without one": ""} {
		l := newLoop(t)
		answer, report, err := affinityhttp.Send(t.Context(), l.pick(""), giving(200, io.MultiReader(strings.NewReader(begins), strings.NewReader(rest))))
		require.NoError(t, err)
		require.Equal(t, affinity.Served, report.Result, what)
		all, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		require.Equal(t, begins+rest, string(all))
		require.NoError(t, answer.Body.Close())
		require.Equal(t, affinity.Transient, l.reported().Result, what)
	}
}

// Who is at fault when an answer does not come to its end: the auth if reading fails, and nobody
// if the client leaves, however the gateway notices that.
func TestSendKnowsWhoLeft(t *testing.T) {
	broken := errors.New("broken")
	l := newLoop(t)
	answer, _, err := affinityhttp.Send(t.Context(), l.pick(""), giving(200, io.MultiReader(strings.NewReader("data: {}\n\n"), iotest.ErrReader(broken))))
	require.NoError(t, err)
	_, err = io.ReadAll(answer.Body)
	require.ErrorIs(t, err, broken)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, affinity.Transient, l.reported().Result)

	l = newLoop(t)
	_, report, err := affinityhttp.Send(t.Context(), l.pick(""), giving(200, iotest.ErrReader(broken)))
	require.ErrorIs(t, err, broken, "nothing has come")
	require.Equal(t, affinity.Transient, report.Result)
	require.Equal(t, affinity.Transient, l.reported().Result)

	l = newLoop(t)
	_, report, err = affinityhttp.Send(t.Context(), l.pick(""), func(ctx context.Context) (*http.Response, error) {
		resp, err := giving(200, strings.NewReader(""))(ctx)
		resp.Header.Set("Content-Type", "text/event-stream; charset=utf-8")
		return resp, err
	})
	require.ErrorIs(t, err, io.ErrUnexpectedEOF, "a stream without an event")
	require.Equal(t, affinity.Transient, report.Result)

	// The client's connection fails, and the handler closes the body.
	l = newLoop(t)
	answer, _, err = affinityhttp.Send(t.Context(), l.pick(""), giving(200, strings.NewReader(strings.Repeat("data: {}\n\n", 10_000))))
	require.NoError(t, err)
	_, err = io.Copy(gone{}, answer.Body)
	require.Error(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, affinity.Cancelled, l.reported().Result)

	// Its context ends, before an answer and in it.
	for _, began := range []bool{false, true} {
		l = newLoop(t)
		ctx, leave := context.WithCancel(t.Context())
		pick := l.pick("")
		answer, report, err := affinityhttp.Send(ctx, pick, func(context.Context) (*http.Response, error) {
			if began {
				return giving(200, io.MultiReader(strings.NewReader("data: {}\n\n"), iotest.ErrReader(broken)))(t.Context())
			}
			leave()
			return nil, broken
		})
		if leave(); began {
			require.NoError(t, err)
			_, err = io.ReadAll(answer.Body)
			require.Error(t, err)
			require.NoError(t, answer.Body.Close())
		} else {
			require.ErrorIs(t, err, context.Canceled)
			require.Equal(t, affinity.Cancelled, report.Result)
		}
		require.Equal(t, affinity.Cancelled, l.reported().Result, began)
	}
}

type gone struct{}

func (gone) Write([]byte) (int, error) { return 0, errors.New("the client has left") }

// An error passes whole, however long it is, and is reported once.
func TestSendPassesErrors(t *testing.T) {
	for status, want := range map[int]affinity.Result{400: affinity.Rejected, 401: affinity.Terminal, 429: affinity.Transient, 500: affinity.Transient, 304: affinity.Served} {
		l := newLoop(t)
		text := strings.Repeat("an error ", 20_000)
		answer, report, err := affinityhttp.Send(t.Context(), l.pick(""), giving(status, strings.NewReader(text)))
		require.NoError(t, err)
		require.Equal(t, want, report.Result, status)
		all, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		require.Equal(t, text, string(all))
		require.NoError(t, answer.Body.Close())
		require.Equal(t, want, l.reported().Result)
		require.Len(t, l.told, 1)
	}
}

// What a gateway's own function does wrong leaves no pick without a report.
func TestSendSurvivesTheGatewaysMistakes(t *testing.T) {
	l := newLoop(t)
	require.PanicsWithValue(t, "on purpose", func() {
		_, _, _ = affinityhttp.Send(t.Context(), l.pick(""), func(context.Context) (*http.Response, error) { panic("on purpose") })
	})
	require.Equal(t, affinity.Cancelled, l.reported().Result)
	l = newLoop(t)
	require.Panics(t, func() {
		_, _, _ = affinityhttp.Send(t.Context(), l.pick(""), giving(200, nil)) // to read it panics
	})
	require.Equal(t, affinity.Cancelled, l.reported().Result)

	l = newLoop(t)
	_, report, err := affinityhttp.Send(t.Context(), l.pick(""), func(context.Context) (*http.Response, error) { return nil, nil })
	require.Error(t, err)
	require.Equal(t, affinity.Transient, report.Result)

	answer, report, err := affinityhttp.Send(t.Context(), l.pick(""), func(context.Context) (*http.Response, error) { return &http.Response{StatusCode: 200}, nil })
	require.NoError(t, err)
	require.Equal(t, affinity.Served, report.Result)
	all, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Empty(t, all)

	both := errors.New("both")
	answer, _, err = affinityhttp.Send(t.Context(), l.pick(""), func(context.Context) (*http.Response, error) {
		resp, _ := giving(302, strings.NewReader("x"))(t.Context())
		return resp, both
	})
	require.ErrorIs(t, err, both)
	require.Nil(t, answer)
	require.Len(t, l.told, 3)
}

// A gateway that calls Send makes of a request what a Transport makes of it.
func TestDescribeAndOutgoing(t *testing.T) {
	for _, c := range []struct {
		path, body  string
		pool, model string
		side, off   bool
	}{
		{"/v1/messages", `{"model":"claude"}`, affinityhttp.Anthropic, "claude", false, false},
		{"/v1beta/models/gemini-3:generateContent", `{"contents":[]}`, affinityhttp.Gemini, "gemini-3", false, false},
		{"/v1/messages/count_tokens", `{"model":"claude"}`, affinityhttp.Anthropic, "claude", true, false},
		{"/v1/embeddings", `{"model":"small","input":"x"}`, affinityhttp.OpenAI, "small", false, true},
	} {
		in := httptest.NewRequest(http.MethodPost, c.path+"?key=mine&alt=sse", strings.NewReader(c.body))
		in.Header = http.Header{
			"Authorization": {"Bearer client"}, "X-Api-Key": {"client"}, "Accept-Encoding": {"br, gzip"}, "Connection": {"close, x-hop"}, "X-Hop": {"x"}, "X-Other": {"kept"},
		}
		r := affinityhttp.Describe(in, []byte(c.body))
		require.Equal(t, affinity.Request{Pool: c.pool, Model: c.model, Header: in.Header, Body: []byte(c.body), Path: c.path, Side: c.side, Off: c.off}, r)
		out := affinityhttp.Outgoing(t.Context(), in, []byte(c.body))
		require.Equal(t, http.Header{"Accept-Encoding": {"gzip"}, "X-Other": {"kept"}}, out.Header)
		require.Equal(t, c.path+"?alt=sse", out.URL.String())
		require.Empty(t, out.Host)
		for range 2 {
			body, err := io.ReadAll(out.Body)
			require.NoError(t, err)
			require.Equal(t, c.body, string(body))
			out.Body, err = out.GetBody()
			require.NoError(t, err)
		}
		require.EqualValues(t, len(c.body), out.ContentLength)
		require.Len(t, in.Header, 6)
	}
	require.Equal(t, http.NoBody, affinityhttp.Outgoing(t.Context(), httptest.NewRequest(http.MethodGet, "/v1/models", nil), nil).Body)
	require.False(t, affinityhttp.Refused(nil, nil))
	require.False(t, affinityhttp.Refused(nil, io.EOF))
	require.False(t, affinityhttp.Refused(nil, &net.OpError{Op: "read", Err: io.EOF}))
	require.True(t, affinityhttp.Refused(nil, fmt.Errorf("the proxy: %w", &net.OpError{Op: "dial", Err: io.EOF})))
	require.False(t, affinityhttp.Refused(&http.Response{StatusCode: 500}, nil))
	require.True(t, affinityhttp.Refused(&http.Response{StatusCode: 429}, nil))
}

// State that an answer creates leads later requests to its auth.
func TestSendRecordsOwners(t *testing.T) {
	l := newLoop(t)
	var auths []string
	for _, id := range []string{"resp_1", "resp_2"} {
		pick := l.pick(`{"model":"m","input":"x"}`)
		answer, _, err := affinityhttp.Send(t.Context(), pick, giving(200, strings.NewReader(`{"object":"response","id":"`+id+`","output":[]}`)))
		require.NoError(t, err)
		_, err = io.ReadAll(answer.Body)
		require.NoError(t, err)
		auths = append(auths, pick.Auth)
	}
	for i, id := range []string{"resp_1", "resp_2"} {
		pick := l.pick(`{"model":"m","input":"y","previous_response_id":"` + id + `"}`)
		require.Equal(t, auths[i], pick.Auth)
		require.Equal(t, affinity.OutcomeOwner, pick.Decision.Outcome)
	}
}

// A long picture in an answer hides neither which state the answer creates nor what it has cost,
// in one JSON value and in the last event of a stream, however the bytes come. Two answers that
// differ in it are two.
func TestLongPicturesAreLeftOut(t *testing.T) {
	picture := func(c string) string { return strings.Repeat(c, 6<<20) }
	for what, text := range map[string]string{
		"plain":   picture("A"),
		"escaped": picture(`\\\"`)[:6<<20] + `\\\\`,
		"several": picture("A")[:3<<20] + `","more":"` + picture("B")[:3<<20] + `","last":"` + picture("C"),
	} {
		value := `{"object":"response","id":"resp_1","output":[{"type":"image_generation_call","result":"` + text + `"}],"usage":{"input_tokens":12,"output_tokens":3,"total_tokens":15}}`
		for form, answer := range map[string]string{
			"value":  value,
			"stream": "data: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\"}}\n\nevent: response.completed\ndata: {\"type\":\"response.completed\",\"response\":" + value + "}\n\n",
		} {
			for _, piece := range []int{4000, 1 << 20, len(answer)} {
				l := newLoop(t)
				pick := l.pick(`{"model":"m","input":"x"}`)
				got, _, err := affinityhttp.Send(t.Context(), pick, giving(200, strings.NewReader(answer)))
				require.NoError(t, err)
				all := make([]byte, 0, len(answer))
				for buf := make([]byte, piece); err == nil; {
					var n int
					n, err = got.Body.Read(buf)
					all = append(all, buf[:n]...)
				}
				require.ErrorIs(t, err, io.EOF)
				require.True(t, string(all) == answer, "%s, %s", what, form)
				require.NoError(t, got.Body.Close())
				require.Equal(t, affinity.Served, l.reported().Result, "%s, %s", what, form)
				require.Equal(t, affinity.Usage{Prompt: 12, Output: 3}, l.reported().Usage, "%s, %s, %d", what, form, piece)
				next := l.pick(`{"model":"m","input":"y","previous_response_id":"resp_1"}`)
				require.Equal(t, pick.Auth, next.Auth)
				require.Equal(t, affinity.OutcomeOwner, next.Decision.Outcome)
			}
		}
	}
}

// A gateway that gives up on an auth while the client is there has found the auth failing, and an
// error whose rest does not come is an error all the same.
func TestSendGivesUp(t *testing.T) {
	l := newLoop(t)
	_, report, err := affinityhttp.Send(t.Context(), l.pick(""), func(ctx context.Context) (*http.Response, error) {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		return nil, ctx.Err()
	})
	require.Error(t, err)
	require.Equal(t, affinity.Transient, report.Result)
	require.Equal(t, affinity.Transient, l.reported().Result)

	l = newLoop(t)
	answer, _, err := affinityhttp.Send(t.Context(), l.pick(""), giving(200, io.MultiReader(strings.NewReader("data: {}\n\n"), iotest.ErrReader(context.Canceled))))
	require.NoError(t, err)
	_, err = io.ReadAll(answer.Body)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, affinity.Transient, l.reported().Result)

	synctest.Test(t, func(t *testing.T) {
		l := newLoop(t)
		begun := time.Now()
		answer, report, err := affinityhttp.Send(t.Context(), l.pick(""), func(ctx context.Context) (*http.Response, error) {
			return giving(500, io.MultiReader(strings.NewReader("what"), waiting{ctx}))(ctx)
		})
		require.NoError(t, err)
		require.Equal(t, affinity.Transient, report.Result)
		require.Less(t, time.Since(begun), time.Minute)
		all, err := io.ReadAll(answer.Body)
		require.Error(t, err)
		require.Equal(t, "what", string(all))
		require.NoError(t, answer.Body.Close())
	})
}

// waiting is a body that comes to nothing until the request ends.
type waiting struct{ ctx context.Context }

func (w waiting) Read([]byte) (int, error) {
	<-w.ctx.Done()
	return 0, w.ctx.Err()
}

// An error with status 200 that is one JSON value is a failure, before anything of it was passed
// on if it comes at once. What happens behind the end of a stream is no failure.
func TestSendKnowsTheEnds(t *testing.T) {
	const failed = `{"type":"error","error":{"type":"overloaded_error"}}`
	for _, atOnce := range []bool{true, false} {
		l := newLoop(t)
		var body io.Reader = strings.NewReader(failed)
		if !atOnce {
			body = iotest.OneByteReader(body)
		}
		answer, report, err := affinityhttp.Send(t.Context(), l.pick(""), func(context.Context) (*http.Response, error) {
			resp, err := giving(200, body)(t.Context())
			resp.ContentLength = int64(len(failed))
			return resp, err
		})
		require.NoError(t, err)
		require.Equal(t, map[bool]affinity.Result{true: affinity.Transient, false: affinity.Served}[atOnce], report.Result)
		all, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		require.Equal(t, failed, string(all))
		require.NoError(t, answer.Body.Close())
		require.Equal(t, affinity.Transient, l.reported().Result)
	}
	l := newLoop(t)
	answer, _, err := affinityhttp.Send(t.Context(), l.pick(""), giving(200, io.MultiReader(strings.NewReader("data: [DONE]\n\n"), iotest.ErrReader(io.ErrUnexpectedEOF))))
	require.NoError(t, err)
	_, err = io.ReadAll(answer.Body)
	require.Error(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, affinity.Served, l.reported().Result)
}
