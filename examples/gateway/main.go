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
// With -state file its sessions outlive it: they are in that file, written every so often
// and at the end, and read at the start. Without, a restart costs every conversation its
// prompt cache once. Beside it stands file.key, which names of callers are made of.
//
// With -admin address there is a page at that address, for its operator: what was decided
// and why, what affinity has saved, where a session would go. -admin-write lets it drain
// and invalidate auths. Both have no login. -price says what tokens cost; the page and the
// last line of the log then say in money, too, what was saved.
//
// With -record file it records its requests, for examples/replay, which tells what affinity
// does with them. Texts and ids become digests: what was said is not in the file.
//
// With -serve -tool-calls the simulated provider plays an agent's model: it calls the first
// tool that a request offers whenever the user has the last word.
//
// Interrupt and SIGTERM stop it, after the requests under way. The exit code is 2 for a
// command that makes no sense, and 1 for all else that fails.
//
// It has no accounts and no limits of its own; do not put it on an open
// network as it is.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/llmaffinity/llmaffinity/examples/gateway/internal/gateway"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal does not wait
	os.Exit(gateway.Main(ctx, os.Args[1:], os.Stdout, os.Stderr, gateway.With{}))
}
