package sessionid_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/llmaffinity/llmaffinity/sessionid"
)

// benchBody returns a body of about size bytes in one of the four formats. Its
// parts have the shares of a coding agent's request: messages with a tool call in
// each turn, results of some KB, text with newlines and quotes, and tools. front
// and back are put at its ends.
func benchBody(format string, size int, front, back string) []byte {
	rng := rand.New(rand.NewPCG(uint64(size), 3))
	text := func(n int) string {
		var b strings.Builder
		for b.Len() < n {
			for range 4 + rng.IntN(10) {
				fmt.Fprintf(&b, "word%d ", rng.IntN(5000))
			}
			b.WriteString([]string{"\n", "\n\t", " \"x\" ", "\n\n"}[rng.IntN(4)])
		}
		s, _ := json.Marshal(b.String()[:n])
		return string(s)
	}
	var m []string
	for n, i := 0, 0; n < size*6/10 || i == 0; i++ {
		result, say := text(min(size/8, 200+rng.IntN(4000))), text(min(size/20+10, 50+rng.IntN(500)))
		var turn []string
		switch format {
		case "claude":
			turn = []string{
				fmt.Sprintf(`{"role":"user","content":[{"type":"text","text":%s}]}`, say),
				fmt.Sprintf(`{"role":"assistant","content":[{"type":"tool_use","id":"toolu_%d","name":"Bash","input":{"command":%s}}]}`, i, say),
				fmt.Sprintf(`{"role":"user","content":[{"tool_use_id":"toolu_%d","type":"tool_result","content":%s,"is_error":false}]}`, i, result),
			}
		case "chat":
			turn = []string{
				fmt.Sprintf(`{"role":"user","content":%s}`, say),
				fmt.Sprintf(`{"role":"assistant","content":null,"tool_calls":[{"id":"call_%d","type":"function","function":{"name":"bash","arguments":%s}}]}`, i, say),
				fmt.Sprintf(`{"role":"tool","tool_call_id":"call_%d","content":%s}`, i, result),
			}
		case "responses":
			turn = []string{
				fmt.Sprintf(`{"type":"message","role":"user","content":[{"type":"input_text","text":%s}]}`, say),
				fmt.Sprintf(`{"type":"function_call","name":"bash","arguments":%s,"call_id":"call_%d"}`, say, i),
				fmt.Sprintf(`{"type":"function_call_output","call_id":"call_%d","output":%s}`, i, result),
			}
		case "gemini":
			turn = []string{
				fmt.Sprintf(`{"parts":[{"text":%s}],"role":"user"}`, say),
				fmt.Sprintf(`{"parts":[{"functionCall":{"id":"f_%d","name":"bash","args":{"command":%s}}}],"role":"model"}`, i, say),
				fmt.Sprintf(`{"parts":[{"functionResponse":{"id":"f_%d","name":"bash","response":{"output":%s}}}],"role":"user"}`, i, result),
			}
		}
		for _, t := range turn {
			n += len(t)
			m = append(m, t)
		}
	}
	var tools []string
	for n := 0; n < size*3/10; {
		t := fmt.Sprintf(`{"name":"tool%d","description":%s,"input_schema":{"type":"object","properties":{"a":{"type":"string","description":%s}},"required":["a"]}}`, len(tools), text(min(size/10, 1500)), text(60))
		n += len(t)
		tools = append(tools, t)
	}
	member := map[string]string{"claude": "messages", "chat": "messages", "responses": "input", "gemini": "contents"}[format]
	return []byte(`{` + front + `"model":"m","` + member + `":[` + strings.Join(m, ",") + `],"tools":[` + strings.Join(tools, ",") + `],"max_tokens":64000,"stream":true` + back + `}`)
}

// codexEnd is what stands behind the tools in a captured Codex request.
const codexEnd = `,"tool_choice":"auto","parallel_tool_calls":true,"reasoning":{"effort":"medium","summary":"auto"},"store":false,` +
	`"include":["reasoning.encrypted_content"],"prompt_cache_key":"` + uuidA + `","client_metadata":{"originator":"codex_cli_rs","session_id":"` + uuidA + `"}`

var benchFormats = []string{"claude", "chat", "responses", "gemini"}

