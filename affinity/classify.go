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

// Classify returns the Result of an upstream's answer, or of the error of sending if there was
// no answer; resp is then nil. away is for how long the auth asks to be avoided, 0 if it does
// not say. [Pick.ReportAway] takes both.
//
//	2xx, 3xx                                   Served
//	401, 402, 403, 404                         Terminal (404: the model or path is not there)
//	408, 425, 429, 5xx                         Transient
//	400, 405, 406, 410 to 417, 422, 431        Rejected
//	context.Canceled                           Cancelled
//	an error that names invalid_grant          Terminal (OAuth: the credential cannot be renewed)
//	any other error, or status 0               Transient
//	any other status                           Unlisted
//
// A 403 with Cf-Mitigated is Cloudflare's challenge and Transient. For some errors the body
// decides, not the status:
//
//	OAuth: error "invalid_grant" (RFC 6749, 5.2: a 400)                    Terminal
//	OpenAI: code "insufficient_quota" (a 429), "invalid_api_key",
//	  "account_deactivated"                                                Terminal
//	the state that the request names is gone; the client then sends everything again:
//	  Anthropic's error_code "thread_not_found" (a 404, message threads),
//	  OpenAI's code "previous_response_not_found", its "… with id '…' not found."
//	  of a response, conversation or container (a 404), Google's "CachedContent
//	  not found …" (a 403)                                                 Rejected
//	Anthropic: a message that begins with "Your credit balance is too low"
//	  (a 400)                                                              Terminal
//	Google: reason "API_KEY_INVALID" (a 400)                               Terminal
//
// away is the value of Retry-After, in seconds or as a date, or of Retry-After-Ms (OpenAI). If
// the header has neither, it is the retryDelay of Google's RetryInfo, or resets_in_seconds of
// Codex's usage_limit_reached. It is at most an hour.
//
// If an error's Content-Type is JSON, Classify reads the first 64 KiB of its body, which may
// block, and puts them back. It does not touch any other body. A host without an http.Response
// can make one: StatusCode is enough.
func Classify(resp *http.Response, err error) (r Result, away time.Duration) {
	if err != nil || resp == nil {
		return byError(err), 0
	}
	r = byStatus(resp.StatusCode)
	if r == Served {
		return r, 0
	}
	away = retryAfter(resp.Header)
	if r == Terminal && resp.Header.Get("Cf-Mitigated") != "" {
		return Transient, away
	}
	if resp.StatusCode < 400 || resp.Body == nil || !strings.Contains(resp.Header.Get("Content-Type"), "json") {
		return r, away
	}
	return byBody(r, away, begin(resp))
}

func byError(err error) Result {
	switch {
	case errors.Is(err, context.Canceled):
		return Cancelled
	case err != nil && strings.Contains(err.Error(), "invalid_grant"):
		return Terminal
	}
	return Transient
}

func byStatus(status int) Result {
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

// byBody corrects a result by the body of an error.
func byBody(r Result, away time.Duration, body []byte) (Result, time.Duration) {
	e := gjson.ParseBytes(body)
	if e.IsArray() { // Google's streams
		e = e.Get("0")
	}
	if e = e.Get("error"); !e.Exists() {
		return r, away
	}
	if r == Terminal && stateGone(e) {
		return Rejected, 0
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
		// A google.protobuf.Duration in JSON: seconds, and an s.
		delay, ok := strings.CutSuffix(d.Get("retryDelay").String(), "s")
		if v, err := strconv.ParseFloat(delay, 64); ok && err == nil && v > 0 && away == 0 {
			away = seconds(v)
		}
	}
	if e.Get("type").String() == "usage_limit_reached" && away == 0 {
		if v := e.Get("resets_in_seconds").Float(); v > 0 {
			away = seconds(v)
		}
	}
	return r, away
}

// stateGone reports whether an error says that the state which the request names does not
// exist. The auth is not at fault.
func stateGone(e gjson.Result) bool {
	if e.Get("details.error_code").String() == "thread_not_found" || e.Get("code").String() == "previous_response_not_found" {
		return true
	}
	message := e.Get("message").String()
	if strings.HasPrefix(message, "CachedContent not found") {
		return true
	}
	what, rest, ok := strings.Cut(message, " with id '")
	if !ok || !strings.HasSuffix(rest, "' not found.") {
		return false
	}
	switch what {
	case "Previous response", "Response", "Conversation", "Container":
		return true
	}
	return false
}

// maxError is how much of an error's body is read.
const maxError = 64 << 10

// begin reads the beginning of a body and puts it back.
func begin(resp *http.Response) []byte {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxError))
	rest := io.Reader(resp.Body)
	if err != nil {
		rest = brokenReader{err}
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(body), rest), resp.Body}
	return body
}

// brokenReader is the rest of a body whose reading has failed.
type brokenReader struct{ error }

func (b brokenReader) Read([]byte) (int, error) { return 0, b.error }

// mostAway is the longest time that is accepted from an upstream.
const mostAway = time.Hour

func seconds(s float64) time.Duration {
	return time.Duration(min(s, mostAway.Seconds()) * float64(time.Second))
}

// retryAfter returns 0 if the header has no valid value.
func retryAfter(h http.Header) time.Duration {
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
