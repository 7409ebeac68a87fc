package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"github.com/llmaffinity/llmaffinity/examples/replay/internal/play"
	"github.com/llmaffinity/llmaffinity/examples/replay/internal/trace"
)

// command is what the flags say.
type command struct {
	traces     []func() (*trace.Trace, error)
	policies   []play.Policy
	identities []play.Identity
	config     play.Config
}

func parse(args []string, errs io.Writer) (*command, error) {
	c := &command{config: play.Config{}}
	f := pflag.NewFlagSet("replay", pflag.ContinueOnError)
	f.SetOutput(errs)
	var names []string
	for _, p := range play.Policies() {
		names = append(names, p.Name)
	}
	var shapeNames []string
	for _, s := range trace.Shapes() {
		shapeNames = append(shapeNames, s.Name)
	}
	policies := f.StringSliceP("policy", "p", nil, "policies to try: "+strings.Join(names, ", ")+", or all")
	shapes := f.StringSliceP("shape", "s", nil, "made-up traces to replay: "+strings.Join(shapeNames, ", ")+", or all")
	identity := f.StringP("identity", "i", "", "how requests name their session: id, content, recorded, both (default: recorded if the trace has headers, both if it has sessions, otherwise content)")
	f.IntVarP(&c.config.Auths, "auths", "a", 8, "how many auths there are")
	f.IntVarP(&c.config.Histories, "histories", "n", 20, "how many histories: in each, sessions begin up to 30 s earlier or later")
	f.DurationVar(&c.config.TTL, "ttl", 300*time.Second, "how long a prompt cache holds a block after its last use")
	f.Float64Var(&c.config.Prices.Uncached, "price", 3, "price of a million uncached prompt tokens")
	f.Float64Var(&c.config.Prices.Cached, "price-cached", 0.3, "price of a million cached prompt tokens")
	f.Float64Var(&c.config.Speed, "speed", 50, "tokens of an answer in a second; 0 is an answer that takes no time")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if c.config.Auths < 1 || c.config.Histories < 1 {
		return nil, errors.New("--auths and --histories must be at least 1")
	}
	if c.config.TTL <= 0 || c.config.Speed < 0 || math.IsNaN(c.config.Speed) {
		return nil, errors.New("--ttl must be above 0, and --speed not below")
	}
	switch id := play.Identity(*identity); id {
	case "":
	case "both":
		c.identities = []play.Identity{play.ByID, play.ByContent}
	case play.ByID, play.ByContent, play.AsRecorded:
		c.identities = []play.Identity{id}
	default:
		return nil, fmt.Errorf("--identity %q: it is id, content, recorded or both", *identity)
	}
	for _, file := range f.Args() {
		c.traces = append(c.traces, func() (*trace.Trace, error) { return trace.ReadFile(file) })
	}
	if err := c.shapes(*shapes); err != nil {
		return nil, err
	}
	if len(c.traces) == 0 {
		c.traces = append(c.traces, trace.Sample)
	}
	var err error
	c.policies, err = choose(*policies)
	return c, err
}

// shapes adds the made-up traces of these names.
func (c *command) shapes(names []string) error {
	if len(names) == 1 && names[0] == "all" {
		names = nil
		for _, s := range trace.Shapes() {
			names = append(names, s.Name)
		}
	}
	for _, name := range names {
		s, err := trace.ShapeOf(name)
		if err != nil {
			return fmt.Errorf("--shape: %w", err)
		}
		c.traces = append(c.traces, func() (*trace.Trace, error) { return s.Make(c.config.Auths), nil })
	}
	return nil
}

// choose returns the policies of these names.
func choose(names []string) (out []play.Policy, err error) {
	all := play.Policies()
	if len(names) == 1 && names[0] == "all" {
		return all, nil
	}
	for _, p := range all {
		if len(names) == 0 && p.Default {
			out = append(out, p)
		}
	}
	for _, name := range names {
		found := false
		for _, p := range all {
			if p.Name == name {
				out, found = append(out, p), true
			}
		}
		if !found {
			return nil, fmt.Errorf("--policy %q: there is no such policy", name)
		}
	}
	return out, nil
}

func (c *command) run(t *testing.T, out io.Writer) error {
	for _, load := range c.traces {
		tr, err := load()
		if err != nil {
			return err
		}
		if err := c.replay(t, out, tr); err != nil {
			return err
		}
	}
	return nil
}

func (c *command) replay(t *testing.T, out io.Writer, tr *trace.Trace) error {
	identities := c.identities
	switch {
	case identities != nil:
	case tr.Recorded:
		identities = []play.Identity{play.AsRecorded}
	case tr.Named:
		identities = []play.Identity{play.ByID, play.ByContent}
	default:
		identities = []play.Identity{play.ByContent}
	}
	for _, id := range identities {
		config := c.config
		config.Identity = id
		results, err := play.Run(t, tr, c.policies, config)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s, sessions by %s: %d requests of %d sessions, %.1f million prompt tokens, %d auths, %d histories\n",
			tr.Name, id, len(tr.Requests), tr.Sessions, float64(tr.Tokens())/1e6, config.Auths, config.Histories)
		table(out, c.policies, results)
	}
	return nil
}

// column is a column of the table: the median over the histories, and the worst.
type column struct {
	head   string
	format string
	of     func(play.Result) float64
	worst  func(a, b float64) float64
}

func columns() []column {
	return []column{
		{"quality", "%.3f", func(r play.Result) float64 { return r.Quality }, math.Min},
		{"max/mean", "%.3f", func(r play.Result) float64 { return r.Imbalance }, math.Max},
		{"60 s", "%.2f", func(r play.Result) float64 { return r.Minute }, math.Max},
		{"uncached", "%.2f", func(r play.Result) float64 { return r.Uncached }, math.Max},
		{"price", "%.2f", func(r play.Result) float64 { return r.Price }, math.Max},
		{"switches", "%.0f", func(r play.Result) float64 { return float64(r.Switches) }, math.Max},
		{"ns", "%.0f", func(r play.Result) float64 { return r.Nanos }, math.Max},
	}
}

func table(out io.Writer, policies []play.Policy, results [][]play.Result) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "policy")
	for _, c := range columns() {
		fmt.Fprint(w, "\t", c.head)
	}
	fmt.Fprintln(w)
	for i, p := range policies {
		fmt.Fprint(w, p.Name)
		for _, c := range columns() {
			var all []float64
			worst := c.of(results[i][0])
			for _, r := range results[i] {
				all = append(all, c.of(r))
				worst = c.worst(worst, c.of(r))
			}
			fmt.Fprintf(w, "\t"+c.format+" ("+c.format+")", play.Median(all), worst)
		}
		fmt.Fprintln(w)
	}
	w.Flush()
	fmt.Fprintln(out)
}