var benchSizes = []struct {
	name string
	n    int
}{{"2KB", 2 << 10}, {"80KB", 80 << 10}, {"400KB", 400 << 10}, {"1MB", 1 << 20}, {"4MB", 4 << 20}}

// claudeHeader returns a header with the names of a captured Claude Code request,
// without its session.
func claudeHeader() http.Header {
	h := http.Header{}
	for _, name := range []string{
		"Accept", "Content-Type", "User-Agent", "X-Stainless-Arch", "X-Stainless-Lang", "X-Stainless-Os", "X-Stainless-Package-Version",
		"X-Stainless-Retry-Count", "X-Stainless-Runtime", "X-Stainless-Runtime-Version", "X-Stainless-Timeout", "Anthropic-Beta",
		"Anthropic-Dangerous-Direct-Browser-Access", "Anthropic-Version", "X-App", "Accept-Encoding",
	} {
		h.Set(name, "some value of a usual length")
	}
	return h
}

var sink sessionid.ID

// BenchmarkExtract measures each place of the id, by size and format of the body.
// The header has 16 other names of a real client's request. In the cases that say
// "alone" it has 4 other names or is nil; those that say "leading" ask for the leading
// names alone. The ends are those of Claude Code's and
// Codex' requests. The baselines are xxhash.Sum64 and
// json.Valid of the same body in the same run.
func BenchmarkExtract(b *testing.B) {
	native, generic := claudeHeader(), claudeHeader()
	native.Set("X-Claude-Code-Session-Id", uuidA)
	generic.Set("X-Session-Id", uuidA)
	few := http.Header{"User-Agent": {"x"}, "Content-Type": {"application/json"}, "Authorization": {"Bearer x"}, "Accept": {"*/*"}, "X-Session-Id": {uuidA}}
	id := `"metadata":{"user_id":"{\"device_id\":\"59f432d6821c56208bc0d1f50e70243049740e8ddd99a0\",\"account_uuid\":\"\",\"session_id\":\"` + uuidA + `\"}"}`
	for _, format := range benchFormats {
		for _, size := range benchSizes {
			none := benchBody(format, size.n, "", "")
			front := benchBody(format, size.n, `"session_id":"`+uuidA+`",`, "")
			end := benchBody(format, size.n, "", ","+id+`,"max_tokens":64000,"thinking":{"type":"adaptive"},"context_management":{"edits":[{"type":"clear_thinking_20251015","keep":"all"}]},"stream":true`)
			for _, c := range []struct {
				name   string
				header http.Header
				body   []byte
			}{
				{"native-header", native, none},
				{"native-header-leading", native, none},
				{"generic-header", generic, none},
				{"generic-header-leading", generic, none},
				{"generic-header-alone", few, none},
				{"front", claudeHeader(), front},
				{"front-alone", nil, front},
				{"end", claudeHeader(), end},
				{"end-leading", claudeHeader(), end},
				{"end-alone", nil, end},
				{"end-codex", claudeHeader(), benchBody(format, size.n, "", codexEnd)},
				{"end-codex-leading", claudeHeader(), benchBody(format, size.n, "", codexEnd)},
				{"cache-key-alone", nil, benchBody(format, size.n, "", `,"store":false,"prompt_cache_key":"`+uuidA+`"`)},
				{"content", claudeHeader(), none},
			} {
				extract := sessionid.Extract
				if strings.HasSuffix(c.name, "-leading") {
					extract = sessionid.ExtractLeading
				}
				b.Run(format+"/"+size.name+"/"+c.name, func(b *testing.B) {
					b.SetBytes(int64(len(c.body)))
					b.ReportAllocs()
					for b.Loop() {
						sink = extract(c.header, c.body)
					}
					if sink.IsZero() {
						b.Fatal("no session")
					}
				})
			}
			b.Run(format+"/"+size.name+"/baseline-xxhash", func(b *testing.B) {
				b.SetBytes(int64(len(none)))
				for b.Loop() {
					xxhash.Sum64(none)
				}
			})
			b.Run(format+"/"+size.name+"/baseline-json.Valid", func(b *testing.B) {
				b.SetBytes(int64(len(none)))
				for b.Loop() {
					json.Valid(none)
				}
			})
		}
	}
}

