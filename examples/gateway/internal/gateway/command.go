package gateway

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/cache"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// command holds the values of the command line.
type command struct {
	flags *flag.FlagSet
	demoOptions
	source    source
	listen    string
	simulated bool // no real upstreams
	stay      bool // -serve
	toolCalls bool // by the simulated provider
	header    bool
	slow      time.Duration
	balance   affinity.Balance
	patience  time.Duration
	verbose   bool
	keep      keeping
	admin     admin
	prices    Prices
	record    string
}

// defaultStateEvery bounds what a gateway loses when it is killed.
const defaultStateEvery = 30 * time.Second

// parseCommand reads the command line. Its errors are usageErrors, or flag.ErrHelp.
func parseCommand(args []string, stores Stores) (*command, error) {
	c := &command{flags: flag.NewFlagSet("gateway", flag.ContinueOnError), source: source{getenv: os.Getenv}, prices: Prices{}}
	f := c.flags
	f.SetOutput(io.Discard) // the caller prints the error, once
	var upstreams upstreamFlag
	f.Var(&upstreams, "upstream", "`name,api,url,ENV_OF_KEY[,ENV_OF_KEY…]`; api is anthropic, openai, gemini or any; repeat the flag for more upstreams")
	f.StringVar(&c.source.config, "config", "", "JSON `file` with routing and upstreams, see below")
	f.StringVar(&c.listen, "listen", "127.0.0.1:8080", "`address` to serve on")
	f.BoolVar(&c.stay, "serve", false, "serve with the simulated provider, instead of running the demo")
	f.BoolVar(&c.toolCalls, "tool-calls", false, "with -serve: the simulated provider calls the first tool of a request whose last message is the user's")
	withAffinity := f.Bool("affinity", true, "keep sessions on their auth; -affinity=false turns that off, for a comparison")
	f.BoolVar(&c.header, "decision-header", false, "add "+decisionHeader+" to answers; it names the decision and the auth")
	f.IntVar(&c.auths, "auths", demoDefaults.auths, "number of auths of the simulated provider")
	f.IntVar(&c.conversations, "conversations", demoDefaults.conversations, "number of conversations of the demo")
	f.IntVar(&c.turns, "turns", demoDefaults.turns, "number of turns of each conversation")
	f.DurationVar(&c.slow, "slow", 30*time.Second, "an auth counts as slow if the first token of its streams takes longer, several times in a row; 0: no auth counts as slow")
	f.Func("balance", "level the load of the auths, by the tokens that each was sent: `off`, new (place new and cold sessions) or moving (also move sessions with a short prompt)", func(s string) error {
		for c.balance = affinity.BalanceOff; c.balance.String() != s; c.balance++ {
			if c.balance == affinity.BalanceMoving {
				return fmt.Errorf("want off, new or moving")
			}
		}
		return nil
	})
	f.DurationVar(&c.patience, "patience", defaultPatience, "how long a request may wait for an auth that is away, if its prompt cache there is warm; 0: no request waits")
	f.StringVar(&c.keep.file, "state", "", "`file` that keeps the sessions over a restart; the gateway also writes file.key")
	f.DurationVar(&c.keep.every, "state-every", defaultStateEvery, "how often the file of -state is written; it is also written at the end")
	f.StringVar(&c.keep.url, "store", "", "`URL` of a store that several gateways share, such as redis://127.0.0.1:6379; by default the store is in memory")
	f.StringVar(&c.keep.key, "tenant-key", "", "`ENV_OF_SECRET`: environment variable with a secret that hides the names of callers in -state and -store; by default the secret is in file.key, or is made of the URL of the store")
	f.StringVar(&c.admin.listen, "admin", "", "`address` of a page for operators, such as 127.0.0.1:8081; it has no login")
	f.BoolVar(&c.admin.write, "admin-write", false, "let that page drain and invalidate auths, and send sessions away")
	f.Var(c.prices, "price", "`model=prompt,cached,written,output`: prices of a million tokens, in any currency; the model may end in *; repeat the flag for more models")
	f.StringVar(&c.record, "record", "", "new `file` for a recording of the requests, for examples/replay: when they came, how long they were, and which began alike; it has no text of them")
	f.BoolVar(&c.verbose, "v", false, "log every request")
	switch err := f.Parse(args); {
	case err == flag.ErrHelp:
		return c, err
	case err != nil:
		return c, usageError{err}
	case f.NArg() > 0:
		return c, leftover(f, args)
	case c.auths < 1 || c.conversations < 1 || c.turns < 1:
		return c, usagef("-auths, -conversations and -turns must be at least 1")
	case c.slow < 0:
		return c, usagef("-slow must not be negative")
	case c.patience < 0:
		return c, usagef("-patience must not be negative")
	}
	f.Visit(func(given *flag.Flag) {
		if given.Name == "affinity" {
			c.source.affinity = withAffinity
		}
	})
	var err error
	if c.source.upstreams, err = upstreams.upstreams(); err != nil {
		return c, err
	}
	c.simulated = len(upstreams) == 0 && c.source.config == ""
	if c.stay && !c.simulated {
		return c, usagef("-serve is for the simulated provider: leave it out, because with -config or -upstream the gateway serves anyway")
	}
	if c.toolCalls && !c.stay {
		return c, usagef("-tool-calls needs -serve")
	}
	if !c.stay && c.simulated && (c.keep.file != "" || c.keep.url != "") {
		return c, usagef("-state and -store need -upstream, -config or -serve")
	}
	if !c.stay && c.simulated && c.admin.listen != "" {
		return c, usagef("-admin needs -upstream, -config or -serve")
	}
	if !c.stay && c.simulated && c.record != "" {
		return c, usagef("-record needs -upstream, -config or -serve")
	}
	if err := c.admin.check(); err != nil {
		return c, err
	}
	return c, c.keep.check(stores, c.source.getenv)
}

