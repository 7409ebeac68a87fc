package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/llmaffinity/llmaffinity/affinity/savings"
	"github.com/llmaffinity/llmaffinity/examples/internal/simulator"
)

// demoOptions says how much the demo does.
type demoOptions struct {
	auths, conversations, turns int
	progress                    io.Writer
}

var demoDefaults = demoOptions{auths: 8, conversations: 40, turns: 12}

// run is one run of the demo, with its results.
type run struct {
	name     string
	affinity bool
	faults   bool

	requests, failed       int
	prompt, cached, output uint64
	perAuth                map[string]int
	switches               map[string]int // by reason
	savings                savings.Snapshot
}

// demo drives the same conversations through the gateway three times: with
// the plain balancer, wrapped, and wrapped while auths fail.
func demo(ctx context.Context, o demoOptions) ([]*run, error) {
	runs := []*run{
		{name: "plain balancer"},
		{name: "with affinity", affinity: true},
		{name: "with affinity, two auths fail", affinity: true, faults: true},
	}
	for _, r := range runs {
		if err := r.do(ctx, o); err != nil {
			return nil, fmt.Errorf("%s: %w", r.name, err)
		}
	}
	return runs, nil
}

// simulated makes a provider and a pool of auths that reach it at url.
func simulated(auths int, o simulator.Options) (*simulator.Server, []string, error) {
	for i := range auths {
		o.Credentials = append(o.Credentials, fmt.Sprintf("sim-key-%d", i+1))
	}
	sim, err := simulator.New(o)
	return sim, o.Credentials, err
}

// shutdownGrace is how long requests under way may take after serving has stopped.
const shutdownGrace = 5 * time.Second

// serve runs a handler on a loopback port until stop is called.
func serve(h http.Handler, addr string) (url string, stop func(), err error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return "", nil, err
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(l)
	}()
	return "http://" + l.Addr().String(), func() {
		ctx, cancel := context.WithTimeout(context.Background(), shutdownGrace)
		defer cancel()
		if s.Shutdown(ctx) != nil {
			s.Close()
		}
		<-done
	}, nil
}

// simulatedPool starts the simulator and returns the pool of its auths. with, if not nil,
// adds to what the simulator serves.
func simulatedPool(auths int, o simulator.Options, with func(http.Handler) http.Handler) (sim *simulator.Server, pool *Pool, stop func(), err error) {
	sim, keys, err := simulated(auths, o)
	if err != nil {
		return nil, nil, nil, err
	}
	provider := http.Handler(sim)
	if with != nil {
		provider = with(sim)
	}
	url, stop, err := serve(provider, "127.0.0.1:0")
	if err != nil {
		return nil, nil, nil, err
	}
	// The keys are the names of their variables: getenv returns its argument.
	u := Upstream{Name: "sim", API: APIAny, URL: url}
	for i, key := range keys {
		u.Keys = append(u.Keys, Key{Env: key, Name: fmt.Sprintf("sim-%d", i+1)})
	}
	pool, err = poolOf([]Upstream{u}, func(k string) string { return k })
	if err != nil {
		stop()
		return nil, nil, nil, err
	}
	return sim, pool, stop, nil
}

