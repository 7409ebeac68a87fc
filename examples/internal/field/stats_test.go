package field

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// statistic is a number of a set of conversations.
type statistic struct {
	name string
	real float64 // the value for tau-bench's conversations
	near float64 // how far the value for the made-up ones may be from it, as a share
}

// statistics are the lines of the table beside the generator of the made-up conversations.
var statistics = []statistic{
	{"conversations", 200, 0},
	{"requests after the first ones", 2254, 0.1},
	{"requests of a conversation, 1 in 10 has at most", 5, 0.25},
	{"… half of them at most", 11, 0.1},
	{"… 9 in 10 at most", 20, 0.15},
	{"messages of a conversation, mean", 26.5, 0.1},
	{"bytes of a conversation, mean", 16229, 0.15},
	{"conversations whose last message is the customer's", 149, 0.5},
	{"bytes of a customer's text, median", 92, 0.1},
	{"… 9 in 10 at most", 165, 0.15},
	{"bytes of the agent's text, median", 251, 0.1},
	{"… 9 in 10 at most", 564, 0.15},
	{"bytes of a call's arguments, median", 31, 0.25},
	{"… 9 in 10 at most", 280, 0.25},
	{"bytes of a tool's result, median", 667, 0.1},
	{"… 9 in 10 at most", 965, 0.25},
	{"answers with a call", 1164, 0.1},
	{"… and a text", 90, 0.25},
	{"first requests that are equal to another one", 13, 0.35},
	{"of a customer's texts, % in another conversation", 7.0, 0.25},
	{"of the agent's texts, % in another conversation", 9.2, 0.25},
	{"of the calls, % in another conversation", 1.8, 0.6},
	{"of the results, % in another conversation", 10.6, 0.35},
	{"different ids of calls", 134, 0.05},
	{"conversations that have one id, median", 5, 0.25},
	{"… 9 in 10 ids at most", 21, 0.15},
	{"… most", 28, 0.2},
}

// statisticsOf returns the numbers of a set of conversations, in the order of statistics.
func statisticsOf(t *testing.T, all []Conversation) (out []float64) {
	type message struct {
		Role    string
		Content string
		Calls   []struct {
			ID       string
			Function struct{ Arguments string }
		} `json:"tool_calls"`
	}
	var requests, sizes []float64
	bytes := map[string][]float64{}
	count := map[string]float64{}
	texts, has := map[string][]string{}, map[string]map[int]bool{} // the texts of each kind, and the conversations that have each text
	in := func(what, text string, conversation int) {
		texts[what] = append(texts[what], text)
		if has[what+text] == nil {
			has[what+text] = map[int]bool{}
		}
		has[what+text][conversation] = true
	}
	firsts, equal := map[string]int{}, 0.0
	for c, conversation := range all {
		asked, size := 0.0, 0.0
		for i, raw := range conversation.Messages {
			var m message
			require.NoError(t, json.Unmarshal(raw, &m))
			size += float64(len(raw))
			if i == 1 {
				firsts[m.Content]++
			}
			kind := m.Role
			switch {
			case len(m.Calls) > 0:
				kind = "call"
				count["calls"]++
				if m.Content != "" {
					count["both"]++
				}
				for _, call := range m.Calls {
					in("id", call.ID, c)
					bytes["arguments"] = append(bytes["arguments"], float64(len(call.Function.Arguments)))
				}
			case m.Role == "user" && i == len(conversation.Messages)-1:
				count["user ends"]++
			}
			if m.Role == "assistant" {
				asked++
			}
			in(kind, string(raw), c)
			if m.Role != "assistant" || m.Content != "" {
				bytes[m.Role] = append(bytes[m.Role], float64(len(m.Content)))
			}
		}
		requests, sizes = append(requests, asked), append(sizes, size)
		count["messages"] += float64(len(conversation.Messages))
	}
	for _, n := range firsts {
		if n > 1 {
			equal += float64(n)
		}
	}
	at := func(all []float64, share float64) float64 {
		slices.Sort(all)
		return all[int(float64(len(all))*share)]
	}
	sum := func(all []float64) (n float64) {
		for _, v := range all {
			n += v
		}
		return n
	}
	repeated := func(what string) float64 {
		n := 0.0
		for _, text := range texts[what] {
			if len(has[what+text]) > 1 {
				n++
			}
		}
		return 100 * n / float64(len(texts[what]))
	}
	var spread []float64
	for _, id := range slices.Compact(slices.Sorted(slices.Values(texts["id"]))) {
		spread = append(spread, float64(len(has["id"+id])))
	}
	n := float64(len(all))
	return []float64{
		n, sum(requests) - n, at(requests, 0.1), at(requests, 0.5), at(requests, 0.9), count["messages"] / n, sum(sizes) / n, count["user ends"],
		at(bytes["user"], 0.5), at(bytes["user"], 0.9), at(bytes["assistant"], 0.5), at(bytes["assistant"], 0.9),
		at(bytes["arguments"], 0.5), at(bytes["arguments"], 0.9), at(bytes["tool"], 0.5), at(bytes["tool"], 0.9),
		count["calls"], count["both"], equal, repeated("user"), repeated("assistant"), repeated("call"), repeated("tool"),
		float64(len(spread)), at(spread, 0.5), at(spread, 0.9), slices.Max(spread),
	}
}

// The made-up conversations have statistics like those of tau-bench's conversations. The table
// beside their generator has both. If tau-bench's file is there, its numbers are checked, too.
func TestGeneratedConversationsAreLikeTheRealOnes(t *testing.T) {
	source, err := os.ReadFile("../talk/agent.go")
	require.NoError(t, err)
	made := statisticsOf(t, Generated())
	short := func(v float64) string {
		if v < 100 && v != math.Trunc(v) {
			return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0")
		}
		return fmt.Sprintf("%.0f", v)
	}
	for i, s := range statistics {
		line := fmt.Sprintf("%-50s %9s  %7s", s.name, short(s.real), short(made[i]))
		t.Log(line)
		if !strings.Contains(string(source), "//\t"+line+"\n") {
			t.Errorf("the table in the generator's comment does not have this line")
		}
		if math.Abs(made[i]-s.real) > s.near*s.real {
			t.Errorf("%s: the made-up conversations have %v, more than %.0f %% from %v", s.name, made[i], 100*s.near, s.real)
		}
	}
	t.Run("tau-bench", func(t *testing.T) {
		for i, v := range statisticsOf(t, Airline(t)) {
			if short(v) != short(statistics[i].real) {
				t.Errorf("%s: tau-bench's conversations have %v, but the table has another number", statistics[i].name, v)
			}
		}
	})
}
