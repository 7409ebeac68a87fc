package trace

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/examples/record"
	"github.com/llmaffinity/llmaffinity/selector"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// unknownOutput is how many tokens an answer has if the recording does not say.
const unknownOutput = 200

// ofRecording makes a trace of recorded requests. A prompt's blocks are those of its text, in
// the order in which providers read it: tools, system, messages. Its tokens are counted from
// the length of that text.
func ofRecording(name string, lines [][]byte) (*Trace, error) {
	t := &Trace{Name: name, Recorded: true}
	var h hasher
	var body, text []byte
	for i, line := range lines {
		q, err := record.ParseDigests(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		r := Request{At: q.At.Sub(time.Time{}), Header: q.Header, Path: q.Path, Output: q.Usage.Output, Took: q.Took, body: digests(q.Body)}
		if r.Output == 0 {
			r.Output = unknownOutput
		}
		body = r.AppendBody(body[:0], false)
		r.Model = sessionid.Model(body)
		text = prompt(text[:0], body)
		r.Input, r.Blocks = len(text)/tokenBytes, h.blocks(text)
		t.Requests = append(t.Requests, r)
	}
	t.Blocks = len(h.numbers)
	slices.SortStableFunc(t.Requests, func(a, b Request) int { return cmp.Compare(a.At, b.At) })
	first := t.Requests[0].At
	for i := range t.Requests {
		t.Requests[i].At -= first
	}
	return t, t.findSessions()
}

// digests is a body as the recording has it. Bodies are long, and their digests are not.
type digests []byte

func (d digests) appendTo(buf []byte, _ bool) []byte { return record.Expand(buf, d) }

func (d digests) appendAnswer(buf []byte) []byte { return buf } // answers are not recorded

// findSessions uses package affinity to find which requests belong to one session: a recording
// does not say so.
func (t *Trace) findSessions() error {
	s, err := affinity.Wrap(selector.FillFirst[string](), func(auth string) string { return auth }, nil)
	if err != nil {
		return err
	}
	defer s.Close()
	numbers := map[sessionid.Key]int{}
	var body []byte
	for i := range t.Requests {
		r := &t.Requests[i]
		body = r.AppendBody(body[:0], false)
		p, err := s.Pick(context.Background(), affinity.Request{Model: r.Model, Header: r.Header, Path: r.Path, Body: body}, []string{"any"})
		if err != nil {
			return err
		}
		p.Report(affinity.Served)
		n, ok := numbers[p.Decision.Session]
		if !ok || p.Decision.Session == (sessionid.Key{}) {
			n = t.Sessions
			numbers[p.Decision.Session] = n
			t.Sessions++
		}
		r.Session = n
	}
	return nil
}

// prompt appends the part of a body that a provider's prompt cache depends on.
func prompt(buf, body []byte) []byte {
	all := gjson.ParseBytes(body)
	if !all.IsObject() {
		return buf
	}
	for _, name := range []string{"tools", "functions", "system", "instructions", "systemInstruction", "system_instruction", "messages", "contents", "input", "prompt", "request"} {
		// This does not use Get, which takes some characters of a name as a pattern, and takes
		// the first of duplicates.
		all.ForEach(func(k, v gjson.Result) bool {
			if k.Str == name {
				buf = said(buf, v)
			}
			return true
		})
	}
	return buf
}

// said appends the strings in a value, except those that clients change from turn to turn.
func said(buf []byte, v gjson.Result) []byte {
	switch {
	case v.IsObject():
		v.ForEach(func(k, v gjson.Result) bool {
			switch k.Str {
			case "cache_control", "signature", "thoughtSignature", "thought_signature":
			default:
				buf = append(append(buf, k.Str...), ' ')
				buf = said(buf, v)
			}
			return true
		})
	case v.IsArray():
		v.ForEach(func(_, v gjson.Result) bool {
			buf = said(buf, v)
			return true
		})
	case v.Type == gjson.String:
		buf = append(buf, v.Raw[1:len(v.Raw)-1]...)
	default:
		buf = append(buf, v.Raw...)
	}
	return append(buf, ' ')
}
