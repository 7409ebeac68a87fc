package affinity_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
)

func answer(status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}},
		Body: io.NopCloser(strings.NewReader(body)),
	}
}

// The bodies are those of the providers, as their users have shown them in
// issues; the names of accounts are left out.
func TestWhatOnlyTheBodySays(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		want   affinity.Result
		away   time.Duration
	}{
		{400, `{"error":"invalid_grant","error_description":"Token has been expired or revoked."}`, affinity.Terminal, 0},
		{429, `{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}`, affinity.Terminal, 0},
		{404, `{"error":{"message":"The model does not exist","type":"invalid_request_error","code":"model_not_found"}}`, affinity.Terminal, 0},
		{400, `{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing."}}`, affinity.Terminal, 0},
		{400, `{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}`, affinity.Terminal, 0},
		{429, `[{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.5s"}]}}]`, affinity.Transient, 34500 * time.Millisecond},
		{429, `{"error":{"type":"usage_limit_reached","message":"The usage limit has been reached","plan_type":"plus","resets_in_seconds":1200}}`, affinity.Transient, 20 * time.Minute},
		{429, `{"error":{"type":"usage_limit_reached","resets_in_seconds":602705}}`, affinity.Transient, time.Hour},
		// The thread was idle for too long. The client sends all of it again, and the
		// session's prompt cache is where it was.
		{404, `{"type":"error","error":{"type":"not_found_error","message":"thread not found","details":{"error_code":"thread_not_found"}},"request_id":"req_1"}`, affinity.Rejected, 0},
		{404, `{"type":"error","error":{"type":"not_found_error","message":"thread_not_found"}}`, affinity.Terminal, 0},
		{404, `{"error":{"message":"Previous response with id 'resp_1' not found.","type":"invalid_request_error","param":"previous_response_id","code":"previous_response_not_found"}}`, affinity.Rejected, 0},
		{404, `{"error":{"message":"Conversation with id 'conv_1' not found.","type":"invalid_request_error","param":null,"code":null}}`, affinity.Rejected, 0},
		{404, `{"error":{"message":"Container with id 'cntr_1' not found.","type":"invalid_request_error"}}`, affinity.Rejected, 0},
		{404, `{"error":{"message":"Model with id 'm' not found.","type":"invalid_request_error"}}`, affinity.Terminal, 0},
		{403, `{"error":{"code":403,"message":"CachedContent not found (or permission denied)","status":"PERMISSION_DENIED"}}`, affinity.Rejected, 0},
		{403, `{"error":{"code":403,"message":"The caller does not have permission","status":"PERMISSION_DENIED"}}`, affinity.Terminal, 0},
		// A client's text in an error is not the provider's word.
		{400, `{"error":{"type":"invalid_request_error","message":"unknown field: invalid_grant, Your credit balance is too low"}}`, affinity.Rejected, 0},
		{400, `{"invalid_grant":{"error":1}}`, affinity.Rejected, 0},
		{429, `{"error":{"details":[{"retryDelay":"-3s"},{"retryDelay":7}]}}`, affinity.Transient, 0},
		{503, `{"error":`, affinity.Transient, 0},
		{400, ``, affinity.Rejected, 0},
	} {
		resp := answer(c.status, c.body)
		got, away := affinity.Classify(resp, nil)
		require.Equal(t, c.want, got, c.body)
		require.Equal(t, c.away, away, c.body)
		again, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, c.body, string(again), "the body can be read again")
	}
	got, _ := affinity.Classify(nil, fmt.Errorf("renewing: %w", errors.New(`oauth2: "invalid_grant" "reauth needed"`)))
	require.Equal(t, affinity.Terminal, got)
}

func TestOnlyErrorsInJSONAreRead(t *testing.T) {
	never := func(status int, kind string) *http.Response {
		return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(iotest.ErrReader(errors.New("read")))}
	}
	for _, resp := range []*http.Response{never(200, "application/json"), never(200, "text/event-stream"), never(502, "text/html"), {StatusCode: 500, Header: http.Header{"Content-Type": {"application/json"}}}} {
		body := resp.Body
		affinity.Classify(resp, nil)
		require.Equal(t, body, resp.Body)
	}
	// A body that fails also fails for the next reader, after the bytes before the failure.
	resp := answer(400, "")
	resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"error":`), iotest.ErrReader(io.ErrUnexpectedEOF)))
	r, _ := affinity.Classify(resp, nil)
	require.Equal(t, affinity.Rejected, r)
	got, err := io.ReadAll(resp.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Equal(t, `{"error":`, string(got))
	// A body that is longer than the part that is examined arrives complete.
	long := `{"error":"` + strings.Repeat("x", 1<<20) + `"}`
	resp = answer(429, long)
	r, _ = affinity.Classify(resp, nil)
	require.Equal(t, affinity.Transient, r)
	got, err = io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, long, string(got))
}

func TestTheOperatorsOwnClassificationGoesFirst(t *testing.T) {
	h := newHost(t, affinity.Options[string]{Classify: func(resp *http.Response, err error) (affinity.Result, time.Duration) {
		if resp != nil && resp.StatusCode == 418 {
			return affinity.Terminal, 0
		}
		return affinity.Classify(resp, err)
	}})
	r := h.bound("x")
	plain, _ := affinity.Classify(answer(418, ""), nil)
	require.Equal(t, affinity.Unlisted, plain)
	p := h.pick(r)
	require.Equal(t, affinity.Served, p.ReportResponse(answer(200, ""), nil), "the host's function leaves this answer to Classify")
	p = h.pick(r)
	require.Equal(t, affinity.Terminal, p.ReportResponse(answer(418, ""), nil))
	require.Empty(t, look(t, h.Selector, r))
	require.Equal(t, affinity.Transient, affinity.Pick[string]{}.ReportResponse(nil, io.EOF), "the zero Pick")
}

func FuzzClassify(f *testing.F) {
	f.Add(429, "3", []byte(`{"error":{"type":"usage_limit_reached","resets_in_seconds":1200}}`))
	f.Add(400, "", []byte(`[{"error":{"details":[{"reason":"API_KEY_INVALID","retryDelay":"1s"}]}}]`))
	f.Add(403, "Wed, 21 Oct 2015 07:28:00 GMT", []byte(`{"error":{"error":{"error":`))
	f.Fuzz(func(t *testing.T, status int, after string, body []byte) {
		resp := answer(status, string(body))
		resp.Header.Set("Retry-After", after)
		r, away := affinity.Classify(resp, nil)
		if away < 0 || away > time.Hour {
			t.Fatalf("away for %v", away)
		}
		// A body can make an error worse, tell how long it lasts, or say that a 403 or 404 is
		// about state that the request names. It cannot turn an error into a success.
		plain, _ := affinity.Classify(&http.Response{StatusCode: status}, nil)
		if gone := r == affinity.Rejected && plain == affinity.Terminal; r != plain && !gone && (r != affinity.Terminal || plain == affinity.Served) {
			t.Fatalf("%v, which is %v without the body", r, plain)
		}
	})
}
