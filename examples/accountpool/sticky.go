package main

import (
	"context"
	"net/http"

	"github.com/llmaffinity/llmaffinity/affinity"
)

// sticky keeps conversations on their accounts. The Picker chooses for all other requests.
type sticky struct {
	Picker
	sessions *affinity.Affinity[*Auth]
}

func newSticky(next Picker) (sticky, error) {
	sessions, err := affinity.New((*Auth).ID, &affinity.Options[*Auth]{State: func(a *Auth, r affinity.Request) (s affinity.State) {
		if s.Until = a.RestsUntil(r.Model); !s.Until.IsZero() {
			s.Fitness = affinity.Away
		}
		return s
	}})
	return sticky{next, sessions}, err
}

func (s sticky) Pick(ctx context.Context, provider, model string, opts Options, auths []*Auth) (*Auth, error) {
	r := affinity.Request{Tenant: opts.Caller, Pool: provider, Model: model, Header: opts.Header, Body: opts.Body, Tried: opts.Tried}
	pick, err := s.sessions.Pick(ctx, r, auths, func(ctx context.Context, able []*Auth) (*Auth, error) {
		return s.Picker.Pick(ctx, provider, model, opts, able)
	})
	return pick.Auth, err
}

func (s sticky) MarkResult(ctx context.Context, r Result) {
	pick, _ := affinity.PickFrom[*Auth](ctx) // without a pick there is nothing to report
	pick.ReportResponse(&http.Response{StatusCode: r.Status, Header: r.Header}, r.Err)
}
