package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"text/tabwriter"

	"github.com/llmaffinity/llmaffinity/examples/replay/internal/chart"
	"github.com/llmaffinity/llmaffinity/examples/replay/internal/play"
)

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
		{"60s", "%.2f", func(r play.Result) float64 { return r.Minute }, math.Max},
		{"uncached", "%.2f", func(r play.Result) float64 { return r.Uncached }, math.Max},
		{"price", "%.2f", func(r play.Result) float64 { return r.Price }, math.Max},
		{"switches", "%.0f", func(r play.Result) float64 { return float64(r.Switches) }, math.Max},
		{"refused", "%.0f", func(r play.Result) float64 { return float64(r.Refused) }, math.Max},
		{"ns", "%.0f", func(r play.Result) float64 { return r.Nanos }, math.Max},
	}
}

// part is one replay of one trace.
type part struct {
	trace    string
	identity play.Identity
	policies []play.Policy
	results  [][]play.Result // by policy and history
}

// table writes the median over the histories of each number, and the worst in brackets. It
// leaves out a number that is 0 in all of them.
func (p part) table(out io.Writer) {
	var shown []column
	for _, c := range columns() {
		for _, results := range p.results {
			for _, r := range results {
				if c.of(r) != 0 && (len(shown) == 0 || shown[len(shown)-1].head != c.head) {
					shown = append(shown, c)
				}
			}
		}
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "policy")
	for _, c := range shown {
		fmt.Fprint(w, "\t", c.head)
	}
	fmt.Fprintln(w)
	for i, policy := range p.policies {
		fmt.Fprint(w, policy.Name)
		for _, c := range shown {
			var all []float64
			worst := c.of(p.results[i][0])
			for _, r := range p.results[i] {
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

// writeCSV writes a line for each history of each policy.
func writeCSV(file string, parts []part) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	w := csv.NewWriter(f)
	head := []string{"trace", "identity", "policy", "history"}
	for _, c := range columns() {
		head = append(head, c.head)
	}
	w.Write(head)
	for _, p := range parts {
		for i, policy := range p.policies {
			for _, r := range p.results[i] {
				line := []string{p.trace, string(p.identity), policy.Name, strconv.FormatUint(r.History, 10)}
				for _, c := range columns() {
					line = append(line, strconv.FormatFloat(c.of(r), 'g', 6, 64))
				}
				w.Write(line)
			}
		}
	}
	w.Flush()
	return w.Error()
}

// draw draws the plots of a part into a folder, and returns the files.
func (p part) draw(dir string) (files []string, err error) {
	name := p.trace + "-" + string(p.identity)
	title := p.trace + ", sessions by " + string(p.identity)
	files, err = chart.Balance(dir, name, title, p.policies, p.results)
	if err != nil {
		return nil, err
	}
	for i, policy := range p.policies {
		of := middle(p.results[i])
		more, err := chart.Load(dir, name+"-load-"+policy.Name,
			fmt.Sprintf("%s: %s, max/mean %.2f", title, policy.Name, of.Imbalance), of.Load)
		if err != nil {
			return nil, err
		}
		files = append(files, more...)
	}
	return files, nil
}

// middle returns the history whose balance is nearest to the median.
func middle(results []play.Result) play.Result {
	var all []float64
	for _, r := range results {
		all = append(all, r.Imbalance)
	}
	m, best := play.Median(all), results[0]
	for _, r := range results {
		if math.Abs(r.Imbalance-m) < math.Abs(best.Imbalance-m) {
			best = r
		}
	}
	return best
}