// leftover returns the error for arguments that belong to no flag. The error does not show
// them, because one could be a key.
func leftover(f *flag.FlagSet, args []string) error {
	n := len(args) - f.NArg()
	if n > 0 {
		before := f.Lookup(strings.TrimLeft(args[n-1], "-"))
		if _, err := strconv.ParseBool(args[n]); err == nil && before != nil && strings.HasPrefix(args[n-1], "-") {
			return usagef("write -%s=%s: after a blank, the value belongs to no flag", before.Name, args[n])
		}
	}
	return usagef("argument %d belongs to no flag", n+1)
}

// help prints the usage.
func (c *command) help(w io.Writer) {
	fmt.Fprintln(w, "Usage: gateway [flags]\n\nWithout -serve, -config and -upstream it runs a demo, which compares a plain balancer with affinity.\n\nFlags:")
	c.flags.SetOutput(w)
	c.flags.PrintDefaults()
	fmt.Fprint(w, configUsage, usage)
}

const configUsage = `
A -config file looks like this. routing and its members are optional:

  {
    "routing": {"strategy": "round-robin", "session-affinity": true, "session-affinity-ttl": "1h"},
    "upstreams": [
      {"name": "a", "api": "anthropic", "url": "https://api.anthropic.com", "tier": 1,
       "keys": ["KEY_1", {"env": "KEY_2", "name": "work"}], "key_file": "keys"}
    ]
  }

strategy is round-robin, fill-first, random or rendezvous. keys are the names of environment
variables. key_file has one key a line, as "name=key" or "key". Its path is relative to the
folder of the -config file. An auth without a name is named after its upstream and a digest
of its key. Upstreams of a higher tier are used first. Both files are read again when they
change, and on SIGHUP. The environment of a running process does not change, so write a new
key into a key_file. If a file has an error, the configuration stays as it was, and the log
says why.

-state keeps the sessions over a restart. Only their owner can read the file and file.key.
After a crash, the state is as old as -state-every at most. If the gateway cannot read a
state, it renames the file to file.unread and begins without sessions. Sessions are stored
by the names of their auths: give each key a name, or do not change the keys.
`

// summary counts all decisions.
func summary(s affinity.Stats) string {
	var parts []string
	count := func(n uint64, what string) {
		if n != 0 {
			parts = append(parts, fmt.Sprint(n, " ", what))
		}
	}
	for o := range s.Picks {
		count(s.Outcome(affinity.Outcome(o)), affinity.Outcome(o).String())
	}
	// Of the new sessions, those whose past is not known, and what is seen of it.
	for past, n := range s.Lost {
		count(n, "lost "+sessionid.Past(past).String())
	}
	for why, n := range s.Removed {
		count(n, "removed "+cache.Cause(why).String())
	}
	count(s.Again, "reported again")
	count(s.Unreported(), "not reported")
	count(s.StoreFailed, "store failures")
	if len(parts) == 0 {
		return "decisions: there were none"
	}
	return "decisions: " + strings.Join(parts, ", ")
}
