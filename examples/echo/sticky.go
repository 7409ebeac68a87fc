package main

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"

	"github.com/llmaffinity/llmaffinity/affinity"
)

// Sticky is a balancer of Echo's proxy that keeps conversations on their targets. A target is
// the gateway's auth: what it chooses among.
type Sticky struct {
	middleware.ProxyBalancer // chooses for all other requests
	sessions                 *affinity.Affinity[*middleware.ProxyTarget]
	rests                    sync.Map // when the rest of a target ends, by name

	mu      sync.RWMutex
	targets []*middleware.ProxyTarget // because the wrapped balancer does not show its own
}

// Wrap makes a balancer sticky, and adds the targets to it. Each target must have a name of
// its own.
func Wrap(next middleware.ProxyBalancer, targets ...*middleware.ProxyTarget) (s *Sticky, err error) {
	s = &Sticky{ProxyBalancer: next}
	name := func(t *middleware.ProxyTarget) string { return t.Name }
	s.sessions, err = affinity.New(name, &affinity.Options[*middleware.ProxyTarget]{State: s.state})
	for _, t := range targets {
		s.AddTarget(t)
	}
	return s, err
}

func (s *Sticky) state(t *middleware.ProxyTarget, _ affinity.Request) affinity.State {
	if until, ok := s.rests.Load(t.Name); ok && time.Now().Before(until.(time.Time)) {
		return affinity.State{Fitness: affinity.Away, Until: until.(time.Time)}
	}
	return affinity.State{}
}

// Next chooses the target of a request. It replaces the request in c by one whose context has
// the pick, and whose body can be read.
func (s *Sticky) Next(c *echo.Context) (*middleware.ProxyTarget, error) {
	const key = "llmaffinity"
	r, again := c.Get(key).(*affinity.Request)
	if !again {
		body, err := io.ReadAll(c.Request().Body)
		if err != nil {
			return nil, err
		}
		r = describe(c.Request(), body)
		c.Set(key, r)
	}
	s.mu.RLock()
	targets := slices.Clone(s.targets)
	s.mu.RUnlock()
	ctx := affinity.WithRequest(c.Request().Context(), *r)
	pick, err := s.sessions.Pick(ctx, *r, targets, func(_ context.Context, able []*middleware.ProxyTarget) (*middleware.ProxyTarget, error) {
		return s.draw(c, able, len(targets))
	})
	if err != nil {
		return nil, err
	}
	r.Tried = append(r.Tried, pick.Auth.Name)
	out := c.Request().WithContext(ctx)
	out.Body = io.NopCloser(bytes.NewReader(r.Body))
	c.SetRequest(out)
	return pick.Auth, nil
}

// draw calls the wrapped balancer until it returns a target that may serve. That balancer does
// not know which targets rest, so a random one may need several calls.
func (s *Sticky) draw(c *echo.Context, able []*middleware.ProxyTarget, of int) (*middleware.ProxyTarget, error) {
	for range 4 * of {
		t, err := s.ProxyBalancer.Next(c)
		if err != nil {
			return nil, err
		}
		if slices.Contains(able, t) {
			return t, nil
		}
	}
	return able[rand.IntN(len(able))], nil
}

// Report reports how a request went whose target Next has chosen.
func (s *Sticky) Report(out *http.Request, resp *http.Response, err error) affinity.Result {
	pick, ok := affinity.PickFrom[*middleware.ProxyTarget](out.Context())
	result, away := pick.Classify(resp, err)
	if pick.ReportAway(result, away); ok && away > 0 {
		s.rests.Store(pick.Auth.Name, time.Now().Add(away))
	}
	return result
}

// AddTarget adds a target for new conversations. It returns false if there is one of that
// name.
func (s *Sticky) AddTarget(t *middleware.ProxyTarget) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	ok := s.ProxyBalancer.AddTarget(t)
	if ok {
		s.targets = append(s.targets, t)
	}
	return ok
}

// RemoveTarget removes a target. Its conversations move to others.
func (s *Sticky) RemoveTarget(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.targets = slices.DeleteFunc(s.targets, func(t *middleware.ProxyTarget) bool { return t.Name == name })
	s.rests.Delete(name)
	return s.ProxyBalancer.RemoveTarget(name)
}
