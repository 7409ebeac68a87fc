// Command gateway is a small LLM gateway with session affinity: what package affinity is for,
// in one program. An auth is what the gateway chooses among: here a key of a provider.
//
//	go run ./examples/gateway                      show the difference
//	go run ./examples/gateway -serve               and keep running, simulated
//	go run ./examples/gateway -upstream anthropic,anthropic,https://api.anthropic.com,KEY_1,KEY_2
//
// It is a reverse proxy over package affinityhttp. It serves the APIs of Anthropic (messages),
// OpenAI (chat completions, responses, conversations, embeddings) and Google (generateContent,
// interactions, cached contents). It serves only a list of paths, in api.go, because its auths
// may be allowed to do more than its callers.
//
// It reads -config again on SIGHUP, and when that file or a key file has changed: upstreams,
// tiers, strategy, TTL, and whether there is affinity. Sessions stay on their auths; only
// those of a removed auth are placed anew. If something is wrong, nothing changes, and the log
// says why. The environment of a running process does not change, so a new key must be in a
// key file.
//
// With -state file its sessions survive a restart: it writes them to that file at intervals
// and at the end, and reads them at the start. Without it, a restart costs every conversation
// its prompt cache once. The file file.key holds the key that the names of callers are made
// with.
//
// With -admin address it serves a page for its operator at that address: what was decided and
// why, what affinity has saved, and where a session would be sent. With -admin-write the page
// can drain and invalidate auths. Neither has a login. -price says what tokens cost; then the
// page and the last line of the log also give the savings in money.
//
// With -record file it records its requests for examples/replay, which shows what affinity
// does with them. Texts and ids become digests: what was said is not in the file.
//
// With -serve -tool-calls the simulated provider acts as an agent's model: if the last message
// is the user's, it calls the first tool that the request offers.
//
// Interrupt and SIGTERM stop it, after the requests under way. The exit code is 2 for a wrong
// command line, and 1 for all other failures.
//
// It has no accounts and no limits of its own. Do not put it on an open network as it is.
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
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(gateway.Main(ctx, os.Args[1:], os.Stdout, os.Stderr, gateway.With{}))
}
