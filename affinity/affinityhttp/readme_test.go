package affinityhttp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
	"github.com/llmaffinity/llmaffinity/selector"
)

// Account is what the gateway of README chooses among.
type Account struct {
	ID, Key string

	mu    sync.Mutex
	until time.Time
	asked bool
}

func (a *Account) RestsUntil() (until time.Time, asked bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.until, a.asked
}

// Rest makes the account rest. asked says that the account itself has said for how long.
func (a *Account) Rest(d time.Duration, asked bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.until, a.asked = time.Now().Add(d), asked
}

// readmeProxy is README's reverse proxy.
func readmeProxy(balancer selector.Selector[*Account], accounts []*Account, upstream *url.URL) (http.Handler, error) {
	transport, err := affinityhttp.New(balancer,
		func(a *Account) string { return a.ID },
		func(*http.Request, affinity.Request) []*Account { return accounts },
		func(out *http.Request, a *Account) error {
			affinityhttp.SetURL(out, upstream)
			out.Header.Set("X-Api-Key", a.Key)
			return nil
		}, nil)
	if err != nil {
		return nil, err
	}
	return &httputil.ReverseProxy{
		Rewrite: func(*httputil.ProxyRequest) {}, Transport: transport, ErrorHandler: affinityhttp.WriteError, FlushInterval: -1,
	}, nil
}

// passOn is the guide's end of a loop of the host's own.
func passOn(ctx context.Context, client io.Writer, pick affinity.Pick[*Account], answer *http.Response) error {
	defer answer.Body.Close()
	pick.Begun() // in place of a report: the report comes when the answer has ended
	var read affinityhttp.AnswerWriter
	_, broken := io.Copy(client, io.TeeReader(answer.Body, &read))
	result, away := pick.Classify(answer, broken)
	err := pick.Answered(context.WithoutCancel(ctx), read.Answer())
	pick.Done(affinity.Report{Result: result, Away: away, Usage: read.Usage()})
	return errors.Join(broken, err)
}

// A loop that ends so tells the savings, and conversations that begin with the same words apart.
func TestREADMEsAnswers(t *testing.T) {
	var told []affinity.Event
	sticky, err := affinity.Wrap(selector.RoundRobin[*Account](), func(a *Account) string { return a.ID }, &affinity.Options[*Account]{
		OnEvent: func(e affinity.Event) { told = append(told, e) },
	})
	require.NoError(t, err)
	defer sticky.Close()
	accounts := []*Account{{ID: "a"}, {ID: "b"}}
	const chat, said = `{"messages":[{"role":"user","content":"hello"}`, `{"choices":[{"message":{"role":"assistant","content":"%s"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10}}`
	auths := map[string]string{}
	for _, word := range []string{"one", "two"} {
		pick, err := sticky.Pick(t.Context(), affinity.Request{Body: []byte(chat + `]}`)}, accounts)
		require.NoError(t, err)
		var client strings.Builder
		require.NoError(t, passOn(t.Context(), &client, pick, &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(fmt.Sprintf(said, word)))}))
		require.Equal(t, fmt.Sprintf(said, word), client.String())
		auths[word] = pick.Auth.ID
		last := told[len(told)-1]
		require.Equal(t, affinity.Report{Result: affinity.Served, Usage: affinity.Usage{Prompt: 10}}, last.Report)
		require.False(t, last.Again, "the first report counts for the savings")
	}
	require.NotEqual(t, auths["one"], auths["two"])
	for _, word := range []string{"one", "two"} {
		pick, err := sticky.Pick(t.Context(), affinity.Request{Body: []byte(chat + `,{"role":"assistant","content":"` + word + `"},{"role":"user","content":"go on"}]}`)}, accounts)
		require.NoError(t, err)
		require.Equal(t, affinity.OutcomeHit, pick.Decision.Outcome)
		require.Equal(t, auths[word], pick.Auth.ID)
	}
	pick, err := sticky.Pick(t.Context(), affinity.Request{Header: http.Header{"X-Session-Id": {"s"}}}, accounts)
	require.NoError(t, err)
	broken := io.NopCloser(io.MultiReader(strings.NewReader("data: {"), iotest.ErrReader(io.ErrUnexpectedEOF)))
	require.ErrorIs(t, passOn(t.Context(), io.Discard, pick, &http.Response{StatusCode: http.StatusOK, Body: broken}), io.ErrUnexpectedEOF)
	require.Equal(t, affinity.Transient, told[len(told)-1].Report.Result)
}

func TestREADMEsProxy(t *testing.T) {
	var keys []string
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		keys = append(keys, r.Header.Get("X-Api-Key"))
		if keys[len(keys)-1] == "one" {
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}))
	defer provider.Close()
	upstream, err := url.Parse(provider.URL)
	require.NoError(t, err)
	handler, err := readmeProxy(selector.FillFirst[*Account](), []*Account{{ID: "a", Key: "one"}, {ID: "b", Key: "two"}}, upstream)
	require.NoError(t, err)
	for _, session := range []string{"x", "x", "y"} {
		r := httptest.NewRequest(http.MethodPost, "/v1/messages", strings.NewReader(`{"model":"m","messages":[]}`))
		r.Header.Set("X-Session-Id", session)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		require.Equal(t, http.StatusOK, w.Code)
	}
	require.Equal(t, []string{"one", "two", "two", "two"}, keys, "the account that rests is asked once, for both sessions")
}
