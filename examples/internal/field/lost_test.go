//go:build !race

package field

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// rewrite returns the messages that a client sends in place of the whole history.
type rewrite func(messages []json.RawMessage) []json.RawMessage

func roleOf(m json.RawMessage) string {
	var v struct{ Role string }
	if err := json.Unmarshal(m, &v); err != nil {
		panic(err)
	}
	return v.Role
}

// lastMessages keeps the system prompt and the last k messages.
func lastMessages(k int) rewrite {
	return func(all []json.RawMessage) []json.RawMessage {
		if len(all) <= k+1 {
			return all
		}
		return append(all[:1:1], all[len(all)-k:]...)
	}
}

// windowFromUser keeps the system prompt and, of the last k messages, those from the
// first user message on, as LangChain's trim_messages(strategy="last",
// start_on="human") does. If there is no user message among them, it keeps all k.
func windowFromUser(k int) rewrite {
	return func(all []json.RawMessage) []json.RawMessage {
		window := all[max(1, len(all)-k):]
		for i, m := range window {
			if roleOf(m) == "user" {
				window = window[i:]
				break
			}
		}
		return append(all[:1:1], window...)
	}
}

// answersIn returns how many answers a history has.
func answersIn(all []json.RawMessage) (n int) {
	for _, m := range all {
		if roleOf(m) == "assistant" {
			n++
		}
	}
	return n
}

// withContent returns a message with another content.
func withContent(m json.RawMessage, content any) json.RawMessage {
	var v map[string]any
	if err := json.Unmarshal(m, &v); err != nil {
		panic(err)
	}
	v["content"] = content
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func textOf(m json.RawMessage) string {
	var v struct{ Content string }
	if err := json.Unmarshal(m, &v); err != nil {
		panic(err)
	}
	return v.Content
}

// firstEdited changes the text of the first user message from some answer on. All
// else stays.
func firstEdited(answers int) rewrite {
	return func(all []json.RawMessage) []json.RawMessage {
		if answersIn(all) < answers {
			return all
		}
		out := append([]json.RawMessage(nil), all...)
		out[1] = withContent(all[1], "Today is Friday. "+textOf(all[1]))
		return out
	}
}

// imageDropped puts an image into the first user message, and takes it out from some
// answer on.
func imageDropped(answers int) rewrite {
	return func(all []json.RawMessage) []json.RawMessage {
		text := textOf(all[1])
		parts := []any{map[string]any{"type": "text", "text": text}}
		if answersIn(all) < answers {
			image := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("image of "+text, 20)))
			parts = append(parts, map[string]any{"type": "image_url", "image_url": map[string]any{"url": "data:image/png;base64," + image}})
		}
		out := append([]json.RawMessage(nil), all...)
		out[1] = withContent(all[1], parts)
		return out
	}
}

// compacted replaces the older messages by a summary after every twelve messages,
// and keeps the last user turns. Between two summaries the history only grows.
func compacted(turns int) rewrite {
	return func(all []json.RawMessage) []json.RawMessage {
		at := len(all) / 12 * 12
		if at == 0 {
			return all
		}
		start := at
		for seen := 0; start > 1 && seen < turns; {
			if start--; roleOf(all[start]) == "user" {
				seen++
			}
		}
		text, err := json.Marshal(map[string]string{"role": "user", "content": fmt.Sprintf("Summary of the conversation so far. The user said: %.80s", all[1])})
		if err != nil {
			panic(err)
		}
		return append(append(all[:1:1], text), all[max(start, 1):]...)
	}
}

// summaryOf is a summary of messages: what was said, a line each.
func summaryOf(messages []json.RawMessage) string {
	var b strings.Builder
	for _, m := range messages[1:] {
		if role, text := roleOf(m), textOf(m); text != "" && role != "tool" {
			fmt.Fprintf(&b, "- the %s said: %.300s\n", role, strings.Join(strings.Fields(text), " "))
		}
	}
	return b.String()
}

// summarized are the requests of a conversation whose client asks for a summary once, half
// way, and goes on with a text of its own that has the answer inside.
func summarized(c Conversation) (all []lostRequest) {
	var head []json.RawMessage // in place of the first messages
	from := 0
	for i, m := range c.Messages {
		if roleOf(m) != "assistant" {
			continue
		}
		if head == nil && i >= len(c.Messages)/2 && roleOf(c.Messages[i-1]) == "user" {
			summary := summaryOf(c.Messages[:i-1])
			say := func(role, text string) json.RawMessage {
				return withContent(json.RawMessage(`{"role":"`+role+`"}`), text)
			}
			asked := append(c.Messages[:i-1:i-1], say("user", "Please create a detailed summary of the conversation so far."))
			all = append(all, lostRequest{c.Session, len(all), false, asked, say("assistant", summary)})
			from = i - 1
			head = append(c.Messages[:1:1], say("user", "Some of the conversation history has been summarized.\n<summary>\n"+summary+"</summary>"))
		}
		messages := append(head[:len(head):len(head)], c.Messages[from:i]...)
		all = append(all, lostRequest{c.Session, len(all), from == i-1, messages, m})
	}
	return all
}

