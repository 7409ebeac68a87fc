// Package gateway is a small LLM gateway with session affinity, as a command that a main
// function can call. An auth is what it chooses among: a key of a provider. examples/gateway
// is the command with what the root module has. A module that has more, such as a client of a
// shared store, has another one.
//
//	os.Exit(gateway.Main(ctx, os.Args[1:], os.Stdout, os.Stderr, gateway.With{}))
//
// -h and the comment of examples/gateway describe the command and its flags.
package gateway

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
	"github.com/llmaffinity/llmaffinity/affinity/savings"
	"github.com/llmaffinity/llmaffinity/examples/internal/simulator"
	"github.com/llmaffinity/llmaffinity/examples/record"
)

// Main runs the command until ctx is done or the command has finished, and returns the exit
// code. args are the arguments after the program's name. The output is written to stdout,
// errors and the log to stderr.
//
// with is what this program has besides.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer, with With) int {
	return exitCode(gateway(ctx, args, stdout, stderr, with), stderr)
}

// With is what a program has that the root module cannot have. The zero one has nothing.
type With struct {
	// Stores are what -store offers besides the embedded one.
	Stores Stores
	// Metrics is served as /metrics with -admin. nil means no metrics.
	Metrics func(from Numbers, saved *savings.Meter) (http.Handler, error)
	// WebSockets makes a handler that serves WebSockets and passes all other requests to next.
	// nil refuses WebSockets.
	WebSockets func(t *affinityhttp.Transport[*Auth], next http.Handler) (Sockets, error)
	// Provider adds to the simulated provider, for example WebSockets. nil leaves it as it is.
	Provider func(simulated http.Handler) http.Handler
}

// Sockets is a handler of WebSockets, which http.Server does not close.
type Sockets interface {
	http.Handler
	Shutdown(ctx context.Context) error
}

// handler returns the handler for the clients of a gateway, and what ends its WebSockets.
func (w With) handler(g *Gateway) (h http.Handler, stop func(), err error) {
	if w.WebSockets == nil {
		return g, func() {}, nil
	}
	s, err := w.WebSockets(g.transport, g)
	if err != nil {
		return nil, nil, err
	}
	return s, func() {
		ctx, cancel := context.WithTimeout(context.Background(), shutdownGrace)
		defer cancel()
		_ = s.Shutdown(ctx) // requests that take longer are cut off
	}, nil
}

// exitCode prints what went wrong, and returns the exit code.
func exitCode(err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "gateway:", err)
	if errors.As(err, new(usageError)) {
		fmt.Fprintln(stderr, "gateway -h shows how to use it")
		return 2
	}
	return 1
}

// gateway is the command without the process around it.
func gateway(ctx context.Context, args []string, stdout, stderr io.Writer, with With) error {
	c, err := parseCommand(args, with.Stores)
	switch {
	case errors.Is(err, flag.ErrHelp):
		c.help(stdout)
		return nil
	case err != nil:
		return err
	case c.simulated && !c.stay:
		return c.demo(ctx, stdout, stderr)
	}
	return c.serve(ctx, stdout, stderr, with)
}

// demo shows the difference.
func (c *command) demo(ctx context.Context, stdout, stderr io.Writer) error {
	c.demoOptions.progress = stderr
	runs, err := demo(ctx, c.demoOptions)
	if err != nil {
		return err
	}
	printTable(stdout, runs, c.demoOptions)
	fmt.Fprint(stdout, usage)
	return nil
}

// serve serves until ctx is done.
func (c *command) serve(ctx context.Context, stdout, stderr io.Writer, with With) (failed error) {
	level := slog.LevelInfo
	if c.verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	r := &reloader{source: c.source, log: log}
	var s Settings
	if c.simulated {
		_, pool, stop, err := simulatedPool(c.auths, simulator.Options{ToolCalls: c.toolCalls}, with.Provider)
		if err != nil {
			return err
		}
		defer stop()
		s = Settings{Auths: pool.All(), Affinity: c.source.affinity == nil || *c.source.affinity}
	} else {
		var err error
		if s, err = r.settings(); err != nil {
			return err
		}
	}
	if c.keep.url != "" && s.TTL != 0 {
		log.Warn("session-affinity-ttl is ignored: the store of -store has a TTL of its own")
	}
	key, err := c.keep.secret(c.source.getenv)
	if err != nil {
		return err
	}
	store, closeStore, err := c.keep.store(ctx)
	if err != nil {
		return err
	}
	defer func() { failed = errors.Join(failed, closeStore()) }()
	var rec *record.Recorder
	if c.record != "" {
		var file io.Closer
		if rec, file, err = openRecording(c.record); err != nil {
			return err
		}
		defer func() { failed = errors.Join(failed, file.Close()) }()
	}
	g, err := NewGateway(GatewayOptions{
		Record: rec,
		Pool:   &Pool{auths: s.Auths}, Affinity: s.Affinity, DecisionHeader: c.header, Slow: affinity.SlowPolicy{Above: c.slow}, Balance: c.balance, Patience: c.patience, Log: log,
		Store: store, TenantKey: key, Prices: c.prices,
	})
	if err != nil {
		return err
	}
	defer g.Close()
	r.apply = g.Apply
	if err := g.Apply(s); err != nil {
		return err
	}
	if err := c.keep.load(g, log); err != nil { // after Apply, which knows the TTL
		return err
	}
	var hup chan os.Signal
	var poll <-chan time.Time
	if c.source.config != "" {
		hup = make(chan os.Signal, 1)
		signal.Notify(hup, syscall.SIGHUP)
		defer signal.Stop(hup)
		ticker := time.NewTicker(pollEvery)
		defer ticker.Stop()
		poll = ticker.C
	}
	handler, stopSockets, err := with.handler(g)
	if err != nil {
		return err
	}
	url, stopServer, err := serve(handler, c.listen)
	if err != nil {
		return err
	}
	stop := func() {
		stopSockets()
		stopServer()
	}
	operators, stopAdmin, err := c.admin.serve(g, with)
	if err != nil {
		stop()
		return err
	}
	defer stopAdmin()
	fmt.Fprintf(stdout, "serving on %s with %d auths; interrupt to stop\n", url, len(s.Auths))
	if operators != "" {
		fmt.Fprintf(stdout, "the page for operators is on %s/\n", operators)
	}
	save, stopSaving := c.keep.ticks()
	defer stopSaving()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-save:
			if err := c.keep.save(g); err != nil {
				log.Error("the state was not saved", "error", err)
			}
		case <-hup:
			r.reload()
		case <-poll:
			r.check()
		}
	}
	stop()
	fmt.Fprintln(stdout, summary(g.Stats()))
	fmt.Fprintln(stdout, g.Savings())
	return c.keep.save(g) // after the last request
}

const usage = `
Point a real client at it:

  export ANTHROPIC_KEY_1=… ANTHROPIC_KEY_2=…
  go run ./examples/gateway -decision-header -upstream anthropic,anthropic,https://api.anthropic.com,ANTHROPIC_KEY_1,ANTHROPIC_KEY_2
  ANTHROPIC_BASE_URL=http://127.0.0.1:8080 ANTHROPIC_AUTH_TOKEN=any claude

or try it with the simulated provider: go run ./examples/gateway -serve -decision-header
`