func (r *run) do(ctx context.Context, o demoOptions) error {
	sim, pool, stopSim, err := simulatedPool(o.auths, simulator.Options{}, nil)
	if err != nil {
		return err
	}
	defer stopSim()
	g, err := NewGateway(GatewayOptions{Pool: pool, Affinity: r.affinity, DecisionHeader: true})
	if err != nil {
		return err
	}
	defer g.Close()
	url, stop, err := serve(g, "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer stop()

	d := &driver{run: r, pool: pool, url: url, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}}
	defer d.client.CloseIdleConnections()
	total := o.conversations * o.turns
	d.served = func(n int) {
		switch { // in the middle of the run; at least one auth does not fail
		case r.faults && n == total/3 && o.auths > 1:
			sim.SetFault(pool.All()[o.auths/4].Key, simulator.Fault{Status: http.StatusServiceUnavailable})
		case r.faults && n == total/2 && o.auths > 2:
			sim.SetFault(pool.All()[o.auths/2].Key, simulator.Fault{Status: http.StatusUnauthorized})
		}
		if o.progress != nil && (n%20 == 0 || n == total) {
			fmt.Fprintf(o.progress, "\r%-32s %4d of %d requests", r.name, n, total)
			if n == total {
				fmt.Fprintln(o.progress)
			}
		}
	}
	if err := d.drive(ctx, o); err != nil {
		return err
	}
	r.savings = g.Savings()
	for _, s := range sim.Stats() {
		r.prompt += uint64(s.PromptTokens)
		r.cached += uint64(s.CachedTokens)
		r.output += uint64(s.OutputTokens)
	}
	return nil
}

// driver plays the clients. It runs eight conversations at a time, interleaved, and each in
// order.
type driver struct {
	run    *run
	pool   *Pool
	url    string
	client *http.Client
	served func(n int)

	mu sync.Mutex
	n  atomic.Int64
}

const clients = 8

func (d *driver) drive(ctx context.Context, o demoOptions) error {
	d.run.perAuth, d.run.switches = map[string]int{}, map[string]int{}
	for _, a := range d.pool.All() {
		d.run.perAuth[a.Name] = 0
	}
	ready := make(chan *conversation, o.conversations)
	var open sync.WaitGroup
	for i := range o.conversations {
		open.Add(1)
		ready <- newConversation(i)
	}
	go func() {
		open.Wait()
		close(ready)
	}()
	var failed errorOnce
	var workers sync.WaitGroup
	for range clients {
		workers.Go(func() {
			for c := range ready {
				if err := d.turn(ctx, c); err != nil {
					failed.set(err)
				}
				if len(c.turns) == o.turns || ctx.Err() != nil {
					open.Done()
				} else {
					ready <- c
				}
			}
		})
	}
	workers.Wait()
	return errors.Join(failed.err, ctx.Err())
}

type errorOnce struct {
	once sync.Once
	err  error
}

func (e *errorOnce) set(err error) { e.once.Do(func() { e.err = err }) }

// turn sends one request and reads the answer.
func (d *driver) turn(ctx context.Context, c *conversation) error {
	path, header, body := c.ask()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header = header
	req.Header.Set("Authorization", "Bearer demo")
	resp, err := d.client.Do(req)
	var stream []byte
	if err == nil {
		stream, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	c.answered(stream)
	n := d.n.Add(1)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.run.requests++
	if err != nil || resp.StatusCode != http.StatusOK || c.turns[len(c.turns)-1].assistant == "" {
		d.run.failed++
	} else {
		d.note(c, resp.Header.Get(decisionHeader))
	}
	d.served(int(n))
	return nil
}

// note notes which auth has served and, if that changed, why.
func (d *driver) note(c *conversation, decision string) {
	parts := map[string]string{}
	for part := range strings.SplitSeq(decision, "; ") {
		k, v, _ := strings.Cut(part, "=")
		parts[k] = v
	}
	auth := parts["auth"]
	d.run.perAuth[auth]++
	if c.auth != "" && c.auth != auth {
		d.run.switches[d.why(c.auth, auth, parts)]++
	}
	c.auth = auth
}

// why returns the reason of a change of auth in the operator's words.
func (d *driver) why(from, to string, decision map[string]string) string {
	was := d.pool.Named(from)
	switch {
	case !d.run.affinity:
		return "balancer's choice"
	case decision["outcome"] == "hit":
		return to + " is back"
	case slices.Contains([]string{"slow", "load", "tier"}, decision["reason"]):
		return from + ": " + decision["reason"]
	case was == nil || was.Reason() == "": // the session's own, or its detour's
		return "its auth was removed"
	}
	return from + " answered " + was.Reason()
}
