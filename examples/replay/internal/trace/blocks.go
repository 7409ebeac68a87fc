package trace

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// blockRequest is a line of a trace that has the blocks of each prompt and no text.
type blockRequest struct {
	Session *int    `json:"session"`
	Millis  float64 `json:"timestamp"`
	Input   int     `json:"input_length"`
	Output  int     `json:"output_length"`
	Blocks  []int64 `json:"hash_ids"`
}

// The bounds of a line's values: two hundred years, and a hundred million tokens.
const (
	maxMillis = 200 * 365 * 24 * 3600 * 1000
	maxTokens = 100_000_000
)

// check returns what is wrong with a line.
func (r *blockRequest) check() error {
	switch {
	case !(r.Millis >= 0 && r.Millis <= maxMillis):
		return fmt.Errorf("timestamp is %v, which is out of range", r.Millis)
	case r.Input < 0 || r.Input > maxTokens:
		return fmt.Errorf("input_length is %d, which is out of range", r.Input)
	case r.Output < 0 || r.Output > maxTokens:
		return fmt.Errorf("output_length is %d, which is out of range", r.Output)
	}
	return nil
}

// ofBlocks makes a trace of requests that have blocks. If they have no sessions, each request
// is a conversation of its own, unless its blocks continue the prompt of an earlier one.
func ofBlocks(name string, lines []blockRequest) *Trace {
	slices.SortStableFunc(lines, func(a, b blockRequest) int { return cmp.Compare(a.Millis, b.Millis) })
	t := &Trace{Name: name, Named: true, Requests: make([]Request, len(lines))}
	numbers, sessions := map[int64]int32{}, map[int]int{}
	for i, l := range lines {
		r := &t.Requests[i]
		r.At = time.Duration((l.Millis - lines[0].Millis) * float64(time.Millisecond))
		r.Input, r.Output, r.Model = l.Input, l.Output, model
		r.Blocks = make([]int32, len(l.Blocks))
		for j, id := range l.Blocks {
			n, ok := numbers[id]
			if !ok {
				n = int32(len(numbers))
				numbers[id] = n
			}
			r.Blocks[j] = n
		}
		if l.Session == nil {
			t.Named = false
			continue
		}
		n, ok := sessions[*l.Session]
		if !ok {
			n = len(sessions)
			sessions[*l.Session] = n
		}
		r.Session = n
	}
	t.Blocks, t.Sessions = len(numbers), len(sessions)
	if !t.Named {
		t.Sessions = findConversations(t.Requests)
	}
	render(t)
	return t
}

// full returns how many blocks of a prompt are full.
func (r *Request) full() int { return min(r.Input/BlockTokens, len(r.Blocks)) }

// continues is the least number of full blocks that a prompt must have so that another one can
// continue it: a first block that all prompts share is no evidence.
const continues = 2

// findConversations numbers the conversations of requests that have no sessions, and returns
// how many there are.
func findConversations(all []Request) (n int) {
	ends := map[int32]int{} // the last full block of a prompt -> its conversation
	for i := range all {
		r := &all[i]
		r.Session = -1
		// A block stands at one place of one path, so its number says which blocks are before
		// it.
		for j := len(r.Blocks) - 1; j >= continues-1 && r.Session < 0; j-- {
			if s, ok := ends[r.Blocks[j]]; ok {
				r.Session = s
			}
		}
		if r.Session < 0 {
			r.Session = n
			n++
		}
		if f := r.full(); f >= continues {
			ends[r.Blocks[f-1]] = r.Session
		}
	}
	return n
}

// end is where a prompt ended: after so many tokens of a block with a number of its own, which
// follows its last full block.
type end struct {
	rest   int32
	tokens int
}

// ended is a prompt that ended somewhere.
type ended struct {
	end
	by *Request
}

// cutBy is a place where a text is cut because an earlier prompt ended there.
type cutBy struct {
	at int
	by *Request
}