// smallMessages returns a chat body of about size bytes with the shares of a
// customer's talk with an agent that has tools: short questions and answers, tool
// calls, and results that are JSON inside a string.
func smallMessages(size int) []byte {
	rng := rand.New(rand.NewPCG(uint64(size), 5))
	words := func(n int) string {
		var b strings.Builder
		for b.Len() < n {
			fmt.Fprintf(&b, "%s ", []string{"I", "would", "like", "to", "change", "the", "reservation", "please", "flight", "on", "May", "20th,", "thanks!", "ok.\n"}[rng.IntN(14)])
		}
		s, _ := json.Marshal(b.String())
		return string(s)
	}
	var b strings.Builder
	b.WriteString(`{"model":"m","messages":[{"role":"system","content":` + words(6000) + `}`)
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, `,{"role":"user","content":%s}`, words(80+rng.IntN(100)))
		if i%4 != 0 {
			args, _ := json.Marshal(fmt.Sprintf(`{"reservation_id": "R%06d", "cabin": "economy"}`, rng.IntN(1e6)))
			fmt.Fprintf(&b, `,{"role":"assistant","content":null,"tool_calls":[{"id":"call_%016x","type":"function","function":{"name":"update_reservation","arguments":%s}}]}`, rng.Uint64(), args)
			var flights []map[string]any
			for range 4 + rng.IntN(10) {
				flights = append(flights, map[string]any{"flight_number": fmt.Sprintf("HAT%03d", rng.IntN(400)), "date": "2024-05-20", "price": rng.IntN(900), "origin": "SFO", "destination": "JFK"})
			}
			result, _ := json.Marshal(map[string]any{"status": "ok", "flights": flights})
			content, _ := json.Marshal(string(result))
			fmt.Fprintf(&b, `,{"role":"tool","tool_call_id":"call_%016x","name":"update_reservation","content":%s}`, rng.Uint64(), content)
		}
		fmt.Fprintf(&b, `,{"role":"assistant","content":%s}`, words(150+rng.IntN(400)))
	}
	b.WriteString(`],"tools":[{"type":"function","function":{"name":"update_reservation","description":` + words(2000) + `}}],"stream":true}`)
	return []byte(b.String())
}

// BenchmarkSmallMessages measures the content of many short messages.
func BenchmarkSmallMessages(b *testing.B) {
	for _, size := range benchSizes {
		body := smallMessages(size.n)
		b.Run(size.name+"/content", func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				sink = sessionid.Extract(nil, body)
			}
		})
		b.Run(size.name+"/baseline-xxhash", func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				xxhash.Sum64(body)
			}
		})
	}
}

