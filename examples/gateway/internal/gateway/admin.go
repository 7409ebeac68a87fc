package gateway

import (
	"context"
	"net"
	"net/http"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityadmin"
)

// admin holds the flags of the operator's page.
type admin struct {
	listen string
	write  bool
}

// check returns what is wrong with the flags.
func (a *admin) check() error {
	if a.write && a.listen == "" {
		return usagef("-admin-write needs -admin")
	}
	if _, _, err := net.SplitHostPort(a.listen); a.listen != "" && err != nil {
		return usagef("-admin: want an address such as 127.0.0.1:8081")
	}
	return nil
}

// Numbers are what a gateway counts.
type Numbers interface {
	Stats() affinity.Stats
	Sessions(ctx context.Context) (map[string]int, error)
}

// serve serves the page, and the metrics if there are any. Without an address it does nothing,
// and the url is empty.
func (a *admin) serve(g *Gateway, with With) (url string, stop func(), err error) {
	if a.listen == "" {
		return "", func() {}, nil
	}
	page, err := g.Page(a.write, hostOf(a.listen))
	if err != nil {
		return "", nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/", page)
	if with.Metrics != nil {
		metrics, err := with.Metrics(g.transport, g.savings)
		if err != nil {
			return "", nil, err
		}
		mux.Handle("GET /metrics", metrics)
	}
	return serve(mux, a.listen)
}

// hostOf returns the name in an address, if it has one.
func hostOf(listen string) []string {
	if host, _, err := net.SplitHostPort(listen); err == nil && host != "" {
		return []string{host}
	}
	return nil
}

// Page returns the operator's page of the gateway. Without write it is read-only. hosts are
// the names under which it may be requested.
func (g *Gateway) Page(write bool, hosts []string) (http.Handler, error) {
	return affinityadmin.New(g.transport, &affinityadmin.Options[*Auth]{
		Auths: g.opts.Pool.All, Request: g.transport.RequestOf, Candidates: g.candidates,
		Log: g.log, Savings: g.savings, InFlight: g.transport.InFlight, Write: write, Hosts: hosts,
	})
}

// candidates returns the auths for a request like that of an event.
func (g *Gateway) candidates(e affinity.Event) []*Auth {
	if auths := g.opts.Pool.Serving(API(e.Pool)); len(auths) > 0 {
		return auths
	}
	return g.opts.Pool.All()
}
