package gateway

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// price is a list price in dollars per million tokens. These are an example,
// close to a large coding model's: reading from the cache costs a tenth.
var price = struct{ input, cached, output float64 }{input: 3.00, cached: 0.30, output: 15.00}

func (r *run) uncached() uint64 { return r.prompt - r.cached }

func (r *run) dollars() float64 {
	return (float64(r.uncached())*price.input + float64(r.cached)*price.cached + float64(r.output)*price.output) / 1e6
}

func (r *run) share() float64 { return 100 * float64(r.cached) / float64(max(r.prompt, 1)) }

// ratio returns how many times as many uncached tokens a has as b.
func ratio(a, b *run) float64 { return float64(a.uncached()) / float64(max(b.uncached(), 1)) }

// printTable prints the runs side by side. The first is the control, and the second has
// affinity.
func printTable(w io.Writer, runs []*run, o demoOptions) {
	fmt.Fprintf(w, "\n%d conversations of %d turns over %d auths (a simulated provider, one prompt cache per auth)\n\n", o.conversations, o.turns, o.auths)
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	row := func(name string, cell func(*run) string) {
		fmt.Fprint(t, name, "\t")
		for _, r := range runs {
			fmt.Fprint(t, cell(r), "\t")
		}
		fmt.Fprintln(t)
	}
	row("", func(r *run) string { return r.name })
	row("requests", func(r *run) string { return fmt.Sprint(r.requests) })
	row("failed for the client", func(r *run) string { return fmt.Sprint(r.failed) })
	row("prompt tokens", func(r *run) string { return fmt.Sprint(r.prompt) })
	row("cached", func(r *run) string { return fmt.Sprint(r.cached) })
	row("uncached", func(r *run) string { return fmt.Sprint(r.uncached()) })
	row("cached share", func(r *run) string { return fmt.Sprintf("%.1f %%", r.share()) })
	row("price", func(r *run) string { return fmt.Sprintf("$%.2f", r.dollars()) })
	row("switches of auth", func(r *run) string {
		n := 0
		for _, k := range r.switches {
			n += k
		}
		return fmt.Sprint(n)
	})
	t.Flush()
	fmt.Fprintf(w, "\nPrices per million tokens: $%.2f uncached, $%.2f cached, $%.2f output (an example list).\n", price.input, price.cached, price.output)
	for _, r := range runs {
		fmt.Fprintf(w, "\n%s\n  requests per auth: %s\n", r.name, perAuth(r.perAuth))
		for _, reason := range slices.Sorted(maps.Keys(r.switches)) {
			fmt.Fprintf(w, "  switches: %d, %s\n", r.switches[reason], reason)
		}
	}
	fmt.Fprintf(w, "\nWithout affinity: %.1f times as many uncached prompt tokens as with it.\n", ratio(runs[0], runs[1]))
}

func perAuth(m map[string]int) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, fmt.Sprintf("%s %d", name, m[name]))
	}
	return strings.Join(out, ", ")
}
