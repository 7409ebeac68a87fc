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
	verbose := flags.Bool("v", false, "log every request")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *auths < 1 || *conversations < 1 || *turns < 1 {
		return errors.New("-auths, -conversations and -turns must be at least 1")
	}
	if *config != "" {
		more, err := readConfig(*config)
		if err != nil {
			return err
		}
		upstreams = append(upstreams, more...)
	}
	if len(upstreams) == 0 && !*keep {
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
	if len(upstreams) == 0 {
		var stop func()
		var err error
		if _, pool, stop, err = simulatedPool(*auths); err != nil {
			return err
		}
		defer stop()
	} else {
		var err error
		if pool, err = poolOf(upstreams, os.Getenv); err != nil {
			return err
		}
	}
	level := slog.LevelInfo
	if *verbose {
		level = slog.LevelDebug
	}
	g, err := NewGateway(GatewayOptions{
		Pool: pool, Affinity: *withAffinity, DecisionHeader: *header,
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
	fmt.Fprintf(stdout, "serving on %s with %d auths; interrupt to stop\n", url, len(pool.auths))
	<-ctx.Done()
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
