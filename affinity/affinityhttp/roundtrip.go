package affinityhttp

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/llmaffinity/llmaffinity/affinity"
)

// call is one request during RoundTrip.
type call[T any] struct {
	*Transport[T]
	conf  *settings[T]
	in    *http.Request
	r     affinity.Request
	body  body
	began time.Time
	reads bool   // it reads state, which any auth may have
	sum   uint64 // a digest of its body, if it has no session

	patience time.Duration // what is left of Options.Patience
	waits    int           // how often it has waited
	returns  int           // how often it went back to an auth, even if the wait was over before it began
}

func (t *Transport[T]) call(in *http.Request) *call[T] {
	conf := t.conf.Load()
	return &call[T]{Transport: t, conf: conf, in: in, patience: conf.Patience}
}

// RoundTrip sends a request to the auth of its session. It sends it to another one as long as
// that can help and nothing of an answer was passed on. It returns when it has the first byte
// of the answer's body. The caller reads the body to its end or closes it, as with any
// http.RoundTripper.
//
// If all auths that have answered have failed, RoundTrip returns the last answer, but rather one
// after which the client may try again, and of those one that says when. It returns one that
// refuses an auth's own credential only if there is no other, and no other auth comes back at a
// time that is known. If no auth has answered, the error is that of the last attempt. If no auth could be tried, it is an
// *affinity.NoAuthError, or a *PickError if the gateway could not choose. If the request's body
// could not be read, it is a *BodyError.
func (t *Transport[T]) RoundTrip(in *http.Request) (*http.Response, error) {
	if IsUpgrade(in) {
		if in.Body != nil {
			in.Body.Close()
		}
		return upgradeRequired(in), nil
	}
	c := t.call(in)
	var err error
	if c.body, err = readBody(in, c.conf.MaxBody, c.conf.pool); err != nil {
		return nil, err
	}
	c.began = time.Now() // the time in which the client sends its body does not count
	var plain []byte
	if c.body.rest == nil {
		plain = c.conf.opened(in.Header, c.body.held)
	}
	to := targetOf(in)
	c.r = c.conf.describe(in, to, plain)
	c.reads = to.kind == kindSide && in.Method != http.MethodDelete && len(c.body.held) == 0
	resp, err := c.try()
	if err != nil && c.body.closer != nil {
		c.body.closer.Close() // perhaps no auth was tried
	}
	c.r.Body = nil
	c.body.letGo() // the answer can take minutes
	return resp, err
}

// RequestOf returns what RoundTrip would pass to Pick for a request, for
// affinity.Affinity.Explain. It consumes the request's body. Like RoundTrip it does not use a
// body that is longer than Options.MaxBody.
func (t *Transport[T]) RequestOf(in *http.Request) (r affinity.Request, auths []T, err error) {
	conf := t.conf.Load()
	body, err := readBody(in, conf.MaxBody, nil)
	if err != nil {
		return r, nil, err
	}
	if body.closer != nil {
		defer body.closer.Close()
	}
	var plain []byte
	if body.rest == nil {
		plain = conf.opened(in.Header, body.held)
	}
	if IsUpgrade(in) {
		in = asTurn(in)
	}
	r = conf.describe(in, targetOf(in), plain)
	r.Patience = min(conf.Patience, conf.Within)
	return r, t.auths(in, r), nil
}

// IsUpgrade reports whether a request asks for a WebSocket. Other protocols may be ignored
// (RFC 9110, 7.8), and h2c is.
func IsUpgrade(r *http.Request) bool {
	return strings.Contains(strings.ToLower(r.Header.Get("Upgrade")), "websocket")
}

// upgradeRequired returns the refusal of a WebSocket. After any other status Codex tries again
// for some seconds.
func upgradeRequired(r *http.Request) *http.Response {
	text := errorOf(targetOf(r).api, http.StatusUpgradeRequired, "this gateway does not serve WebSockets: use HTTP")
	return &http.Response{
		Status: "426 Upgrade Required", StatusCode: http.StatusUpgradeRequired,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        http.Header{"Content-Type": {"application/json"}, "Content-Length": {strconv.Itoa(len(text))}},
		Body:          io.NopCloser(bytes.NewReader(text)),
		ContentLength: int64(len(text)), Request: r,
	}
}

// try sends the request to one auth after the other.
func (c *call[T]) try() (*http.Response, error) {
	failed := failures[T]{all: c.reads}
	defer failed.settle()
	for number, asked := 1, 1; ; number++ {
		pick, err := c.next()
		if err != nil {
			return failed.give(c, err)
		}
		a := c.attempt(pick, number)
		if failed.missing != nil && a.isMissing() && !failed.all {
			a.result = affinity.Rejected // a model that two auths do not know is the client's fault
		}
		if !a.another(asked) {
			failed.explain(a.result)
			if a.resp == nil || failed.better(a) {
				a.report(a.result)
				a.tell()
				a.close()
				return failed.give(c, a.err)
			}
			return a.pass(), nil
		}
		failed.add(a)
		if c.turnsAwayFrom(a) {
			asked++
		}
	}
}

