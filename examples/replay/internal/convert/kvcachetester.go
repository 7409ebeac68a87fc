package convert

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/llmaffinity/llmaffinity/examples/replay/internal/trace"
)

// kvTrace is a file of kv-cache-tester: a session of a coding agent.
type kvTrace struct {
	BlockSize int         `json:"block_size"`
	Scope     string      `json:"hash_id_scope"` // "global": equal ids of different files are equal blocks
	Requests  []kvRequest `json:"requests"`
}

// kvRequest is a request, or a subagent with requests of its own.
type kvRequest struct {
	T      float64 `json:"t"`    // seconds since the beginning of the file, or of the subagent
	Type   string  `json:"type"` // s: streamed; n: not; subagent
	Input  int     `json:"in"`
	Output int     `json:"out"`
	Blocks []int64 `json:"hash_ids"` // of the full blocks

	Requests []kvRequest `json:"requests"`
}

// kvLine is a line of the trace.
type kvLine struct {
	Session int     `json:"session"`
	Millis  int64   `json:"timestamp"`
	Input   int     `json:"input_length"`
	Output  int     `json:"output_length"`
	Blocks  []int64 `json:"hash_ids"`
}

// kvCacheTester converts a folder with files of kv-cache-tester. They are taken in the order of
// their names.
//
// A session is a file, or a subagent in it. Claude Code asks for some answers twice, first streamed
// and then not; the second request of such a pair is left out. Eight blocks of 64 tokens become
// one block, and so do the fewer than eight at the end of a prompt.
func kvCacheTester(w io.Writer, dir string, o Options) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("%s: there are no .json files", dir)
	}
	c := kvConverter{tree: map[kvNode]int64{}}
	for i, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := c.add(i, text, o.Idle); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	b := bufio.NewWriter(w)
	e := json.NewEncoder(b)
	c.keep(o.Only)
	for _, line := range c.begun(o.AtOnce) {
		if err := e.Encode(line); err != nil {
			return err
		}
	}
	return b.Flush()
}

// mergedBlocks is the largest number of kv-cache-tester's blocks that become one.
const mergedBlocks = 8

// kvNode is a block of a prompt: the node of a tree whose paths are the beginnings of prompts.
type kvNode struct {
	before int64 // the block before it, or a root
	blocks [mergedBlocks]int64
	n      int
}

// kvConverter has read some files.
type kvConverter struct {
	tree     map[kvNode]int64
	files    [][]kvLine // in the order of time, which counts from the file's first request
	sessions int
}

// add reads a file.
func (c *kvConverter) add(number int, text []byte, idle time.Duration) error {
	var t kvTrace
	if err := json.Unmarshal(text, &t); err != nil {
		return err
	}
	if t.BlockSize <= 0 || trace.BlockTokens%t.BlockSize != 0 || trace.BlockTokens/t.BlockSize > mergedBlocks {
		return fmt.Errorf("block_size is %d, want 64, 128, 256 or %d", t.BlockSize, trace.BlockTokens)
	}
	root := int64(-1)
	if t.Scope != "global" {
		root -= int64(number) + 1
	}
	var lines []kvLine
	if err := c.session(&lines, t.Requests, 0, root, trace.BlockTokens/t.BlockSize); err != nil {
		return err
	}
	if len(lines) == 0 {
		return nil
	}
	slices.SortStableFunc(lines, func(a, b kvLine) int { return cmp.Compare(a.Millis, b.Millis) })
	// What happens in a file happens in one session of a user: while a subagent works, the
	// session is not idle.
	before, cut := lines[0].Millis, lines[0].Millis
	for i := range lines {
		pause := lines[i].Millis - before
		before = lines[i].Millis
		if idle > 0 {
			cut += max(0, pause-idle.Milliseconds())
		}
		lines[i].Millis -= cut
	}
	c.files = append(c.files, lines)
	return nil
}

// maxSeconds is the latest time of a request: a hundred years.
const maxSeconds = 100 * 365 * 24 * 3600

// session adds the lines of a session, which begins at start, and of its subagents.
func (c *kvConverter) session(lines *[]kvLine, requests []kvRequest, start float64, root int64, merge int) error {
	number, has := -1, *lines
	var last *kvRequest
	var subagents []kvRequest
	for i := range requests {
		r := &requests[i]
		if !(start+r.T >= 0 && start+r.T <= maxSeconds) {
			return fmt.Errorf("request %d: t is %v, which is out of range", i, r.T)
		}
		if r.Type == "subagent" {
			subagents = append(subagents, *r)
			continue
		}
		again := r.Type == "n" && last != nil && last.Type == "s" && r.Input == last.Input && slices.Equal(r.Blocks, last.Blocks)
		last = r
		if again {
			continue
		}
		if number < 0 {
			number = c.sessions
			c.sessions++
		}
		has = append(has, kvLine{number, int64(math.Round((start + r.T) * 1000)), r.Input, r.Output, c.path(r.Blocks, root, merge)})
	}
	*lines = has
	for _, s := range subagents {
		if err := c.session(lines, s.Requests, start+s.T, root, merge); err != nil {
			return fmt.Errorf("subagent: %w", err)
		}
	}
	return nil
}

// path returns the blocks of a prompt.
func (c *kvConverter) path(blocks []int64, at int64, merge int) []int64 {
	out := make([]int64, 0, (len(blocks)+merge-1)/merge)
	for from := 0; from < len(blocks); from += merge {
		node := kvNode{before: at, n: min(merge, len(blocks)-from)}
		copy(node.blocks[:], blocks[from:from+node.n])
		id, ok := c.tree[node]
		if !ok {
			id = int64(len(c.tree))
			c.tree[node] = id
		}
		out, at = append(out, id), id
	}
	return out
}

// keep drops all sessions except those in only.
func (c *kvConverter) keep(only []int) {
	if only == nil {
		return
	}
	wanted := map[int]bool{}
	for _, n := range only {
		wanted[n] = true
	}
	for i := range c.files {
		c.files[i] = slices.DeleteFunc(c.files[i], func(l kvLine) bool { return !wanted[l.Session] })
	}
	c.files = slices.DeleteFunc(c.files, func(lines []kvLine) bool { return len(lines) == 0 })
}

// The first sessions begin at times within begin. Each later one begins when another one has ended
// and the time next has passed.
const (
	begin = time.Minute
	next  = 5 * time.Second
)

// begun returns the lines of all files in the order of time. At most atOnce files run at the same
// time.
func (c *kvConverter) begun(atOnce int) (all []kvLine) {
	if atOnce <= 0 {
		atOnce = len(c.files)
	}
	rng := rand.New(rand.NewPCG(64, 1))
	var ends []int64 // the ends of the files that run
	for _, lines := range c.files {
		start := rng.Int64N(begin.Milliseconds())
		if len(ends) == atOnce {
			first := slices.Index(ends, slices.Min(ends))
			start = ends[first] + next.Milliseconds()
			ends = slices.Delete(ends, first, first+1)
		}
		for _, l := range lines {
			l.Millis += start
			all = append(all, l)
		}
		ends = append(ends, start+lines[len(lines)-1].Millis)
	}
	slices.SortStableFunc(all, func(a, b kvLine) int { return cmp.Compare(a.Millis, b.Millis) })
	return all
}
