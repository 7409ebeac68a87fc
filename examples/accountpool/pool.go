package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

// Auth is an account: a credential of one provider. It is what the gateway chooses among.
type Auth struct {
	Name     string
	Provider string
	URL      *url.URL
	Key      string
	Priority int

	mu     sync.Mutex
	health map[string]health // by model; "" stands for all models
}

// health says how an account has served lately.
type health struct {
	failures int       // in a row
	until    time.Time // end of its rest
}

const (
	strikes    = 3 // after so many failures in a row an account rests, if it has not said for how long
	restFailed = 30 * time.Second
	restBarred = 10 * time.Minute // how long, if these were refusals of its credential
	maxModels  = 100              // of how many models an account remembers failures: clients choose their names
)

// ID returns the lasting name of an account.
func (a *Auth) ID() string { return a.Name }

// RestsUntil returns until when an account rests for a model. It returns the zero time if the
// account does not rest.
func (a *Auth) RestsUntil(model string) (until time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range [...]string{"", model} {
		if u := a.health[m].until; u.After(until) && time.Now().Before(u) {
			until = u
		}
	}
	return until
}

// failed counts a failure. The account rests for as long as its answer has asked for. If it
// has not asked, the account rests for a while after some failures in a row.
func (a *Auth) failed(model string, asked, rest time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.health) >= maxModels {
		clear(a.health)
	}
	if a.health == nil {
		a.health = map[string]health{}
	}
	h := a.health[model]
	if h.failures++; asked == 0 && h.failures >= strikes {
		asked = rest
	}
	if asked > 0 {
		h.until = time.Now().Add(asked)
	}
	a.health[model] = h
}

// served notes that an account has served a model. It does not end a rest: the request may
// have been sent before the one that failed.
func (a *Auth) served(model string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range [...]string{"", model} {
		if h := a.health[m]; time.Now().Before(h.until) {
			a.health[m] = health{until: h.until}
		} else {
			delete(a.health, m)
		}
	}
}

// Options are what a Picker may need of a request.
type Options struct {
	Caller string      // who is calling
	Header http.Header // the client's
	Body   []byte
	Tried  []string // the accounts that this request was sent to already
}

// Picker chooses the account for a request.
type Picker interface {
	Pick(ctx context.Context, provider, model string, opts Options, auths []*Auth) (*Auth, error)
}

// Result says how a request to an account ended.
type Result struct {
	Auth     *Auth
	Model    string
	Status   int         // 0 without an answer
	Header   http.Header // the answer's
	Err      error       // why there was no answer, or why it ended early
	RetryFor time.Duration
}

// Hook is called with each result. ctx is the one that Pick had.
type Hook interface {
	MarkResult(ctx context.Context, r Result)
}

// RestingError is Pick's error if no account may serve.
type RestingError struct{ Until time.Time }

// Error says until when.
func (e *RestingError) Error() string {
	return fmt.Sprintf("all accounts rest until %s", e.Until.Format(time.RFC3339))
}

// Tiers is a Picker. It takes turns among the accounts of the highest priority that may serve.
type Tiers struct {
	mu   sync.Mutex
	next int
}

// Pick leaves out accounts that rest and accounts that were tried.
func (t *Tiers) Pick(_ context.Context, _, model string, opts Options, auths []*Auth) (*Auth, error) {
	var best []*Auth
	resting := &RestingError{}
	for _, a := range auths {
		if slices.Contains(opts.Tried, a.Name) {
			continue
		}
		if until := a.RestsUntil(model); !until.IsZero() {
			if resting.Until.IsZero() || until.Before(resting.Until) {
				resting.Until = until
			}
			continue
		}
		switch {
		case len(best) == 0 || a.Priority == best[0].Priority:
			best = append(best, a)
		case a.Priority > best[0].Priority:
			best = []*Auth{a}
		}
	}
	if len(best) == 0 {
		return nil, resting
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next++
	return best[t.next%len(best)], nil
}

// MarkResult is how the pool itself uses a result: it notes which account rests for which
// model.
func (t *Tiers) MarkResult(_ context.Context, r Result) {
	switch {
	case errors.Is(r.Err, context.Canceled): // the client has left
	case r.Status == http.StatusUnauthorized, r.Status == http.StatusPaymentRequired, r.Status == http.StatusForbidden:
		r.Auth.failed("", r.RetryFor, restBarred)
	case r.Err != nil, r.Status == http.StatusTooManyRequests, r.Status >= 500:
		r.Auth.failed(r.Model, r.RetryFor, restFailed)
	case r.Status < 300:
		r.Auth.served(r.Model)
	}
}
