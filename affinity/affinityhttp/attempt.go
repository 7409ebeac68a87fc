package affinityhttp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"net/http"
	"time"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// attempt is one request to one auth.
type attempt[T any] struct {
	*call[T]
	receipt[T]
	number int
	landed func()    // removes it from those in flight
	came   io.Closer // the answer's body, as the auth sends it

	idle    bool // the auth has done nothing with the request
	started bool // Begun was called for it
	told    bool
}

// attempt sends the request to the auth of a pick, and reads the answer up to its first byte.
func (c *call[T]) attempt(pick affinity.Pick[T], number int) *attempt[T] {
	ctx, cancel := context.WithCancelCause(withOutbound(c.in.Context(), Outbound{c.r, pick.Decision, number}))
	a := &attempt[T]{call: c, receipt: receiptOf(c.in.Context(), cancel, pick, c.in.Header, &c.conf.http), number: number}
	if pick.Decision.Session == (sessionid.Key{}) && c.sum == 0 {
		c.sum = maphash.Bytes(seed, c.r.Body)
	}
	late := time.AfterFunc(c.left(), func() { cancel(errTooLong) })
	a.landed = c.flying.Begin(pick.Decision.Auth)
	known := false
	defer func() {
		if !known { // a function of the host has panicked
			a.pick.Report(affinity.Cancelled)
			a.close()
		}
	}()
	a.resp, a.err = a.send(ctx)
	if a.err == nil {
		a.came = a.resp.Body
		a.begin()
	}
	if a.err != nil {
		a.resp = nil
		switch {
		case gone(c.in.Context()) != nil:
			a.err = gone(c.in.Context()) // the client has left: not the auth's fault
		case errors.Is(context.Cause(ctx), errTooLong):
			a.err = &tooLong{fmt.Sprint(c.conf.Within)}
		}
	}
	a.classify()
	known = true
	late.Stop()
	if a.resp == nil {
		a.close()
	}
	return a
}

// send makes the request to the auth and sends it.
func (a *attempt[T]) send(ctx context.Context) (*http.Response, error) {
	out := outgoing(ctx, a.in, &a.conf.http)
	b := a.body
	switch {
	case b.loan != nil:
		out.GetBody = b.loan.open
		out.Body, _ = out.GetBody()
		out.ContentLength, out.TransferEncoding = int64(len(b.held)), nil
	case b.rest == nil:
		setBody(out, b.held)
	default:
		out.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(b.held), b.rest), b.closer}
		out.GetBody = nil
	}
	if err := a.prepare(out, a.pick.Auth); err != nil {
		out.Body.Close()
		a.idle = true
		return nil, err
	}
	resp, err := a.conf.Base.RoundTrip(out)
	if err == nil && resp == nil {
		err = errNothing
	}
	a.idle = isNoConnection(err)
	return resp, err
}

// classify sets the result of the attempt.
func (a *attempt[T]) classify() {
	if a.resp == nil && a.body.rest.isTheClients(a.err) {
		a.result = affinity.Cancelled
		return
	}
	a.receipt.classify()
}

// isMissing reports whether the auth does not know what the request names.
func (a *attempt[T]) isMissing() bool {
	return a.resp != nil && a.resp.StatusCode == http.StatusNotFound && a.result == affinity.Terminal
}

// another reports whether another auth can help and may be tried. asked is how many were tried
// so far.
func (a *attempt[T]) another(asked int) bool {
	switch a.result {
	case affinity.Terminal:
	case affinity.Transient:
		if a.pick.Decision.Outcome == affinity.OutcomeOwner && (a.away == 0 || a.away > a.r.Patience) {
			return false // no other has the state, and this one will be back
		}
	default:
		return false
	}
	if a.body.rest != nil || asked >= a.conf.Attempts || a.left() == 0 || a.in.Context().Err() != nil {
		return false
	}
	return a.idle || a.resp != nil && a.refused() || a.repeatable()
}

// repeatable calls Options.Repeat.
func (a *attempt[T]) repeatable() (ok bool) {
	known := false
	defer func() {
		if !known { // it has panicked
			a.pick.Report(affinity.Cancelled)
			a.close()
		}
	}()
	ok = a.conf.Repeat(a.in, a.r)
	known = true
	return ok
}

// isRefused reports whether the auth's own credential was refused.
func (a *attempt[T]) isRefused() bool {
	return a.resp != nil && a.result == affinity.Terminal && a.resp.StatusCode >= 400 && a.resp.StatusCode <= 403
}

// begun tells the Affinity that the auth has begun to answer. The result is reported when the
// answer has ended.
func (a *attempt[T]) begun() {
	a.pick.Begun()
	a.note()
}

// report reports the result of the attempt.
func (a *attempt[T]) report(r affinity.Result) {
	again := a.result == r && r == affinity.Served && a.watch != nil // begun has reported it
	a.result = r
	a.pick.Done(affinity.Report{Result: r, Away: a.away, FirstToken: a.tokenAt, Usage: a.usage()})
	if !again {
		a.note()
	}
}

// note records in rests how the auth has done, for all other requests.
func (a *attempt[T]) note() {
	status := 0
	if a.resp != nil {
		status = a.resp.StatusCode
	}
	a.rests.note(a.pick.Decision.Auth, a.r.Model, a.sent, a.result, a.away, status, a.culprit)
}

// culprit returns a digest of the session, or of the request if it has none, for rests.
func (a *attempt[T]) culprit() uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	_, _ = h.WriteString(a.r.Tenant) // a Hash returns no error
	if name := a.pick.Decision.Session; name != (sessionid.Key{}) {
		_, _ = h.Write(name[:])
	} else {
		maphash.WriteComparable(&h, a.sum)
	}
	return h.Sum64()
}

var seed = maphash.MakeSeed()

// tell calls Options.OnAttempt, once.
func (a *attempt[T]) tell() {
	a.landed()
	if a.told || a.conf.OnAttempt == nil {
		return
	}
	a.told = true
	t := Attempt{
		Decision: a.pick.Decision, Tenant: a.r.Tenant, Pool: affinity.LogName(a.r.Pool), Model: affinity.LogName(a.r.Model), Number: a.number,
		Err: a.err, Result: a.result, Away: a.away, FirstToken: a.tokenAt, Usage: a.usage(),
	}
	if a.resp != nil {
		t.Status = a.resp.StatusCode
	}
	a.conf.OnAttempt(context.WithoutCancel(a.in.Context()), t)
}

// close frees the resources of the attempt.
func (a *attempt[T]) close() {
	a.shut()
	if a.came != nil {
		a.came.Close()
	}
	a.landed()
	a.cancel(nil)
}
