package affinity

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"
)

// Classifier is an operator's own view of how a request went, which goes before
// [ClassifyResponse]: resp is nil if there was no answer. ok is false for what it
// has nothing to say about. away is as for [Pick.ReportAway]. If it reads the
// body it has to put it back.
type Classifier func(resp *http.Response, err error) (r Result, away time.Duration, ok bool)

// Classify makes a Result of an upstream's HTTP status, or of the error of
// sending when there was no answer (status 0).
//
//	2xx, 3xx                                   Served
//	401, 402, 403, 404                         Terminal (404: the model or path is not there)
//	408, 425, 429, 5xx                         Transient
//	400, 405, 406, 410 to 417, 422, 431        Rejected
//	context.Canceled                           Cancelled
//	an error that names invalid_grant          Terminal (OAuth: the credential cannot be renewed)
//	any other error, or no status              Transient
//	any other status                           Unlisted
func Classify(status int, err error) Result {
	switch {
	case errors.Is(err, context.Canceled):
		return Cancelled
	case err != nil && strings.Contains(err.Error(), "invalid_grant"):
		return Terminal
	case err != nil:
		return Transient
	}
	switch status {
	case 401, 402, 403, 404:
		return Terminal
	case 0, 408, 425, 429:
		return Transient
	case 400, 405, 406, 410, 411, 412, 413, 414, 415, 416, 417, 422, 431:
		return Rejected
	}
	switch status / 100 {
	case 2, 3:
		return Served
	case 5:
		return Transient
	}
	return Unlisted
}

// ClassifyResponse is Classify for an answer with its header: a challenge of
// Cloudflare comes as a 403 and passes, and Retry-After says for how long the
// auth wants to be left alone (0 if it does not). resp is nil if there was none.
//
// Of an error in JSON the first 64 KiB are read, waiting for them if need be,
// and put back, because some providers say only there what has happened; see
// [ClassifyError]. The body of any other answer is not touched.
func ClassifyResponse(resp *http.Response, err error) (r Result, away time.Duration) {
	if err != nil || resp == nil {
		return Classify(0, err), 0
	}
	var body []byte
	if resp.StatusCode >= 400 && resp.Body != nil && strings.Contains(resp.Header.Get("Content-Type"), "json") {
		body = begin(resp)
	}
	return ClassifyError(resp.StatusCode, resp.Header, body)
}

// maxError is how much of an error is read.
const maxError = 64 << 10

// begin reads the beginning of a body, and puts it back.
func begin(resp *http.Response) []byte {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxError))
	rest := io.Reader(resp.Body)
	if err != nil {
		rest = failed{err}
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(body), rest), resp.Body}
	return body
}

// failed is a body that broke.
type failed struct{ error }

func (f failed) Read([]byte) (int, error) { return 0, f.error }

// ClassifyError is Classify for an answer whose body, or the beginning of it, was
// read already. Some errors are not what their status says:
//
//	OAuth: error "invalid_grant" (RFC 6749, 5.2: a 400)                    Terminal
//	OpenAI: code "insufficient_quota" (a 429), "invalid_api_key",
//	  "account_deactivated"                                                Terminal
//	Anthropic: a message that begins with "Your credit balance is too low"
//	  (a 400)                                                              Terminal
//	Google: reason "API_KEY_INVALID" (a 400)                               Terminal
//
// and two say only here for how long they want to be left alone: Google's
// RetryInfo with its retryDelay, and Codex's usage_limit_reached with its
// resets_in_seconds. Both are an hour at most.
func ClassifyError(status int, h http.Header, body []byte) (r Result, away time.Duration) {
	r = Classify(status, nil)
	if r == Served {
		return r, 0
	}
	if h.Get("Cf-Mitigated") != "" && r == Terminal {
		return Transient, RetryAfter(h)
	}
	away = RetryAfter(h)
	e := gjson.ParseBytes(body)
	if e.IsArray() { // Google's streams
		e = e.Get("0")
	}
	if e = e.Get("error"); !e.Exists() {
		return r, away
	}
	for _, v := range [...]string{e.String(), e.Get("code").String(), e.Get("type").String()} {
		switch v {
		case "invalid_grant", "insufficient_quota", "invalid_api_key", "account_deactivated":
			return Terminal, 0
		}
	}
	if strings.HasPrefix(e.Get("message").String(), "Your credit balance is too low") {
		return Terminal, 0
	}
	for _, d := range e.Get("details").Array() {
		if d.Get("reason").String() == "API_KEY_INVALID" {
			return Terminal, 0
		}
		if v, err := time.ParseDuration(d.Get("retryDelay").String()); err == nil && v > 0 && away == 0 {
			away = min(v, mostAway)
		}
	}
	if e.Get("type").String() == "usage_limit_reached" && away == 0 {
		if v := e.Get("resets_in_seconds").Float(); v > 0 {
			away = seconds(v)
		}
	}
	return r, away
}

// mostAway is the longest that an upstream is believed.
const mostAway = time.Hour

func seconds(s float64) time.Duration {
	return time.Duration(min(s, mostAway.Seconds()) * float64(time.Second))
}

// RetryAfter is what Retry-After says, in seconds or as a date, or
// Retry-After-Ms, as OpenAI sends it; 0 if there is none that makes sense, and
// an hour at most.
func RetryAfter(h http.Header) time.Duration {
	if ms, err := strconv.ParseFloat(h.Get("Retry-After-Ms"), 64); err == nil && ms > 0 {
		return seconds(ms / 1000)
	}
	v := h.Get("Retry-After")
	if s, err := strconv.ParseFloat(v, 64); err == nil && s > 0 {
		return seconds(s)
	}
	if at, err := http.ParseTime(v); err == nil {
		return min(max(time.Until(at), 0), mostAway)
	}
	return 0
}