// trimmed clears all tool results but the last k. Some agents do that.
func trimmed(k int) rewrite {
	return func(all []json.RawMessage) []json.RawMessage {
		out := append([]json.RawMessage(nil), all...)
		for i := len(out) - 1; i >= 0; i-- {
			if roleOf(out[i]) != "tool" {
				continue
			}
			if k--; k >= 0 {
				continue
			}
			var m map[string]json.RawMessage
			if err := json.Unmarshal(out[i], &m); err != nil {
				panic(err)
			}
			m["content"] = json.RawMessage(`"[old result cleared]"`)
			b, err := json.Marshal(m)
			if err != nil {
				panic(err)
			}
			out[i] = b
		}
		return out
	}
}

// withOwnIDs gives the tool calls of each conversation ids of its own, as providers
// make them. In the airline data one id stands in up to 28 conversations.
func withOwnIDs(all []Conversation) []Conversation {
	out := slices.Clone(all)
	for i, c := range out {
		own := fmt.Sprintf("%x", sha256.Sum256([]byte(c.Session)))[:8]
		out[i].Messages = nil
		for _, m := range c.Messages {
			text := regexp.MustCompile(`"call_[0-9A-Za-z]+`).ReplaceAllString(string(m), "${0}"+own)
			out[i].Messages = append(out[i].Messages, json.RawMessage(text))
		}
	}
	return out
}

// lostRequest is one request of a conversation whose history its client rewrites.
type lostRequest struct {
	session  string
	turn     int
	cut      bool // the history was rewritten
	messages []json.RawMessage
	answer   json.RawMessage
}

// lostCase is a way in which clients rewrite their histories.
type lostCase struct {
	name       string
	re         rewrite
	own        bool    // calls have ids of their own
	answers    bool    // the gateway hands the answers back
	real, made float64 // per cent of the follow-ups that must find their session; of the made-up ones, 0 if these are not measured
}

var lostCases = []lostCase{
	{"untouched", func(all []json.RawMessage) []json.RawMessage { return all }, false, false, 99.9, 99.9},
	{"last 4 messages", lastMessages(4), false, false, 25, 0},
	{"last 4 messages, ids of their own", lastMessages(4), true, false, 93, 0},
	{"last 6 messages", lastMessages(6), false, false, 97, 99},
	{"last 8 messages", lastMessages(8), false, false, 98, 0},
	{"last 12 messages", lastMessages(12), false, false, 99, 0},
	{"last 20 messages", lastMessages(20), false, false, 99, 0},
	{"last 4 messages from a user's on", windowFromUser(4), false, false, 40, 42},
	{"last 6 messages from a user's on", windowFromUser(6), false, false, 86, 86},
	{"last 8 messages from a user's on", windowFromUser(8), false, false, 93, 93},
	{"last 4 messages from a user's on, ids of their own", windowFromUser(4), true, false, 65, 62.5},
	{"last 6 messages from a user's on, ids of their own", windowFromUser(6), true, false, 87, 86.5},
	{"last 8 messages from a user's on, ids of their own", windowFromUser(8), true, false, 93, 93.5},
	{"last 4 messages from a user's on, with answers", windowFromUser(4), true, true, 75, 76},
	{"last 6 messages from a user's on, with answers", windowFromUser(6), true, true, 89.5, 89.5},
	{"last 8 messages from a user's on, with answers", windowFromUser(8), true, true, 94.5, 95},
	{"summary and last turn", compacted(1), false, false, 91, 90.5},
	{"summary and last 2 turns", compacted(2), false, false, 98, 98},
	{"summary and last 3 turns", compacted(3), false, false, 99, 0},
	{"summary inside a text, with answers", nil, true, true, 99.5, 99.5},
	{"old tool results cleared but 2", trimmed(2), false, false, 99, 0},
	{"old tool results cleared but 4", trimmed(4), false, false, 99, 0},
	{"first message edited", firstEdited(3), false, false, 99, 0},
	{"image dropped from the first message", imageDropped(2), false, false, 97, 0},
}

// found counts the follow-ups of a case by what they have found.
type found struct {
	follow, kept, lost, twins int
	cut, cutKept, unseen      int // of those that were rewritten
}