// cut cuts the text where earlier prompts ended. The answer to such a prompt follows it, and
// after that comes something else.
func (r *rendered) cut(all []cutBy) {
	for i, c := range all {
		to := r.bytes
		if i+1 < len(all) {
			to = all[i+1].at
		}
		answer := max(0, min(c.by.Output*tokenBytes, to-c.at-tokenBytes))
		r.cuts = append(r.cuts, cut{c.at, answer})
		if p := c.by.body.(*rendered); p.goesOn == nil && answer > 0 {
			p.goesOn, p.from, p.to = r, c.at, c.at+answer
		}
	}
}

// before names the place in the tree of prefixes before the i-th block of a prompt.
func before(blocks []int32, i int) int32 {
	if i == 0 {
		return -1
	}
	return blocks[i-1]
}

// end returns where the prompt ended, and the place in the tree that this is behind.
func (r *Request) end() (at int32, e end) {
	f := r.full()
	if f < len(r.Blocks) {
		e = end{r.Blocks[f], r.Input - f*BlockTokens}
	}
	return before(r.Blocks, f), e
}

// render gives each request its body. It cuts the text into messages where earlier prompts of
// the same session ended. A prompt mostly ends inside a block. Its last part has a block
// number of its own, although it is the beginning of a full block in the prompt that continues
// it. So it takes its text from that full block.
func render(t *Trace) {
	texts := make(aliases, t.Blocks)
	for i := range texts {
		texts[i] = int32(i)
	}
	sessions := make([][]*Request, t.Sessions)
	for i := range t.Requests {
		r := &t.Requests[i]
		sessions[r.Session] = append(sessions[r.Session], r)
	}
	for _, session := range sessions {
		texts.learn(session)
	}
	for _, session := range sessions {
		ends := map[int32][]ended{}
		for _, r := range session {
			b := &rendered{texts: make([]int32, len(r.Blocks)), bytes: min(r.Input, len(r.Blocks)*BlockTokens) * tokenBytes}
			for i, block := range r.Blocks {
				b.texts[i] = texts.of(block)
			}
			var all []cutBy
			for i := range r.Blocks {
				var cuts []cutBy
				for _, e := range ends[before(r.Blocks, i)] {
					if at := (i*BlockTokens + e.tokens) * tokenBytes; at > 0 && at < b.bytes && (e.tokens == 0 || texts.of(e.rest) == b.texts[i]) {
						cuts = append(cuts, cutBy{at, e.by})
					}
				}
				slices.SortStableFunc(cuts, func(a, b cutBy) int { return cmp.Compare(a.at, b.at) })
				cuts = slices.CompactFunc(cuts, func(a, b cutBy) bool { return a.at == b.at })
				all = append(all, cuts...)
			}
			b.cut(all)
			r.body = b
			at, e := r.end()
			if !slices.ContainsFunc(ends[at], func(f ended) bool { return f.end == e }) {
				ends[at] = append(ends[at], ended{e, r})
			}
		}
	}
}

// aliases says which block's text each block has.
type aliases []int32

func (a aliases) of(block int32) int32 {
	for a[block] != block {
		block = a[block]
	}
	return block
}

// learn finds the unfinished last blocks in a session's prompts, and the full blocks that
// continue them.
func (a aliases) learn(session []*Request) {
	open := map[int32][]end{}
	for _, r := range session {
		for i, block := range r.Blocks {
			at := before(r.Blocks, i)
			open[at] = slices.DeleteFunc(open[at], func(e end) bool {
				if r.Input <= i*BlockTokens+e.tokens {
					return false
				}
				if a[e.rest] == e.rest && a.of(block) != e.rest {
					a[e.rest] = a.of(block)
				}
				return true
			})
			if len(open[at]) == 0 {
				delete(open, at)
			}
		}
		if at, e := r.end(); e.tokens > 0 {
			open[at] = append(open[at], e)
		}
	}
}
