package sessionid

import "github.com/cespare/xxhash/v2"

// item is one message, item, block or part of any API, each member that says
// something as a sum; 0 is: not there.
type item struct {
	role, typ                               []byte
	content, parts, text, refusal           uint64
	id, callID, toolUseID, toolCallID, name uint64
	args, input, action, output, response   uint64
	toolCalls, function                     uint64
	functionCall, functionResponse          uint64
	media                                   uint64
	thought                                 bool
}

// maxDepth bounds the recursion: a message, its blocks, a tool's result, the
// blocks of that. Below it a value counts whole.
const maxDepth = 5

// Limits of what is taken apart, so that a body of a million tiny things costs
// a few times what a normal one of its size does. What is beyond them counts as
// it is spelled: the same words are the same still, but what a client may change
// from turn to turn counts as well.
const (
	maxMessages = 8192 // of a conversation
	maxParts    = 1024 // of a message's content
	maxFields   = 256  // of one object
)

// asSpelled sums up a value without taking it apart.
func (c *cursor) asSpelled() said {
	c.said = 0
	return said{fold(tagOther, c.weigh()), c.said}
}

// message sums up the message that the cursor stands before; 0 for what is no
// part of the conversation's identity: system and developer messages,
// reasoning, and messages that say nothing.
func (c *cursor) message() said {
	c.said = 0
	sum := c.messageSum()
	return said{sum, c.said}
}

func (c *cursor) messageSum() uint64 {
	switch c.peek() {
	case '"': // a bare string is what a user says
		if said := c.content(0); said != 0 {
			return fold(tagUser, fold(0, said))
		}
		return 0
	case '{':
	default:
		c.skip()
		return 0
	}
	start := c.i
	m := c.item(0)
	if c.bad {
		return 0
	}
	role := uint64(tagUser)
	switch {
	case is(m.role, "system"), is(m.role, "developer"):
		return 0
	case is(m.role, "assistant"), is(m.role, "model"), is(m.typ, "model_output"):
		role = tagModel
	case is(m.typ, "user_input"): // Interactions
	case m.role == nil && m.text != 0: // Interactions: a bare block is the user's
		m.content = fold(0, m.text)
	case is(m.role, "tool"), is(m.role, "function"):
		role = tagTool
	case m.role == nil && m.typ != nil && !is(m.typ, "message"):
		// An item of the Responses API that is not a message: a call, its
		// output, reasoning.
		said, _ := c.block(&m, start)
		return said
	case m.role != nil && !is(m.role, "user"):
		r := cursor{b: m.role}
		role = fold(tagRole, r.sum())
	}
	said := uint64(0)
	add := func(x uint64) {
		if x != 0 {
			said = fold(said, x)
		}
	}
	switch {
	case m.toolCallID != 0: // chat's role "tool"
		add(result(m.toolCallID, 0, m.content))
	case is(m.role, "function"):
		add(result(m.name, 0, m.content))
	default:
		add(m.content)
		add(m.parts)
	}
	add(m.toolCalls)
	add(m.functionCall) // chat's of old
	if said == 0 {
		return 0
	}
	return fold(role, said)
}

// content sums up a string, a list of blocks, or a single block.
func (c *cursor) content(depth int) (said uint64) {
	switch c.peek() {
	case '"':
		if t := c.textSum(); t != 0 {
			return fold(0, t)
		}
		return 0
	case '{':
		if t, _ := c.part(depth); t != 0 {
			return fold(0, t)
		}
		return 0
	case '[':
	default:
		c.skip()
		return 0
	}
	start := c.i
	c.enter()
	before := uint64(0) // the tool's result before
	n := 0
	for first := true; c.another(']', &first); {
		if n++; n > maxParts {
			c.i = start
			return fold(tagOther, c.weigh())
		}
		var t uint64
		isResult := false
		switch c.peek() {
		case '"':
			t = c.textSum()
		case '{':
			t, isResult = c.part(depth)
		default:
			t = c.weigh()
		}
		// A repeated result counts once: Gemini CLI repeats a
		// functionResponse when it rewrites its history.
		if t == 0 || isResult && t == before {
			continue
		}
		before = 0
		if isResult {
			before = t
		}
		said = fold(said, t)
	}
	return said
}

// textSum sums up a text; an empty one says nothing.
func (c *cursor) textSum() uint64 {
	start := c.i
	s := c.weigh()
	if c.i-start <= 2 || c.b[start] != '"' {
		return 0
	}
	return fold(tagText, s)
}

// weigh is sum for what is said, as opposed to names and ids.
func (c *cursor) weigh() uint64 {
	start := c.i
	s := c.sum()
	c.said += c.i - start
	return s
}

// part sums up the object that the cursor stands before.
func (c *cursor) part(depth int) (said uint64, isResult bool) {
	if depth >= maxDepth {
		return c.sum(), false
	}
	start := c.i
	p := c.item(depth)
	if c.bad {
		return 0, false
	}
	return c.block(&p, start)
}

