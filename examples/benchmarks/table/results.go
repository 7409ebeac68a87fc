package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// row is a case of a benchmark: the parameters in its name, and the numbers of all that were
// measured in this case, one for each run.
type row struct {
	params []param
	of     map[string]map[string][]float64 // by who, by unit
}

type param struct{ name, value string }

// results has the rows of each benchmark, in the order of the output.
type results struct {
	rows map[string][]*row
	// machine has the lines of the output that describe the machine: the CPU, and the cores and the
	// Go version that run.sh prints.
	machine []string
}

var (
	line   = regexp.MustCompile(`^Benchmark(\w+)/(\S+?)(?:-(\d+))?\s+\d+\s+(.*)$`)
	metric = regexp.MustCompile(`(\S+)\s+(\S+)`)
)

// read reads the output of go test -bench, of any number of runs.
func read(r io.Reader) (*results, error) {
	res := &results{rows: map[string][]*row{}}
	in := bufio.NewScanner(r)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		text := in.Text()
		for _, prefix := range []string{"machine: ", "cpu: "} {
			if v, ok := strings.CutPrefix(text, prefix); ok && !slices.Contains(res.machine, v) {
				res.machine = append(res.machine, v)
			}
		}
		if strings.HasPrefix(text, "--- FAIL") || strings.HasPrefix(text, "panic:") {
			return nil, fmt.Errorf("a benchmark has failed: %s", text)
		}
		m := line.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		if err := res.add(m[1], m[2], m[3], m[4]); err != nil {
			return nil, fmt.Errorf("%w in %q", err, text)
		}
	}
	if err := in.Err(); err != nil {
		return nil, err
	}
	if len(res.rows) == 0 {
		return nil, errors.New("no benchmark was run")
	}
	return res, nil
}

func (res *results) add(benchmark, name, cores, metrics string) error {
	if cores == "" {
		cores = "1"
	}
	who := ""
	var params []param
	for _, part := range strings.Split(name, "/") {
		k, v, ok := strings.Cut(part, "=")
		if !ok {
			return fmt.Errorf("%s is not name=value", part)
		}
		if k == "who" {
			who = v
			continue
		}
		params = append(params, param{k, v})
	}
	params = append(params, param{"cores", cores})
	i := slices.IndexFunc(res.rows[benchmark], func(r *row) bool { return slices.Equal(r.params, params) })
	if i < 0 {
		i = len(res.rows[benchmark])
		res.rows[benchmark] = append(res.rows[benchmark], &row{params, map[string]map[string][]float64{}})
	}
	r := res.rows[benchmark][i]
	if r.of[who] == nil {
		r.of[who] = map[string][]float64{}
	}
	for _, m := range metric.FindAllStringSubmatch(metrics, -1) {
		v, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return err
		}
		r.of[who][m[2]] = append(r.of[who][m[2]], v)
	}
	return nil
}
