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
	f.Var(&upstreams, "upstream", "`name,api,url,ENV_OF_KEY[,ENV_OF_KEY…]`; api is anthropic, openai, gemini or any; repeat it for more")
	f.StringVar(&c.source.config, "config", "", "JSON `file` with routing and upstreams, see below")
	f.StringVar(&c.listen, "listen", "127.0.0.1:8080", "`address` to serve on")
	f.BoolVar(&c.stay, "serve", false, "serve with the simulated provider instead of the demo")
	f.BoolVar(&c.toolCalls, "tool-calls", false, "with -serve: the simulated provider calls the first tool that a request offers whenever the user has the last word")
	withAffinity := f.Bool("affinity", true, "keep sessions on their auth; -affinity=false is the control")
	f.BoolVar(&c.header, "decision-header", false, "answer with "+decisionHeader+", which names the decision and the auth")
	f.IntVar(&c.auths, "auths", demoDefaults.auths, "auths of the simulated provider")
	f.IntVar(&c.conversations, "conversations", demoDefaults.conversations, "conversations of the demo")
	f.IntVar(&c.turns, "turns", demoDefaults.turns, "turns of each")
	f.DurationVar(&c.slow, "slow", 30*time.Second, "an auth is slow when the first token of a stream takes longer, again and again; 0 is never")
	f.Func("balance", "even out the load of the auths by the tokens that each was sent: `off`, new (only new and cold sessions) or moving (sessions with a short prompt, too)", func(s string) error {
		for c.balance = affinity.BalanceOff; c.balance.String() != s; c.balance++ {
			if c.balance == affinity.BalanceMoving {
				return fmt.Errorf("off, new or moving")
			}
		}
		return nil
	})
	f.DurationVar(&c.patience, "patience", defaultPatience, "how long a request may wait for the auth where its prompt cache is warm, if that asks to be left alone; 0 never waits")
	f.StringVar(&c.keep.file, "state", "", "`file` that keeps the sessions over a restart; beside it there will be file.key")
	f.DurationVar(&c.keep.every, "state-every", defaultStateEvery, "how often -state is written, besides at the end")
	f.StringVar(&c.keep.url, "store", "", "`URL` of a store that several gateways share, such as redis://127.0.0.1:6379; by default it is embedded")
	f.StringVar(&c.keep.key, "tenant-key", "", "`ENV_OF_SECRET` that the names of callers in -state and -store are made of; by default it is in file.key, or made of the URL of the store")
	f.StringVar(&c.admin.listen, "admin", "", "`address` of a page for operators, such as 127.0.0.1:8081; it has no login")
	f.BoolVar(&c.admin.write, "admin-write", false, "let that page drain and invalidate auths, and send sessions away")
	f.Var(c.prices, "price", "`model=prompt,cached,written,output`: what a million tokens cost, in any currency; the model can end in *; repeat it for more")
	f.StringVar(&c.record, "record", "", "new `file` for a recording of the requests, for examples/replay: when they came, how long they were, which began alike; what was said is not in it")
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
		return c, usagef("-serve is for the simulated provider: leave it out, with -config and -upstream the gateway serves anyway")
	}
	if c.toolCalls && !c.stay {
		return c, usagef("-tool-calls is for the simulated provider of -serve")
	}
	if !c.stay && c.simulated && (c.keep.file != "" || c.keep.url != "") {
		return c, usagef("-state and -store are for a gateway that serves, with -upstream, -config or -serve")
	}
	if !c.stay && c.simulated && c.admin.listen != "" {
		return c, usagef("-admin is for a gateway that serves, with -upstream, -config or -serve")
	}
	if !c.stay && c.simulated && c.record != "" {
		return c, usagef("-record is for a gateway that serves, with -upstream, -config or -serve")
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
			return usagef("write -%s=%s: behind a blank the value belongs to no flag", before.Name, args[n])
		}
	}
	return usagef("argument %d belongs to no flag", n+1)
}

// help prints the usage.
func (c *command) help(w io.Writer) {
	fmt.Fprintln(w, "Usage: gateway [flags]\n\nWithout -serve, -config and -upstream it shows the difference that affinity makes.\n\nFlags:")
	c.flags.SetOutput(w)
	c.flags.PrintDefaults()
	fmt.Fprint(w, configUsage, usage)
}

const configUsage = `
A -config file looks like this; routing and its members may be missing:

  {
    "routing": {"strategy": "round-robin", "session-affinity": true, "session-affinity-ttl": "1h"},
    "upstreams": [
      {"name": "a", "api": "anthropic", "url": "https://api.anthropic.com", "tier": 1,
       "keys": ["KEY_1", {"env": "KEY_2", "name": "work"}], "key_file": "keys"}
    ]
  }

strategy is round-robin, fill-first, random or rendezvous. keys are environment variables.
key_file has a key a line, "name=key" or "key", and is relative to the file's folder. An
auth without a name is called by its upstream and a digest of its key. Upstreams of the
highest tier go first. Both files are read again when they change, and on SIGHUP. The
environment of a running process does not change: a key that comes later goes into a
key_file. If something is wrong with a file, all stays as it was and the log says why.

-state keeps the sessions over a restart. Both files are for their owner only. A gateway
that is killed has the state of -state-every ago. A state that cannot be read is called
file.unread from then on, and the gateway begins without sessions. Names of auths must
last: give keys a name, or leave them as they are.
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