// block says what kind of block an item is, and sums it up as that. start is
// where it begins, for kinds that are not known.
func (c *cursor) block(p *item, start int) (said uint64, isResult bool) {
	t := p.typ
	switch {
	case p.thought, is(t, "thinking"), is(t, "redacted_thinking"), is(t, "reasoning"), is(t, "thought"):
		return 0, false // clients drop and re-sign these between turns
	case p.functionCall != 0:
		return p.functionCall, false
	case p.functionResponse != 0:
		return p.functionResponse, true
	case p.function != 0: // chat's tool_calls
		return fold(fold(tagCall, p.id), p.function), false
	case p.toolUseID != 0:
		return result(p.toolUseID, 0, p.content), true
	case p.callID != 0 && (p.output != 0 || is(t, "function_result")):
		return result(p.callID, 0, fold(p.output, p.response)), true
	case p.callID != 0, is(t, "tool_use"), is(t, "server_tool_use"), is(t, "mcp_tool_use"), is(t, "function_call"):
		id := p.callID
		if id == 0 {
			id = p.id
		}
		return call(id, p.name, fold(fold(p.args, p.input), p.action)), false
	case p.media != 0:
		return p.media, false
	case p.text != 0:
		return p.text, false
	case p.refusal != 0:
		return p.refusal, false
	case p.content != 0: // Interactions: a turn's or a step's content
		return p.content, false
	}
	return c.unknown(start), false
}

// call sums up a tool call: the id is what tells twins apart.
func call(id, name, args uint64) uint64 {
	return fold(fold(fold(tagCall, id), name), args)
}

func result(id, name, output uint64) uint64 {
	return fold(fold(fold(tagResult, id), name), output)
}

// item reads the object that the cursor stands before; of duplicate members
// the last counts.
func (c *cursor) item(depth int) (m item) {
	start := c.i
	c.enter()
	first := true
	for n := 0; ; n++ {
		name, ok := c.member(&first)
		if !ok {
			return m
		}
		if n == maxFields {
			c.i = start
			sum := fold(tagOther, c.weigh())
			return item{content: fold(0, sum), media: sum}
		}
		switch string(name) {
		case "role":
			m.role = notNull(c.skip())
		case "type":
			m.typ = notNull(c.skip())
		case "content":
			m.content = c.content(depth + 1)
		case "parts":
			m.parts = c.content(depth + 1)
		case "text":
			m.text = c.textSum()
		case "refusal":
			m.refusal = c.textSum()
		case "id":
			m.id = c.sum()
		case "call_id":
			m.callID = c.sum()
		case "tool_use_id":
			m.toolUseID = c.sum()
		case "tool_call_id":
			m.toolCallID = c.sum()
		case "name":
			m.name = c.sum()
		case "args", "arguments":
			m.args = c.weigh()
		case "input":
			m.input = c.weigh()
		case "action":
			m.action = c.weigh()
		case "output", "result":
			if c.peek() == '{' {
				m.output = c.weigh()
			} else {
				m.output = c.content(depth + 1)
			}
		case "response":
			m.response = c.weigh()
		case "tool_calls":
			m.toolCalls = c.content(depth + 1)
		case "function", "custom":
			if f, ok := c.inner(depth); ok {
				m.function = call(0, f.name, fold(f.args, f.input))
			}
		case "functionCall", "function_call":
			if f, ok := c.inner(depth); ok {
				m.functionCall = call(f.id, f.name, f.args)
			}
		case "functionResponse", "function_response":
			if f, ok := c.inner(depth); ok {
				m.functionResponse = result(f.id, f.name, f.response)
			}
		case "thought":
			m.thought = string(c.skip()) == "true"
		case "source", "image_url", "file_id", "file", "file_data", "fileData",
			"inlineData", "inline_data", "input_audio", "audio", "image", "video_url", "data", "uri":
			m.media += fold(tagMedia, c.sum())
		default:
			c.skip()
		}
	}
}

// inner reads an object that stands inside another one.
func (c *cursor) inner(depth int) (m item, ok bool) {
	if c.peek() != '{' || depth >= maxDepth {
		c.skip()
		return m, false
	}
	m = c.item(depth + 1)
	return m, !c.bad
}

func notNull(raw []byte) []byte {
	if string(raw) == "null" {
		return nil
	}
	return raw
}

// volatile are members that clients change between turns, in blocks of a
// kind that this package does not know.
func volatile(name []byte) bool {
	switch string(name) {
	case "cache_control", "signature", "thoughtSignature", "thought_signature", "id", "status",
		"annotations", "encrypted_content", "logprobs", "is_error", "type":
		return true
	}
	return false
}

// unknown sums up a block of an unknown kind by all that it says; it is read
// a second time for that.
func (c *cursor) unknown(start int) (said uint64) {
	o := cursor{b: c.b[:c.i], i: start}
	o.enter()
	first := true
	for {
		name, ok := o.member(&first)
		if !ok {
			return said
		}
		if volatile(name) {
			o.skip()
			continue
		}
		// Members of a re-serialised object may change places.
		said += fold(fold(tagOther, xxhash.Sum64(name)), o.sum())
	}
}