func percent(n, of int) float64 { return 100 * float64(n) / float64(max(of, 1)) }

// measure sends the requests of all conversations at the same time. They are known by content
// only. It counts the requests that find their session again: of all follow-ups, and of the ones
// whose history was rewritten. A few of these show nothing that was seen before and cannot be
// found. None may find a stranger's session, which began with other words than the request does.
func (c lostCase) measure(t *testing.T, data []Conversation) (f found) {
	opening := map[string]string{}
	for _, conv := range data {
		opening[conv.Session] = string(conv.Messages[1])
	}
	if c.own {
		data = withOwnIDs(data)
	}
	var all []lostRequest
	for _, conv := range data {
		if c.re == nil {
			all = append(all, summarized(conv)...)
			continue
		}
		turn := 0
		for i, m := range conv.Messages {
			if roleOf(m) != "assistant" {
				continue
			}
			messages := c.re(conv.Messages[:i:i])
			cut := len(messages) != i || i > 1 && string(messages[1]) != string(conv.Messages[1])
			all = append(all, lostRequest{conv.Session, turn, cut, messages, m})
			turn++
		}
	}
	s := newSticky(t)
	home := map[string]sessionid.Key{}       // conversation -> its binding
	owner := map[sessionid.Key]lostRequest{} // binding -> the request that made it
	seen := map[string]bool{}                // conversation and message
	for _, r := range Interleave(all, func(r lostRequest) string { return r.session }, rand.New(rand.NewPCG(1, 1))) {
		body, err := json.Marshal(map[string]any{"model": "m", "messages": r.messages})
		require.NoError(t, err)
		p, err := s.Pick(t.Context(), affinity.Request{Body: body}, auths)
		require.NoError(t, err)
		if c.answers {
			answer, err := json.Marshal(map[string]any{"choices": []any{map[string]any{"message": r.answer}}})
			require.NoError(t, err)
			require.NoError(t, p.Answered(t.Context(), sessionid.ReadAnswer(answer)))
		}
		p.Report(affinity.Served)
		d := p.Decision
		if r.turn > 0 {
			f.follow++
			if r.cut {
				f.cut++
				if !slices.ContainsFunc(r.messages[1:], func(m json.RawMessage) bool { return seen[r.session+string(m)] }) {
					f.unseen++
				}
			}
			switch {
			case d.Session == home[r.session]:
				f.kept++
				if r.cut {
					f.cutKept++
				}
			case d.Outcome != affinity.OutcomeHit:
				f.lost++
			case opening[owner[d.Session].session] == opening[r.session], begins(r.messages, owner[d.Session].messages):
				f.twins++
			default:
				t.Errorf("%s, request %d: it has found the session of %s, which began with other words", r.session, r.turn, owner[d.Session].session)
			}
		}
		home[r.session] = d.Session
		if _, ok := owner[d.Session]; !ok {
			owner[d.Session] = r
		}
		for _, m := range append(r.messages[1:len(r.messages):len(r.messages)], r.answer) {
			seen[r.session+string(m)] = c.answers || string(m) != string(r.answer)
		}
	}
	return f
}

// measureLost measures the cases that have a bar, and prints a table.
func measureLost(t *testing.T, data []Conversation, bar func(lostCase) float64) {
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\nwhat is sent\tfollow-ups\tfind their session\ta twin's\tnone\tcut off\tof these, show nothing seen before\tfind their session\t")
	for _, c := range lostCases {
		least := bar(c)
		if least == 0 {
			continue
		}
		f := c.measure(t, data)
		fmt.Fprintf(w, "%s\t%d\t%.1f %%\t%d\t%d\t%d\t%.1f %%\t%.1f %%\t\n",
			c.name, f.follow, percent(f.kept, f.follow), f.twins, f.lost, f.cut, percent(f.unseen, f.cut), percent(f.cutKept, f.cut))
		if share := percent(f.kept, f.follow); share < least {
			t.Errorf("%s: %.2f %% of the follow-ups have found their session, want at least %v %%", c.name, share, least)
		}
	}
	w.Flush()
	t.Log(table.String())
}

// A follow-up of a made-up conversation finds its session, although its client rewrites the
// history.
func TestGeneratedHistoriesFindTheirSession(t *testing.T) {
	measureLost(t, Generated(), func(c lostCase) float64 { return c.made })
}

// begins reports whether a request begins with all messages of another one.
func begins(messages, with []json.RawMessage) bool {
	return len(messages) >= len(with) && slices.EqualFunc(messages[:len(with)], with, func(a, b json.RawMessage) bool { return string(a) == string(b) })
}
