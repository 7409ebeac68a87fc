package affinityhttp

import (
	"context"
	"errors"
	"net/http"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// Send sends a request to the auth of a pick, for a gateway that has a loop of its own in place
// of a [Transport]. It reports the result of the pick, so the caller does not. ctx is that of
// the client's request. send makes the request to the auth with the context that it gets, which
// ends when the answer's body is closed.
//
// Send returns what send has returned, and the report. With an answer the error is nil, and the
// caller closes the answer's body, which has every byte. After Transient and Terminal another
// auth may help. Any other answer is for the client.
//
// A pick whose result is Served is reported when the answer's body has ended or is closed, with
// what it has cost. Any other one was reported when Send returns. As the caller reads the body,
// what identifies the conversation and the time to the first token are told to the Affinity. If
// the body is closed before its end, the client has left, which is no fault of the auth.
//
// Send reads the beginning of an answer before it returns: an error's body up to 64 KiB, for at
// most 5 s, and of other answers the first bytes that come. So a stream that begins with an error
// is a failure, and so is an answer that breaks off before its first byte. If send gives up
// although the client is still there, that is a failure, too. Send reads answers of the chat,
// Claude, Responses and Gemini APIs that are compressed with gzip, deflate or not at all: remove
// the client's Accept-Encoding, as [Outgoing] does, or else nothing is known of an answer that is
// compressed in another way. If send panics, the pick is reported as Cancelled, and the panic
// goes on; the same holds for reading the answer.
//
// Any goroutine may read the body, one at a time, and another one may close it.
func Send[T any](ctx context.Context, pick affinity.Pick[T], send func(context.Context) (*http.Response, error)) (*http.Response, affinity.Report, error) {
	out, cancel := context.WithCancelCause(ctx)
	r := receiptOf(ctx, cancel, pick, nil, &readable)
	known := false
	defer func() {
		if !known { // something has panicked
			cancel(nil)
			pick.Report(affinity.Cancelled)
		}
	}()
	r.resp, r.err = send(out)
	switch {
	case r.err == nil && r.resp == nil:
		r.err = errNothing
	case r.err == nil:
		if r.resp.Body == nil {
			r.resp.Body = http.NoBody
		}
		if r.resp.Request != nil {
			r.betas = r.resp.Request.Header["Anthropic-Beta"]
		}
		r.begin()
	}
	from := r.resp
	if r.err != nil {
		r.resp = nil
	}
	r.classify()
	known = true
	report := func() affinity.Report {
		return affinity.Report{Result: r.result, Away: r.away, FirstToken: r.tokenAt, Usage: r.usage()}
	}
	switch {
	case r.resp == nil:
		pick.Done(report())
		r.shut()
		cancel(nil)
		if from != nil && from.Body != nil { // it broke off before its first byte
			from.Body.Close()
		}
		if r.result == affinity.Cancelled && gone(ctx) != nil {
			r.err = gone(ctx)
		}
		return nil, report(), r.err
	case r.watch == nil || r.result != affinity.Served:
		pick.Done(report())
		body := r.resp.Body
		r.resp.Body = r.unwatched(func() {
			r.shut()
			body.Close()
			cancel(nil)
		})
		return r.resp, report(), nil
	}
	pick.Begun()
	r.ownsTurn()
	r.resp.Body = &passing[T]{r: &r, from: r.resp.Body, end: func(err error) {
		r.result = r.ended(err)
		pick.Done(report())
	}}
	return r.resp, report(), nil
}

// errNothing is the error of a function of the host that has returned nothing.
var errNothing = errors.New("affinityhttp: there is neither an answer nor an error")

// readable are the encodings of answers that Send reads.
var readable = sessionid.HTTPOptions{Decompress: true}
