package sessionid_test

import (
	"flag"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/llmaffinity/llmaffinity/sessionid"
)

var slowest = flag.Duration("slowest", 0, "search at least this long for bodies that are slow for their size")

// fragments makes bodies out of one small piece that is repeated. Each choice is
// one number of genes, so a body that is slow can be changed a little.
type fragments struct {
	genes []uint8
	at    int
}

func (f *fragments) next(n int) int {
	if f.at == len(f.genes) {
		return 0
	}
	f.at++
	return int(f.genes[f.at-1]) % n
}

var fragmentNames = []string{
	"a", `\u0061`, `a\/a`, "role", "type", "content", "parts", "text", "refusal", "id", "call_id", "tool_use_id", "tool_call_id", "name",
	"args", "arguments", "input", "action", "output", "result", "response", "tool_calls", "function", "functionCall", "functionResponse",
	"thought", "source", "image_url", "data", "a name that is longer than eight bytes", `\u0063ontent`,
}

func (f *fragments) value(depth int) string {
	n := 15
	if depth > 4 {
		n = 10
	}
	switch f.next(n) {
	case 0:
		return "1"
	case 1:
		return `""`
	case 2:
		return `"a"`
	case 3:
		return `"\u00e9"`
	case 4:
		return `"` + strings.Repeat([]string{`\"`, `\\`, `\/`, `\u00e9`, `\n`, `x`, `[{`, `\ud800`, `\uD83D\uDE00`}[f.next(9)], 1+f.next(200)) + `"`
	case 5:
		return "null"
	case 6:
		return "[]"
	case 7:
		return "{}"
	case 8:
		return []string{`"tool"`, `"user"`, `"assistant"`, `"function"`, `"system"`, `"text"`, `"tool_use"`, `"function_call"`, `"reasoning"`}[f.next(9)]
	case 9:
		return " " + f.value(depth+1)
	case 10, 11:
		var parts []string
		for range 1 + f.next(4) {
			parts = append(parts, f.value(depth+1))
		}
		return f.list(parts, "[", "]")
	default:
		var parts []string
		for range 1 + f.next(4) {
			parts = append(parts, `"`+fragmentNames[f.next(len(fragmentNames))]+`":`+f.value(depth+1))
		}
		return f.list(parts, "{", "}")
	}
}

// list repeats its parts a few times, or as often as one of the limits of
// package content allows.
func (f *fragments) list(parts []string, open, end string) string {
	n := []int{1, 1, 1, 2, 7, 60, 250}[f.next(7)]
	all := slices.Repeat(parts, max(1, min(n, 20000/len(strings.Join(parts, ",")))))
	return open + strings.Join(all, ",") + end
}

// body returns a body of about n bytes.
func (f *fragments) body(n int) []byte {
	f.at = 0
	head, tail := `{"messages":[`, `{}]}`
	switch f.next(9) {
	case 1:
		head, tail = `{"messages":[{"role":"user","content":[`, `1]}]}`
	case 2:
		head, tail = `{"contents":[{"role":"user","parts":[`, `1]}]}`
	case 3:
		head, tail = `{"input":[`, `1],"x":{}}`
	case 4:
		head, tail = `{"metadata":{"user_id":[`, `1]},"messages":[{"role":"user","content":"q"}]}`
	case 5:
		head, tail = `{"messages":[{"role":"user","content":"q"}],"x":[[`, `1]]}`
	case 6:
		head, tail = `{"messages":[{"role":"user","content":"q"}],"x":{"a":[`, `1]}}`
	case 7:
		head, tail = `{"request":{"contents":[`, `1]}}`
	case 8:
		head, tail = `{"messages":[{"role":"assistant","tool_calls":[`, `1]}]}`
	}
	piece := f.value(0) + ","
	return []byte(head + strings.Repeat(piece, max(1, n/len(piece))) + tail)
}

// perByte returns the least of several measurements, because others use the machine, too.
func perByte(body []byte, times int) float64 {
	least := time.Duration(1 << 62)
	for range times {
		start := time.Now()
		sink = sessionid.Extract(nil, body)
		least = min(least, time.Since(start))
	}
	return float64(least) / float64(len(body))
}

// BenchmarkTheSlowestBody searches for the body that costs most for its size, for b.N bodies or
// for the time of -slowest. It checks nothing: add what it prints to BenchmarkHostile.
func BenchmarkTheSlowestBody(b *testing.B) {
	type found struct {
		genes []uint8
		cost  float64 // as a multiple of a normal body of that size
	}
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	var best []found
	sizes := []int{40 << 10, 200 << 10, 1 << 20}
	normal := map[int]float64{}
	for _, n := range sizes {
		normal[n] = perByte(benchBody("claude", n, "", ""), 50)
	}
	measure := func(genes []uint8, times int) float64 {
		worst := 0.0
		for _, n := range sizes[:2] {
			f := fragments{genes: genes}
			worst = max(worst, perByte(f.body(n), times)/normal[n])
		}
		return worst
	}
	start := time.Now()
	for tried := 0; tried < b.N || time.Since(start) < *slowest; tried++ {
		genes := make([]uint8, 40)
		for i := range genes {
			genes[i] = uint8(rng.Uint32())
		}
		if len(best) > 0 && rng.IntN(4) > 0 {
			copy(genes, best[rng.IntN(len(best))].genes)
			for range 1 + rng.IntN(3) {
				genes[rng.IntN(len(genes))] = uint8(rng.Uint32())
			}
		}
		cost := measure(genes, 3)
		if len(best) == 20 && cost < best[19].cost {
			continue
		}
		cost = measure(genes, 10)
		best = append(best, found{genes, cost})
		slices.SortFunc(best, func(a, b found) int { return int(1000 * (b.cost - a.cost)) })
		// Of bodies that begin alike only the slowest is kept, so that the bodies differ.
		seen := map[string]bool{}
		best = slices.DeleteFunc(best, func(b found) bool {
			f := fragments{genes: b.genes}
			text := string(f.body(1))
			text = text[:min(len(text), 45)]
			gone := seen[text]
			seen[text] = true
			return gone
		})
		best = best[:min(len(best), 20)]
	}
	for _, body := range best {
		f := fragments{genes: body.genes}
		b.Logf("%5.1f times: %.200s", body.cost, f.body(1))
	}
	if len(best) > 0 {
		b.ReportMetric(best[0].cost, "x")
	}
}
