package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/pflag"

	"github.com/llmaffinity/llmaffinity/examples/replay/internal/convert"
	"github.com/llmaffinity/llmaffinity/examples/replay/internal/play"
	"github.com/llmaffinity/llmaffinity/examples/replay/internal/trace"
)

// command holds the values of the flags.
type command struct {
	traces     []func() (*trace.Trace, error)
	policies   []play.Policy
	identities []play.Identity
	config     play.Config
	csv, plots string
	convert    string
	source     string // the path of what is converted
	conversion convert.Options
	errs       io.Writer
	progress   bool
}

func parse(args []string, errs io.Writer) (*command, error) {
	c := &command{errs: errs}
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
	f.IntVarP(&c.config.Auths, "auths", "a", 8, "number of auths")
	f.IntVarP(&c.config.Histories, "histories", "n", 20, "number of histories; in each of them, sessions begin up to 30 s earlier or later")
	f.DurationVar(&c.config.TTL, "ttl", 300*time.Second, "how long a prompt cache holds a block after its last use")
	f.Float64Var(&c.config.Prices.Uncached, "price", 3, "price of a million uncached prompt tokens")
	f.Float64Var(&c.config.Prices.Cached, "price-cached", 0.3, "price of a million cached prompt tokens")
	f.Float64Var(&c.config.Speed, "speed", 50, "tokens of an answer per second; 0: answers take no time")
	f.BoolVar(&c.config.Answers, "answers", false, "tell the library the answers, as affinityhttp does; it then distinguishes conversations that begin with the same words")
	f.StringVar(&c.csv, "csv", "", "write the numbers to this file, one line for each history")
	f.StringVar(&c.plots, "plots", "", "write plots to this folder, as SVG and PNG")
	f.BoolVar(&c.progress, "progress", isTerminal(os.Stderr), "show the progress")
	f.StringVar(&c.convert, "convert", "", "convert a folder or a file to a trace, and write it to stdout; its format is "+strings.Join(convert.Sources, " or "))
	f.DurationVar(&c.conversion.Idle, "idle", time.Hour, "with --convert kv-cache-tester: cut the pauses of a session to this length; 0: cut none")
	f.IntVar(&c.conversion.AtOnce, "at-once", 64, "with --convert kv-cache-tester: number of sessions that run at the same time; 0: all")
	f.IntSliceVar(&c.conversion.Only, "only", nil, "with --convert kv-cache-tester: convert only the sessions with these numbers")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if c.convert != "" {
		if f.NArg() != 1 || c.conversion.Idle < 0 || c.conversion.AtOnce < 0 {
			return nil, errors.New("--convert needs one path, and --idle and --at-once of at least 0")
		}
		if !slices.Contains(convert.Sources, c.convert) {
			return nil, fmt.Errorf("--convert is %q, want %s", c.convert, strings.Join(convert.Sources, " or "))
		}
		c.source = f.Arg(0)
		return c, nil
	}
	if c.config.Auths < 1 || c.config.Histories < 1 {
		return nil, errors.New("--auths and --histories must be at least 1")
	}
	if c.config.TTL <= 0 || c.config.Speed < 0 || math.IsNaN(c.config.Speed) {
		return nil, errors.New("--ttl must be above 0, and --speed at least 0")
	}
	for _, price := range []float64{c.config.Prices.Uncached, c.config.Prices.Cached} {
		if !(price >= 0) || math.IsInf(price, 1) {
			return nil, errors.New("--price and --price-cached must be numbers of at least 0")
		}
	}
	switch id := play.Identity(*identity); id {
	case "":
	case "both":
		c.identities = []play.Identity{play.ByID, play.ByContent}
	case play.ByID, play.ByContent, play.AsRecorded:
		c.identities = []play.Identity{id}
	default:
		return nil, fmt.Errorf("--identity is %q, want id, content, recorded or both", *identity)
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

// isTerminal reports whether f is a terminal.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
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
	var parts []part
	for _, load := range c.traces {
		tr, err := load()
		if err != nil {
			return err
		}
		for _, id := range c.identitiesOf(tr) {
			p, err := c.replay(t, out, tr, id)
			if err != nil {
				return err
			}
			parts = append(parts, p)
		}
	}
	if c.csv != "" {
		return writeCSV(c.csv, parts)
	}
	return nil
}

// identitiesOf returns how the requests of a trace are to name their sessions.
func (c *command) identitiesOf(tr *trace.Trace) []play.Identity {
	switch {
	case c.identities != nil:
		return c.identities
	case tr.Recorded:
		return []play.Identity{play.AsRecorded}
	case tr.Named:
		return []play.Identity{play.ByID, play.ByContent}
	}
	return []play.Identity{play.ByContent}
}

// replay replays a trace, prints the table and draws the plots.
func (c *command) replay(t *testing.T, out io.Writer, tr *trace.Trace, id play.Identity) (part, error) {
	if id == play.AsRecorded && !tr.Recorded {
		return part{}, fmt.Errorf("%s: --identity recorded needs a recording, and this trace has no headers", tr.Name)
	}
	config := c.config
	config.Identity = id
	title := fmt.Sprintf("%s, sessions by %s", tr.Name, id)
	bar := progressbar.NewOptions(config.Histories,
		progressbar.OptionSetWriter(c.errs),
		progressbar.OptionSetDescription(title),
		progressbar.OptionSetVisibility(c.progress),
		progressbar.OptionShowCount(),
		progressbar.OptionClearOnFinish(),
	)
	config.Progress = func() { bar.Add(1) } // an error of the terminal is no reason to stop
	results, err := play.Run(t, tr, c.policies, config)
	if err != nil {
		return part{}, err
	}
	bar.Finish()
	p := part{tr.Name, id, c.policies, results}
	fmt.Fprintf(out, "%s: %d requests of %d sessions, %.1f million prompt tokens; %d auths; the median (the worst) of %d histories\n",
		title, len(tr.Requests), tr.Sessions, float64(tr.Tokens())/1e6, config.Auths, config.Histories)
	p.table(out)
	if c.plots == "" {
		return p, nil
	}
	if err := os.MkdirAll(c.plots, 0o755); err != nil {
		return part{}, err
	}
	files, err := p.draw(c.plots)
	if err != nil {
		return part{}, err
	}
	fmt.Fprintf(out, "plots: %s\n\n", strings.Join(files, " "))
	return p, nil
}
