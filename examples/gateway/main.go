// Command gateway is a small LLM gateway with session affinity: what package
// affinity is for, in one program.
//
//	go run ./examples/gateway                      show the difference
//	go run ./examples/gateway -serve               and keep running, simulated
//	go run ./examples/gateway -upstream anthropic,anthropic,https://api.anthropic.com,KEY_1,KEY_2
//
// It serves /v1/messages (and count_tokens), /v1/chat/completions,
// /v1/responses and /v1beta/models/*:generateContent and
// :streamGenerateContent as a reverse proxy: streams pass through as they
// come, the client's headers and body arrive unchanged except for the
// credential, and what the client cancels is cancelled upstream. On 401, 402,
// 403, 408, 429 and 5xx another auth is tried, as long as nothing of an answer
// was passed on.
//
// On SIGHUP it reads -config again: sessions stay on their auths, only those of an
// auth that is gone are placed anew.
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
	"slices"
	"syscall"
	"time"

	"github.com/llmaffinity/llmaffinity/affinity"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := gateway(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "gateway:", err)
		}
		os.Exit(1)
	}
}

// gateway is the command without the process around it.
func gateway(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("gateway", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var upstreams upstreamFlag
	flags.Var(&upstreams, "upstream", "`name,api,url,ENV_OF_KEY[,ENV_OF_KEY…]`; api is anthropic, openai, gemini or any; repeat it for more")
	config := flags.String("config", "", "JSON `file` with upstreams, see the README")
	listen := flags.String("listen", "127.0.0.1:8080", "`address` to serve on")
	keep := flags.Bool("serve", false, "serve with the simulated provider instead of the demo")
	withAffinity := flags.Bool("affinity", true, "keep sessions on their auth; false is the control")
	header := flags.Bool("decision-header", false, "answer with "+decisionHeader+", which names the decision and the auth")
	auths := flags.Int("auths", demoDefaults.auths, "auths of the simulated provider")
	conversations := flags.Int("conversations", demoDefaults.conversations, "conversations of the demo")
	turns := flags.Int("turns", demoDefaults.turns, "turns of each")
	slow := flags.Duration("slow", 30*time.Second, "an auth is slow when the first byte takes longer, again and again; 0 is never")
	verbose := flags.Bool("v", false, "log every request")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *auths < 1 || *conversations < 1 || *turns < 1 {
		return errors.New("-auths, -conversations and -turns must be at least 1")
	}
	read := func() (*Pool, error) {
		all := slices.Clone(upstreams)
		if *config != "" {
			more, err := readConfig(*config)
			if err != nil {
				return nil, err
			}
			all = append(all, more...)
		}
		return poolOf(all, os.Getenv)
	}
	real := len(upstreams) > 0 || *config != ""
	if !real && !*keep {
		o := demoOptions{auths: *auths, conversations: *conversations, turns: *turns, progress: stderr}
		runs, err := demo(ctx, o)
		if err != nil {
			return err
		}
		printTable(stdout, runs, o)
		fmt.Fprint(stdout, usage)
		return nil
	}

	var pool *Pool
	var err error
	if real {
		if pool, err = read(); err != nil {
			return err
		}
	} else {
		var stop func()
		if _, pool, stop, err = simulatedPool(*auths); err != nil {
			return err
		}
		defer stop()
	}
	level := slog.LevelInfo
	if *verbose {
		level = slog.LevelDebug
	}
	g, err := NewGateway(GatewayOptions{
		Pool: pool, Affinity: *withAffinity, DecisionHeader: *header, Slow: affinity.SlowPolicy{Above: *slow},
		Log: slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level})),
	})
	if err != nil {
		return err
	}
	defer g.Close()
	url, stop, err := serve(g, *listen)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "serving on %s with %d auths; interrupt to stop\n", url, len(pool.All()))
	hup := make(chan os.Signal, 1)
	if *config != "" {
		signal.Notify(hup, syscall.SIGHUP)
		defer signal.Stop(hup)
	}
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-hup:
			if next, err := read(); err != nil {
				fmt.Fprintln(stderr, "gateway: the auths stay as they are:", err)
			} else {
				g.Reload(next.All())
				fmt.Fprintf(stdout, "%d auths now\n", len(next.All()))
			}
		}
	}
	stop()
	s := g.Stats()
	fmt.Fprintf(stdout, "decisions: %d hit, %d new, %d moved, %d without a session\n", s.Hit, s.New, s.Moved, s.None)
	return nil
}

const usage = `
Point a real client at it:

  export ANTHROPIC_KEY_1=… ANTHROPIC_KEY_2=…
  go run ./examples/gateway -decision-header -upstream anthropic,anthropic,https://api.anthropic.com,ANTHROPIC_KEY_1,ANTHROPIC_KEY_2
  ANTHROPIC_BASE_URL=http://127.0.0.1:8080 ANTHROPIC_AUTH_TOKEN=any claude

or try it with the simulated provider: go run ./examples/gateway -serve -decision-header
`
