package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// marker marks a table of a README:
//
//	<!-- table Pick unit=ns/op over=floor where=candidates:8 -->
//	…
//	<!-- end -->
//
// The lines between are replaced. Those behind <!-- machine --> describe the machine. over adds by
// how much the library is slower than another, run by run. where takes only the rows with that
// value.
var machine = regexp.MustCompile(`(?s)(<!-- machine -->\n).*?(<!-- end -->)`)

var marker = regexp.MustCompile(`(?s)(<!-- table (\w+)([^>]*?) -->\n).*?(<!-- end -->)`)

// renew returns a README with its tables made again.
func renew(readme string, res *results) (string, error) {
	var failed error
	n := 0
	out := marker.ReplaceAllStringFunc(readme, func(old string) string {
		n++
		m := marker.FindStringSubmatch(old)
		t := table{unit: "ns/op"}
		for _, o := range strings.Fields(m[3]) {
			k, v, _ := strings.Cut(o, "=")
			switch k {
			case "unit":
				t.unit = v
			case "over":
				t.over = v
			case "where":
				k, v, _ := strings.Cut(v, ":")
				t.where = append(t.where, param{k, v})
			default:
				failed = errors.Join(failed, fmt.Errorf("%s: unknown option %s, want unit, over or where", m[1], k))
			}
		}
		text, err := t.markdown(res.rows[m[2]])
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", strings.TrimSpace(m[1]), err))
		}
		return m[1] + text + m[4]
	})
	if n == 0 {
		failed = errors.New("the README has no table to renew")
	}
	out = machine.ReplaceAllString(out, "${1}"+strings.ReplaceAll(res.where(), "$", "$$")+"\n${2}")
	return out, failed
}

// where returns a text that describes the machine and the number of runs.
func (res *results) where() string {
	runs := 0
	for _, rows := range res.rows {
		for _, r := range rows {
			for _, units := range r.of {
				for _, v := range units {
					runs = max(runs, len(v))
				}
			}
		}
	}
	return fmt.Sprintf("Measured on: %s. Runs: %d.", strings.Join(res.machine, ", "), runs)
}

type table struct {
	unit, over string
	where      []param
}

func (t *table) markdown(rows []*row) (string, error) {
	rows = slices.DeleteFunc(slices.Clone(rows), func(r *row) bool {
		return slices.ContainsFunc(t.where, func(p param) bool { return !slices.Contains(r.params, p) }) || !t.measured(r)
	})
	if len(rows) == 0 {
		return "", errors.New("the results have nothing for this table")
	}
	// Parameters that are the same in all rows are no columns: the text above the table has them.
	var names, whos []string
	for _, r := range rows {
		for _, p := range r.params {
			if !slices.Contains(names, p.name) && slices.ContainsFunc(rows, func(o *row) bool { return !slices.Contains(o.params, p) }) {
				names = append(names, p.name)
			}
		}
		for who := range r.of {
			if !slices.Contains(whos, who) {
				whos = append(whos, who)
			}
		}
	}
	slices.SortFunc(whos, func(a, b string) int { return strings.Compare(rank(a), rank(b)) })
	head := slices.Concat(names, whos)
	if t.over != "" {
		head = append(head, "llmaffinity / "+t.over)
	}
	var b strings.Builder
	b.WriteString("| " + strings.Join(head, " | ") + " |\n|" + strings.Repeat("---|", len(head)) + "\n")
	for _, r := range rows {
		var cells []string
		for _, name := range names {
			i := slices.IndexFunc(r.params, func(p param) bool { return p.name == name })
			if i < 0 {
				cells = append(cells, "")
				continue
			}
			cells = append(cells, count(r.params[i].value))
		}
		for _, who := range whos {
			cells = append(cells, spread(r.of[who][t.unit], func(v float64) string { return human(v, t.unit) }))
		}
		if t.over != "" {
			cells = append(cells, spread(ratios(r.of["llmaffinity"][t.unit], r.of[t.over][t.unit]), times))
		}
		b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
	return b.String(), nil
}

func (t *table) measured(r *row) bool {
	for _, units := range r.of {
		if len(units[t.unit]) > 0 {
			return true
		}
	}
	return false
}

// rank puts the library first and the floor second.
func rank(who string) string {
	switch who {
	case "llmaffinity":
		return "0"
	case "floor":
		return "1"
	}
	return "2" + who
}

// ratios returns the ratios of two results, run by run. In a run both were measured one after the
// other, so most noise cancels out.
func ratios(a, b []float64) (out []float64) {
	for i := range min(len(a), len(b)) {
		if b[i] != 0 {
			out = append(out, a[i]/b[i])
		}
	}
	return out
}

// spread returns the median of values, and the least and the greatest if they differ in print.
func spread(v []float64, text func(float64) string) string {
	if len(v) == 0 {
		return ""
	}
	v = slices.Sorted(slices.Values(v))
	median := (v[(len(v)-1)/2] + v[len(v)/2]) / 2
	if low, high := text(v[0]), text(v[len(v)-1]); low != high {
		return fmt.Sprintf("%s (%s–%s)", text(median), low, high)
	}
	return text(median)
}

func times(v float64) string { return digits(v) + "×" }

// human returns a number with three digits and a suitable unit.
func human(v float64, unit string) string {
	switch {
	case strings.HasSuffix(unit, "-ns"), unit == "ns/op":
		for _, u := range []string{"ns", "µs", "ms"} {
			if v < 999.5 {
				return digits(v) + " " + u
			}
			v /= 1000
		}
		return digits(v) + " s"
	case strings.HasSuffix(unit, "-ms"):
		return digits(v) + " ms"
	case strings.HasPrefix(unit, "B/"):
		return digits(v) + " B"
	}
	return digits(v)
}

// digits returns a number with three digits.
func digits(v float64) string {
	decimals := 0
	if v != float64(int64(v)) {
		for x := 100.0; decimals < 2 && v < x-0.5; x /= 10 {
			decimals++
		}
	}
	return strconv.FormatFloat(v, 'f', decimals, 64)
}

// count returns a value. If it is a long number, it gets commas.
func count(v string) string {
	if n, err := strconv.Atoi(v); err == nil && n >= 10_000 {
		for i := len(v) - 3; i > 0; i -= 3 {
			v = v[:i] + "," + v[i:]
		}
	}
	return v
}
