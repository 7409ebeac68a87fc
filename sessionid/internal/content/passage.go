package content

import (
	"bytes"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/llmaffinity/llmaffinity/sessionid/internal/jsontext"
)

// A client that compacts a conversation may put the summary that the model has
// answered inside a text of its own. Then no message is equal to the answer, but that
// text contains lines of the answer unchanged. A passage is a run of such lines. The keys
// of a few passages are taken from the answer to a request that speaks of a summary. The
// keys of all passages are taken from a text that stands in place of earlier messages.
//
// A client may cut a part off the summary, or put words before and after it. So the
// passages with the least sums are taken from an answer. They are scattered over the
// answer, and do not depend on the text around them.
const (
	// leastPassage is how many letters and digits a passage has at least. Qwen Code puts
	// a sentence of 133, on a line of its own, after each summary.
	leastPassage = 160
	mostLines    = 32 // of a passage
	// keptPassages are taken from an answer, soughtPassages from a request.
	keptPassages   = 3
	soughtPassages = 128
	// A text of more bytes or lines is no summary.
	longestText = 1 << 20
	maxLines    = 1 << 14
)

const tagPassage = 0xa24baed4963ee407

// passages are the least sums of passages, in ascending order.
type passages struct {
	sums []uint64
	most int
}

// line is a line of a text.
type line struct {
	sum    uint64
	weight int
}

// read takes the passages of a text.
func (p *passages) read(text string) {
	var lines []line
	for s := range strings.Lines(text) {
		s = bare(s)
		w := weightOf(s)
		if w == 0 {
			continue
		}
		if len(lines) == maxLines {
			break
		}
		lines = append(lines, line{xxhash.Sum64String(s), w})
	}
	for i := range lines {
		sum, weight := uint64(tagPassage), 0
		for _, l := range lines[i:min(len(lines), i+mostLines)] {
			sum = Fold(sum, l.sum)
			if weight += l.weight; weight >= leastPassage {
				p.add(sum)
				break
			}
		}
	}
}

// add takes a sum if it is among the least.
func (p *passages) add(sum uint64) {
	i, found := slices.BinarySearch(p.sums, sum)
	if found || i == p.most {
		return
	}
	if len(p.sums) == p.most {
		p.sums = p.sums[:p.most-1]
	}
	p.sums = slices.Insert(p.sums, i, sum)
}

func (p *passages) keys() []Key {
	keys := make([]Key, len(p.sums))
	for i, sum := range p.sums {
		keys[i] = markOf(tagPassage, sum)
	}
	return keys
}

// bare returns a line without the blanks and the tags at its ends. A client may put a
// summary between tags, in the same line.
func bare(s string) string {
	for {
		s = strings.TrimSpace(s)
		if strings.HasPrefix(s, "<") {
			if i := strings.IndexByte(s, '>'); i > 0 {
				s = s[i+1:]
				continue
			}
		}
		if strings.HasSuffix(s, ">") {
			if i := strings.LastIndexByte(s, '<'); i >= 0 {
				s = s[:i]
				continue
			}
		}
		return s
	}
}

// weightOf returns how many letters and digits a text has. A byte that is not ASCII counts
// as one.
func weightOf(s string) (n int) {
	for i := 0; i < len(s); i++ {
		if classes[s[i]]&^inUUID != other || s[i] >= 0x80 {
			n++
		}
	}
	return n
}

// drafts are tags around the draft that a model writes before its summary. Qwen Code and
// Claude Code ask for an analysis, Gemini CLI for a scratchpad. The clients cut it off.
var drafts = [...]string{"analysis", "scratchpad", "thinking", "think"}

// withoutDrafts returns an answer without its drafts.
func withoutDrafts(text string) string {
	for _, tag := range drafts {
		open, end := "<"+tag+">", "</"+tag+">"
		if !strings.Contains(text, open) {
			continue
		}
		var kept strings.Builder
		for {
			before, behind, ok := strings.Cut(text, open)
			_, rest, closed := strings.Cut(behind, end)
			if !ok || !closed {
				break
			}
			kept.WriteString(before)
			kept.WriteByte('\n')
			text = rest
		}
		kept.WriteString(text)
		text = kept.String()
	}
	return text
}

// PassagesIn returns the keys of the passages in a request's summaries, at most 128. It
// returns none if no text in the first messages says that it stands for earlier messages.
func PassagesIn(body []byte) []Key {
	t := textsIn(body)
	p := passages{most: soughtPassages}
	for i, raw := range t {
		if beginsSummary(raw) {
			p.read(decoded(raw))
		}
		if i > 0 && bytes.HasPrefix(raw, thanks) {
			p.read(decoded(t[i-1]))
		}
	}
	return p.keys()
}

// passagesOf returns the keys of passages of an answer. body has the answer's messages as
// a request's body has them.
func passagesOf(body []byte) []Key {
	t := textsIn(body)
	p := passages{most: keptPassages}
	for _, raw := range t {
		p.read(withoutDrafts(decoded(raw)))
	}
	return p.keys()
}

// decoded returns a text without escapes, or "" if it is too long for a summary.
func decoded(raw []byte) string {
	if len(raw) > longestText {
		return ""
	}
	var buf jsontext.Scratch
	return jsontext.Unquote(raw, &buf)
}

// textsIn returns the texts of the first messages of a body, as they are spelled.
func textsIn(body []byte) [][]byte {
	c, isObject := jsontext.NewCursor(body)
	if !isObject {
		return nil
	}
	t := texts{Cursor: &c}
	for {
		name, v, ok := c.Member()
		if !ok {
			return t.all
		}
		switch i := slices.Index(Members[:], string(name)); {
		case i == memberRequest:
			t.value(v, -1)
		case i >= 0:
			t.value(v, 0)
		case v.Form == jsontext.Open:
			c.Pass()
		}
	}
}

// texts gathers the texts of the first messages that a cursor walks over.
type texts struct {
	*jsontext.Cursor
	all [][]byte
}

// maxTexts is how many texts are gathered.
const maxTexts = 256

// value takes the texts of a value that the cursor has just returned. The messages are a
// list at depth 0.
func (t *texts) value(v jsontext.Value, depth int) {
	switch {
	case v.Raw[0] == '"':
		if len(t.all) < maxTexts {
			t.all = append(t.all, v.Raw)
		}
	case v.Form != jsontext.Open:
	case depth > maxDepth:
		t.Pass()
	case v.Raw[0] == '[':
		for n := 0; ; n++ {
			v, ok := t.Element()
			switch {
			case !ok:
				return
			case depth > 0 || n < summaryWithin:
				t.value(v, depth+1)
			case v.Form == jsontext.Open:
				t.Pass()
			}
		}
	default:
		t.object(depth)
	}
}

func (t *texts) object(depth int) {
	before, thought := len(t.all), false
	for {
		name, v, ok := t.Member()
		if !ok {
			if thought {
				t.all = t.all[:before]
			}
			return
		}
		switch string(name) {
		case "content", "parts", "text", "contents":
			t.value(v, depth+1)
			continue
		case "thought":
			thought = string(v.Raw) == "true"
		}
		if v.Form == jsontext.Open {
			t.Pass()
		}
	}
}
