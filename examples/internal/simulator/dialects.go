package simulator

// dialect is one provider's API.
type dialect struct {
	read    func(body object) *question
	whole   func(*answer) any            // the answer in one piece
	events  func(*answer) []event        // the answer as a stream
	broken  func(a *answer, n int) event // the event that ends the stream early, after n events
	repeat  func(*answer) []part         // the answer as the next prompt repeats it; nil: the API keeps none
	failure func(*refusal) any           // an error
	prefix  string                       // of an answer's id
}

type (
	object = map[string]any
	list   = []any
)

var (
	messages     = dialect{readMessages, wholeMessage, messageEvents, brokenMessage, repeatMessage, anthropicFailure, "msg_"}
	chat         = dialect{readChat, wholeChat, chatEvents, brokenChat, nil, openAIFailure, "chatcmpl-"}
	responses    = dialect{readResponses, wholeResponse, responseEvents, brokenResponse, repeatResponse, openAIFailure, "resp_"}
	gemini       = dialect{readGemini, wholeGemini, geminiEvents, brokenGemini, nil, geminiFailure, ""}
	interactions = dialect{readInteraction, wholeInteraction, interactionEvents, brokenInteraction, repeatInteraction, interactionFailure, "v1_"}
)

func str(v any) string {
	s, _ := v.(string)
	return s
}

// at returns a member of nested members, nil if there is none.
func at(v any, path ...string) any {
	for _, name := range path {
		o, _ := v.(object)
		v = o[name]
	}
	return v
}

// asList returns v if it is a list, or else a list of v.
func asList(v any) list {
	switch v := v.(type) {
	case nil:
		return nil
	case list:
		return v
	default:
		return list{v}
	}
}

// idOf returns an id that is a string, or a member of an object.
func idOf(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return str(at(v, "id"))
}

// readCommon reads what the APIs have in common. system is where the prompt begins.
func readCommon(body object, system any) *question {
	q := &question{model: str(body["model"]), stream: body["stream"] == true}
	q.usage = at(body, "stream_options", "include_usage") == true
	if t := body["tools"]; t != nil {
		q.head = partOf("tools", t)
	}
	q.head = append(q.head, partsOf("system", system)...)
	return q
}

// readTurns reads what Anthropic's messages and OpenAI's chat completions share.
func readTurns(body object) *question {
	q := readCommon(body, body["system"])
	for _, m := range asList(body["messages"]) {
		m, ok := m.(object)
		if !ok {
			continue
		}
		q.said = append(q.said, messageParts(m)...)
		if m["role"] != "system" && m["role"] != "developer" { // clients send those after the user's message
			q.asked = m["role"] == "user" && !has(m["content"], "type", "tool_result")
		}
	}
	return q
}

func messageParts(m object) []part {
	role := str(m["role"])
	out := partsOf(role, m["content"])
	for _, k := range []string{"tool_calls", "function_call"} {
		if v := m[k]; v != nil {
			out = append(out, partOf(role+k, v)...)
		}
	}
	return out
}