// next picks an auth. It waits for one if that is within the request's Patience.
func (c *call[T]) next() (affinity.Pick[T], error) {
	for {
		if c.waits == mostWaits {
			c.patience = 0
		}
		c.r.Patience = min(c.patience, c.left())
		auths := c.auths(c.in, c.r)
		pick, err := c.Pick(c.in.Context(), c.r, auths)
		none, ok := err.(*affinity.NoAuthError)
		switch {
		case ok && none.Waits():
			c.patience -= c.wait(none.Until)
			c.waits++
			if err := c.in.Context().Err(); err != nil {
				return pick, err
			}
		case ok && none.Reason == affinity.ReasonOwner && c.isGone(none.Auth, auths):
			c.r.Ownerless = true // the provider tells the client that the state is gone
		case err != nil && !ok:
			return pick, &PickError{err}
		default:
			return pick, err
		}
	}
}

// turnsAwayFrom reports whether the next attempt must be at another auth.
func (c *call[T]) turnsAwayFrom(a *attempt[T]) bool {
	if a.away != 0 && a.away <= c.patience && a.result == affinity.Transient && c.returns < mostWaits {
		c.returns++
		return false // it is worth waiting for
	}
	c.r.Tried = append(c.r.Tried, a.pick.Decision.Auth)
	return true
}

// mostWaits is how often a request waits for an auth. After that another one is tried.
const mostWaits = 3

// failures holds the attempts of a request that have failed.
type failures[T any] struct {
	answered *attempt[T] // the one whose answer the client gets if no other comes
	err      error       // of the last one without an answer
	missing  *attempt[T] // a 404 that is not reported yet: the answer of another auth decides what it means
	all      bool        // all auths may be tried, because only one may have the state
}

// add adds an attempt that has failed.
func (f *failures[T]) add(a *attempt[T]) {
	if a.isMissing() {
		if f.missing != nil {
			f.missing.report(affinity.Rejected)
			f.missing.tell()
		}
		f.missing = a
	} else {
		a.report(a.result)
		a.tell()
	}
	if a.resp == nil {
		f.err = a.err
		return
	}
	// The client cannot correct the credential of an auth.
	if f.better(a) {
		a.close()
		return
	}
	if f.answered != nil {
		f.answered.close()
	}
	f.answered = a
}

// better reports whether an earlier answer says more to the client: one after which it may try
// again, and of two such the one that says when, and says it for sooner.
func (f *failures[T]) better(a *attempt[T]) bool {
	switch was := f.answered; {
	case was == nil || was.result != affinity.Transient:
		return was != nil && a.isRefused() && !was.isRefused()
	case a.result == affinity.Terminal:
		return true
	default:
		return a.result == affinity.Transient && was.away > 0 && (a.away == 0 || a.away > was.away)
	}
}

// explain reports the 404 of one auth after another one has answered: if that one knows the
// model, only the first auth does not.
func (f *failures[T]) explain(other affinity.Result) {
	if f.missing == nil || other == affinity.Rejected {
		return
	}
	f.missing.report(affinity.Terminal)
	f.missing.tell()
	f.missing = nil
}

// settle ends the attempts that are no longer needed.
func (f *failures[T]) settle() {
	if f.missing != nil {
		f.missing.report(affinity.Rejected)
		f.missing.tell()
	}
	if f.answered != nil {
		f.answered.close()
	}
}

// give ends a request that no other auth can serve: the client gets the last answer. err is
// why no other can.
func (f *failures[T]) give(c *call[T], err error) (*http.Response, error) {
	none, ok := err.(*affinity.NoAuthError)
	switch a := f.answered; {
	case c.in.Context().Err() != nil:
		return nil, c.in.Context().Err()
	case a != nil && a.isRefused() && ok && !none.Until.IsZero() && len(c.auths(c.in, c.r)) > len(c.r.Tried):
		return nil, err // an auth that was not asked comes back
	case a != nil:
		f.answered = nil
		return a.passUnwatched(), nil
	case f.err != nil:
		return nil, f.err
	}
	return nil, err
}

// isGone reports whether an auth cannot be waited for, because it is no longer a candidate, or
// has refused this request.
func (c *call[T]) isGone(auth string, auths []T) bool {
	return slices.Contains(c.r.Tried, auth) || !slices.ContainsFunc(auths, func(a T) bool { return c.name(a) == auth })
}

// left returns how much of Options.Within is left.
func (c *call[T]) left() time.Duration { return max(c.conf.Within-time.Since(c.began), 0) }

// wait waits for an auth until a time, or until the client leaves, and returns how long it has
// waited.
func (c *call[T]) wait(until time.Time) time.Duration {
	begin := time.Now()
	// A little longer than a clock's tick, so that each wait uses up patience.
	t := time.NewTimer(max(time.Until(until), time.Millisecond))
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.in.Context().Done():
	}
	return max(time.Since(begin), time.Millisecond)
}
