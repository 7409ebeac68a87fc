// Command gateway is a small LLM gateway with session affinity: what package
// affinity is for, in one program.
//
//	go run ./examples/gateway                      show the difference
//	go run ./examples/gateway -serve               and keep running, simulated
//	go run ./examples/gateway -upstream anthropic,anthropic,https://api.anthropic.com,KEY_1,KEY_2
//
// It serves the APIs of Anthropic (messages), OpenAI (chat completions, responses,
// conversations, embeddings) and Google (generateContent, interactions, cached contents)
// as a reverse proxy over package affinityhttp, which says what that does. What it serves
// is a list of paths, in api.go: its auths may be able to do more than its callers may.
//
// It reads -config again on SIGHUP, and when that file or a key file has changed:
// upstreams, tiers, strategy, TTL, and whether there is affinity. Sessions stay on their
// auths, only those of an auth that is gone are placed anew. If something is wrong, all
// stays as it was and the log says why. The environment of a running process does not
// change: a key that comes later goes into a key file.
//
// Interrupt and SIGTERM stop it, after the requests under way. The exit code is 2 for a
// command that makes no sense, and 1 for all else that fails.
//
// It has no accounts and no limits of its own; do not put it on an open
// network as it is.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/llmaffinity/llmaffinity/affinity"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal does not wait
	os.Exit(exitCode(gateway(ctx, os.Args[1:], os.Stdout, os.Stderr), os.Stderr))
}

// exitCode says what went wrong, and is the code to exit with.
func exitCode(err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "gateway:", err)
	if errors.As(err, new(usageError)) {
		fmt.Fprintln(stderr, "gateway -h tells how it is used")
		return 2
	}
	return 1
}

// gateway is the command without the process around it.
func gateway(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c, err := parseCommand(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		c.help(stdout)
		return nil
	case err != nil:
		return err
	case c.simulated && !c.keep:
		return c.demo(ctx, stdout, stderr)
	}
	return c.serve(ctx, stdout, stderr)
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
func (c *command) serve(ctx context.Context, stdout, stderr io.Writer) error {
	level := slog.LevelInfo
	if c.verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	r := &reloader{source: c.source, log: log}
	var s Settings
	if c.simulated {
		_, pool, stop, err := simulatedPool(c.auths)
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
	g, err := NewGateway(GatewayOptions{
		Pool: &Pool{auths: s.Auths}, Affinity: s.Affinity, DecisionHeader: c.header, Slow: affinity.SlowPolicy{Above: c.slow}, Patience: c.patience, Log: log,
	})
	if err != nil {
		return err
	}
	defer g.Close()
	r.apply = g.Apply
	if err := g.Apply(s); err != nil {
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
	url, stop, err := serve(g, c.listen)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "serving on %s with %d auths; interrupt to stop\n", url, len(s.Auths))
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-hup:
			r.reload()
		case <-poll:
			r.check()
		}
	}
	stop()
	fmt.Fprintln(stdout, summary(g.Stats()))
	return nil
}

const usage = `
Point a real client at it:

  export ANTHROPIC_KEY_1=… ANTHROPIC_KEY_2=…
  go run ./examples/gateway -decision-header -upstream anthropic,anthropic,https://api.anthropic.com,ANTHROPIC_KEY_1,ANTHROPIC_KEY_2
  ANTHROPIC_BASE_URL=http://127.0.0.1:8080 ANTHROPIC_AUTH_TOKEN=any claude

or try it with the simulated provider: go run ./examples/gateway -serve -decision-header
`