// BenchmarkHostile measures bodies that are made to be slow beside a normal one of
// the same size.
func BenchmarkHostile(b *testing.B) {
	const n = 1 << 20
	for name, body := range map[string][]byte{
		"normal":        benchBody("claude", n, "", ""),
		"deep":          []byte(`{"messages":` + strings.Repeat(`[`, n/2) + strings.Repeat(`]`, n/2) + `}`),
		"tiny-keys":     []byte(`{` + strings.Repeat(`"a":1,`, n/6) + `"b":1}`),
		"backslashes":   []byte(`{"messages":[{"role":"user","content":"` + strings.Repeat(`\\`, n/2) + `"}]}`),
		"quotes":        []byte(`{"messages":[{"role":"user","content":"` + strings.Repeat(`\"`, n/2) + `"}]}`),
		"unicode":       []byte(`{"messages":[{"role":"user","content":"` + strings.Repeat(`\u00e9`, n/6) + `"}]}`),
		"empty-strings": []byte(`{"messages":[{"role":"user","content":[` + strings.Repeat(`"",`, n/3) + `""]}]}`),
		"tiny-messages": []byte(`{"messages":[` + strings.Repeat(`{"role":"user","content":"a"},`, n/30) + `{}]}`),
		"tiny-parts":    []byte(`{"messages":[{"role":"user","content":[` + strings.Repeat(`{"text":"a"},`, n/13) + `{}]}]}`),
		"tiny-fields":   []byte(`{"messages":[` + strings.Repeat(`{"a":1,"b":2,"c":3},`, n/20) + `{"role":"user","content":"a"}]}`),
		"many-fields":   []byte(`{"messages":[{` + strings.Repeat(`"a":1,`, n/6) + `"role":"user","content":"a"}]}`),
		"metadata":      []byte(`{"metadata":{` + strings.Repeat(`"a":1,`, n/6) + `"b":1},"messages":[{"role":"user","content":"a"}]}`),
		"request":       []byte(`{"request":{` + strings.Repeat(`"a":1,`, n/6) + `"contents":[{"role":"user","parts":[{"text":"a"}]}]}}`),
		"tool-calls":    []byte(`{"messages":[{"role":"assistant","tool_calls":[` + strings.Repeat(`{"function":{"name":"f"}},`, n/25) + `{}]}]}`),
		"white-space":   []byte(`{"messages":[` + strings.Repeat(" \n", n/2) + `{"role":"user","content":"a"}]}`),
		// What BenchmarkTheSlowestBody has found.
		"numbers":         []byte(`{"messages":[` + strings.Repeat(`1,`, n/2) + `{}]}`),
		"empty-messages":  []byte(`{"messages":[` + strings.Repeat(`{},`, n/3) + `{}]}`),
		"one-word":        []byte(`{"messages":[` + strings.Repeat(`{"role":"user","content":"ok"},`, n/31) + `{}]}`),
		"one-word-claude": []byte(`{"messages":[` + strings.Repeat(`{"role":"user","content":[{"type":"text","text":"ok"}]},`, n/56) + `{}]}`),
		"escaped-names":   []byte(`{"messages":[{"role":"user","content":[` + strings.Repeat(`{"\u0061":[1]},`, n/15) + `{}]}]}`),
		"unknown-parts":   []byte(`{"messages":[` + strings.Repeat(`{"role":"user","content":[`+strings.Repeat(`{"a":1},`, 500)+`1]},`, n/4030) + `{}]}`),
		"escaped-parts":   []byte(`{"messages":[` + strings.Repeat(`{"role":"user","content":[`+strings.Repeat(`{"function": "a","\u0061":"a"},`, 500)+`1]},`, n/15030) + `{}]}`),
		"unknown-deep":    []byte(`{"messages":[` + strings.Repeat(`{"tool_calls":{"tool_calls":{"refusal":{"data":"`+strings.Repeat(`\"`, 150)+`\u0061"}}}},`, n/360) + `1]}`),
		"respelled-list":  []byte(`{"messages":[{"content":[{"type":"tool_use","id":"a","input":[` + strings.Repeat(`"\u00e9",`, n/9) + `1]}]}]}`),
		"half-surrogates": []byte(`{"messages":[{"content":"` + strings.Repeat(`\ud800`, n/6) + `"}]}`),
		"slashes":         []byte(`{"messages":[{"content":"` + strings.Repeat(`\/`, n/2) + `"}]}`),
		"lists-repeated":  []byte(`{` + strings.Repeat(`"messages":[`+strings.Repeat("1,", 520)+`1],`, n/1060) + `"a":1}`),
		"quotes-at-end":   []byte(`{"messages":[],"x":"` + strings.Repeat(`\"`, n/2) + `"}`),
		"brackets-at-end": []byte(`{"messages":[],"x":{"a":` + strings.Repeat(`[`, n/2) + strings.Repeat(`]`, n/2) + `}}`),
		"tiny-at-end":     []byte(`{"messages":[],` + strings.Repeat(`"a":{},`, n/7) + `"b":1}`),
		"request-lists":   []byte(`{"request":{"contents":[` + strings.Repeat(`{"args":{},"a\/a":[{}]},`, n/24) + `1]}}`),
		"metadata-lists":  []byte(`{"metadata":{"user_id":[` + strings.Repeat(`{"input":[]},`, n/13) + `1]},"messages":[{"role":"user","content":"q"}]}`),
		"not-closed":      bytes.TrimSuffix(benchBody("claude", n, "", ""), []byte("}")),
		"brackets-string": []byte(`{"messages":[{"role":"user","content":"` + strings.Repeat(`[{`, n/2) + `"}]}`),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				sink = sessionid.Extract(nil, body)
			}
		})
	}
}
