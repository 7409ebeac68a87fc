package content

import (
	"math/bits"

	"github.com/cespare/xxhash/v2"

	"github.com/llmaffinity/llmaffinity/sessionid/internal/jsontext"
)

// The sum of a message depends on what it says, and not on the shape that its API
// gives it. Each value becomes one 64-bit sum. The sums are folded in a fixed order.
// So the order of an object's members does not count, and each byte is read once.

// message sums up one message.
type message struct {
	sum    uint64 // 0: the message says nothing
	weight int    // bytes of JSON of its texts, arguments and results
	kind   kind
}

// kind is the role of a message, and whether it is more than words.
type kind uint8

const (
	otherKind kind = iota
	userWords
	toolResults // a user's or a tool's message with results
	modelBrief  // this and the next two are a model's: words that a client may have put there
	modelWords  // this and the next one are an answer
	modelCalls  // with tool calls, and perhaps words
)

// longAnswer is the least length, in bytes of JSON, of a model's words that are an
// answer. Clients put shorter ones into an opening: "Got it. Thanks for the context!"
// (Qwen Code, captured).
const longAnswer = 64

// Tags keep sums of different kinds apart.
const (
	tagText   = 0x9fb21c651e98df25
	tagCall   = 0xd6e8feb86659fd93
	tagResult = 0xa0761d6478bd642f
	tagMedia  = 0xe7037ed1a0b428db
	tagOther  = 0x8ebc6af09c88c6e3
	tagUser   = 0x589965cc75374cc3
	tagModel  = 0x1d8e4e27c47d124f
	tagTool   = 0xeb44accab455d165
	tagRole   = 0x2d358dccaa6c78a5
	tagTail   = 0x8bb84b93962eacc9
)

// Limits of what is parsed. With them, a body of a million tiny values costs a few
// times what a normal body of its size costs. A value beyond them is hashed as it is
// spelled: an unchanged value still gives the same sum, but parts that a client may
// change from turn to turn count too.
const (
	maxMessages = 8192 // of a conversation
	maxParts    = 1024 // of a message's content
	maxFields   = 256  // of one object
	// maxDepth bounds the recursion: a message, its blocks, a tool's result,
	// and the blocks of that result.
	maxDepth = 5
)

// Fold adds x to the sequence acc. The result is never 0, because a sum of 0
// means that nothing was said.
func Fold(acc, x uint64) uint64 {
	hi, lo := bits.Mul64(acc^0x9e3779b97f4a7c15, bits.RotateLeft64(x, 32)^0xc2b2ae3d27d4eb4f)
	if s := hi ^ lo + x; s != 0 {
		return s
	}
	return 1
}

// pair is a 128-bit hash in two halves.
type pair struct{ lo, hi uint64 }

// fold folds lo and hi into the halves.
func (p pair) fold(lo, hi uint64) pair { return pair{Fold(p.lo, lo), Fold(p.hi, hi)} }

// item is one message, item, block or part of any API. Each member that says
// something is a sum; 0 means that the member is missing.
type item struct {
	role, id, name                        jsontext.Value // hashed only if they count
	typ                                   []byte
	content, parts, text, refusal         uint64
	callID, toolUseID, toolCallID         uint64
	args, input, action, output, response uint64
	toolCalls, function                   uint64
	functionCall, functionResponse        uint64
	media                                 uint64
	thought                               bool
	moved                                 bool           // clients move its text
	unsummed                              jsontext.Value // the text of a system message
	rawID                                 []byte         // the last of the other ids, as it is spelled
}

// work counts the work that was done for a conversation. A body may consist of
// pieces of a few bytes that each cost as much as a long text. Some work is free. Each
// byte allows some more, as much as messages of one word need. Text beyond that is hashed
// as it is spelled. Whether that happens depends only on the text before it.
type work struct {
	done   int // in units of some 4 ns
	walked int // bytes of the messages before the one at hand
}

const (
	freeWork     = 4096
	bytesPerUnit = 3 // bytes that allow for one unit

	workMessage = 8
	workSpelled = 6 // for a message that is not parsed
	workPart    = 9
	workMember  = 3
	workSum     = 2
	workSkip    = 2 // for an object or a list
	workRespell = 5 // for a value that is not in its shortest spelling
)

// walker computes the sums of the values that its cursor walks over.
type walker struct {
	*jsontext.Cursor
	weight         int // bytes of JSON that were weighed
	left           int // work that is allowed for this message, besides what its bytes allow
	from           int // where the message begins
	calls, results int
	ids            *ids // the ids of the conversation; nil: they are not gathered
}

// tired reports whether the message is too much work for its bytes.
func (w *walker) tired() bool { return w.At-w.from < -bytesPerUnit*w.left }

// messageOf returns the sum of the message v, which c has just returned. The sum is 0 for
// a message that is no part of the conversation's identity: system and developer
// messages, reasoning, and messages that say nothing. left is how much work is allowed.
// end is the boundary before the message, and messageOf makes it the one after it.
func messageOf(c *jsontext.Cursor, v jsontext.Value, left int, k *work, ids *ids, end *pair) message {
	w := walker{Cursor: c, left: left - workMessage, from: c.At, ids: ids}
	sum, role := w.message(v)
	k.done += left - w.left
	k.walked += c.At - w.from
	m := message{sum, w.weight, otherKind}
	switch {
	case w.results > 0, role == tagTool:
		m.kind = toolResults
	case w.calls > 0:
		m.kind = modelCalls
	case role == tagModel && m.weight < longAnswer:
		m.kind = modelBrief
	case role == tagModel:
		m.kind = modelWords
	case role == tagUser:
		m.kind = userWords
	}
	if m.sum != 0 {
		*end = end.behind(m)
	}
	return m
}

// behind returns the boundary after m, if p is the boundary before m.
func (p pair) behind(m message) pair {
	p.lo ^= tagUser
	p.hi ^= tagModel
	return p.fold(m.sum, m.sum^tagRole)
}

// asSpelled returns the sum of a message without parsing it.
func asSpelled(c *jsontext.Cursor, v jsontext.Value, k *work, end *pair) message {
	from := c.At
	if v.Form == jsontext.Open {
		c.Pass()
		v.Raw = c.Since(from)
	}
	k.done += workSpelled
	k.walked += c.At - from
	m := spelled(v.Raw)
	*end = end.behind(m)
	return m
}

// spelled returns the sum of a value that was not parsed. It has no weight, because it
// is not known how much of it is text.
func spelled(raw []byte) message { return message{sum: Fold(tagOther, xxhash.Sum64(raw))} }

// message returns the sum of a message, and its role.
func (w *walker) message(v jsontext.Value) (sum, role uint64) {
	switch v.Raw[0] {
	case '"': // a bare string is a user's
		if sum := w.content(v, 0); sum != 0 {
			return Fold(tagUser, Fold(0, sum)), tagUser
		}
		return 0, 0
	case '{':
	default:
		w.pass(v)
		return 0, 0
	}
	start := w.At
	var m item
	w.item(&m, 0)
	switch {
	case w.Failed:
		return 0, 0
	case w.tired():
		w.weight = 0
		return spelled(w.PassFrom(start)).sum, 0
	}
	role = uint64(tagUser)
	if m.unsummed.Raw != nil && !isSystem(m.role.Raw) { // another role stood after it
		m.content = Fold(0, Fold(tagText, sumOf(m.unsummed)))
	}
	switch {
	case isSystem(m.role.Raw):
		return 0, 0
	case is(m.role.Raw, "assistant"), is(m.role.Raw, "model"), is(m.typ, "model_output"):
		role = tagModel
	case is(m.typ, "user_input"): // Interactions
	case m.role.Raw == nil && m.text != 0: // Interactions: a bare block is the user's
		m.content = Fold(0, m.text)
	case is(m.role.Raw, "tool"), is(m.role.Raw, "function"):
		role = tagTool
	case m.role.Raw == nil && m.typ != nil && !is(m.typ, "message"):
		// An item of the Responses API that is not a message: a call, its
		// output, reasoning.
		sum, _ := w.block(&m, start)
		return sum, 0
	case m.role.Raw != nil && !is(m.role.Raw, "user"):
		role = Fold(tagRole, sumOf(m.role))
	}
	add := func(x uint64) {
		if x != 0 {
			sum = Fold(sum, x)
		}
	}
	switch {
	case m.toolCallID != 0: // chat's role "tool"
		add(w.result(&m, result(m.toolCallID, 0, m.content)))
	case is(m.role.Raw, "function"):
		add(result(sumOf(m.name), 0, m.content))
	default:
		add(m.content)
		add(m.parts)
	}
	add(m.toolCalls)
	if m.functionCall != 0 { // chat's older form
		add(w.call(&m, m.functionCall))
	}
	if sum == 0 {
		return 0, 0
	}
	sum = Fold(role, sum)
	if len(m.id.Raw) > 0 {
		w.ids.note(m.id.Raw, sum, sumOf(m.id))
	}
	return sum, role
}

// content returns the sum of a string, a list of blocks, or a single block.
func (w *walker) content(v jsontext.Value, depth int) (sum uint64) {
	switch v.Raw[0] {
	case '"':
		if t := w.text(v); t != 0 {
			return Fold(0, t)
		}
		return 0
	case '{':
		if t, _ := w.part(v, depth); t != 0 {
			return Fold(0, t)
		}
		return 0
	case '[':
	default:
		return 0
	}
	start := w.At
	before := uint64(0) // the part before, if that was a tool's result
	for range maxParts {
		if w.tired() {
			return sum
		}
		v, ok := w.Element()
		if !ok {
			return sum
		}
		w.left -= workMember
		var t uint64
		isResult := false
		switch v.Raw[0] {
		case '"':
			t = w.text(v)
		case '{':
			t, isResult = w.part(v, depth)
		default:
			t = w.weigh(v)
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
		sum = Fold(sum, t)
	}
	if !w.AnotherElement() {
		return sum
	}
	return Fold(tagOther, w.weigh(w.SkipFrom(start)))
}

// text returns the sum of a text. It is 0 for an empty text, and for a text that a client
// moves from message to message.
func (w *walker) text(v jsontext.Value) uint64 {
	if len(v.Raw) > 1 && v.Raw[1] == '<' && moves(v.Raw) {
		return 0
	}
	if w.ids != nil && w.ids.message < summaryWithin {
		w.ids.read(v.Raw)
	}
	v = w.whole(v)
	if len(v.Raw) <= 2 || v.Raw[0] != '"' {
		w.weight += len(v.Raw)
		return 0
	}
	if trimmed := trim(v.Raw[1 : len(v.Raw)-1]); len(trimmed) != len(v.Raw)-2 {
		w.charge(v)
		w.weight += len(v.Raw)
		return sumTrimmed(trimmed, v.Form)
	}
	return Fold(tagText, w.weigh(v))
}

// sumTrimmed returns the sum of a text without the blanks around it. Clients cut them off
// when they keep an answer.
func sumTrimmed(text []byte, form jsontext.Form) uint64 {
	if len(text) == 0 {
		return 0
	}
	if form != jsontext.Plain {
		return Fold(tagText, sumOf(jsontext.Value{Raw: append(append([]byte{'"'}, text...), '"'), Form: form}))
	}
	var buf [512]byte
	if len(text)+2 <= len(buf) { // most texts with blanks around them
		buf[0] = '"'
		copy(buf[1:], text)
		buf[len(text)+1] = '"'
		return Fold(tagText, max(xxhash.Sum64(buf[:len(text)+2]), 1))
	}
	var d xxhash.Digest
	d.Reset()
	quote := []byte{'"'}
	d.Write(quote)
	d.Write(text)
	d.Write(quote)
	return Fold(tagText, max(d.Sum64(), 1))
}

// trim cuts blanks and line ends off the inside of a JSON string, however they are
// spelled.
func trim(s []byte) []byte {
	for {
		n := blankAt(s)
		if n == 0 {
			break
		}
		s = s[n:]
	}
	for {
		n := blankBefore(s)
		if n == 0 {
			return s
		}
		s = s[:len(s)-n]
	}
}

// blankAt returns how many bytes the blank at the beginning of s has, or 0.
func blankAt(s []byte) int {
	switch {
	case len(s) == 0:
		return 0
	case s[0] == ' ':
		return 1
	case len(s) < 2 || s[0] != '\\':
		return 0
	case s[1] == 'n' || s[1] == 'r' || s[1] == 't':
		return 2
	case s[1] == 'u' && len(s) >= 6 && s[2] == '0' && s[3] == '0':
		if r, n := jsontext.Unescape(s[:6]); n == 6 && (r == ' ' || r == '\n' || r == '\r' || r == '\t') {
			return 6
		}
	}
	return 0
}

// blankBefore returns how many bytes the blank at the end of s has, or 0.
func blankBefore(s []byte) int {
	n := len(s)
	if n > 0 && s[n-1] == ' ' {
		return 1
	}
	for _, size := range [...]int{2, 6} {
		if n < size || s[n-size] != '\\' || blankAt(s[n-size:]) != size {
			continue
		}
		before := 0 // a backslash that is escaped begins nothing
		for before < n-size && s[n-size-1-before] == '\\' {
			before++
		}
		if before%2 == 0 {
			return size
		}
	}
	return 0
}

// unsummed reads a text as text does, but makes no sum. A system message is long and
// mostly does not count.
func (w *walker) unsummed(v jsontext.Value) jsontext.Value {
	if moves(v.Raw) || len(v.Raw) <= 2 {
		w.text(v)
		return jsontext.Value{}
	}
	if w.ids != nil && w.ids.message < summaryWithin {
		w.ids.read(v.Raw)
	}
	w.charge(v)
	w.weight += len(v.Raw)
	return v
}

// isSystem reports whether a role is system or developer.
func isSystem(role []byte) bool { return is(role, "system") || is(role, "developer") }

// weigh returns the sum of a value and counts its bytes. It is for texts, arguments and
// results, and not for names and ids.
func (w *walker) weigh(v jsontext.Value) uint64 {
	v = w.whole(v)
	w.weight += len(v.Raw)
	w.charge(v)
	return sumOf(v)
}

// sum returns the sum of a value without weight.
func (w *walker) sum(v jsontext.Value) uint64 {
	v = w.whole(v)
	w.charge(v)
	return sumOf(v)
}

// charge counts the work for a sum. Inside an unknown block a value is hashed once
// more for each block around it.
func (w *walker) charge(v jsontext.Value) {
	w.left -= workSum
	if v.Form == jsontext.Other {
		w.left -= workRespell + len(v.Raw)/4
	}
}

// whole steps over v if it is open.
func (w *walker) whole(v jsontext.Value) jsontext.Value {
	if v.Form == jsontext.Open {
		w.left -= workSkip
		return w.Skip()
	}
	return v
}

// pass steps over v if it is open and its text is not needed.
func (w *walker) pass(v jsontext.Value) {
	if v.Form == jsontext.Open {
		w.left -= workSkip
		w.Pass()
	}
}

// sumOf hashes a value in its shortest spelling, which most values have. The sum of
// null is 0, like that of a missing member.
func sumOf(v jsontext.Value) uint64 {
	switch {
	case len(v.Raw) == 0 || string(v.Raw) == "null":
		return 0
	case v.Form == jsontext.Plain:
		return max(xxhash.Sum64(v.Raw), 1)
	}
	return max(respelled(v.Raw), 1)
}

// part returns the sum of the object that the cursor stands before.
func (w *walker) part(v jsontext.Value, depth int) (sum uint64, isResult bool) {
	if depth >= maxDepth {
		return w.sum(v), false
	}
	w.left -= workPart
	start := w.At
	var p item
	w.item(&p, depth)
	if w.Failed {
		return 0, false
	}
	return w.block(&p, start)
}

// block finds out what kind of block an item is, and returns its sum as that kind.
// start is where the item begins.
func (w *walker) block(p *item, start int) (sum uint64, isResult bool) {
	t := p.typ
	switch {
	case p.thought, is(t, "thinking"), is(t, "redacted_thinking"), is(t, "reasoning"), is(t, "thought"):
		return 0, false // clients drop and re-sign these between turns
	case p.moved:
		return 0, false
	case p.functionCall != 0:
		return w.call(p, p.functionCall), false
	case p.functionResponse != 0:
		return w.result(p, p.functionResponse), true
	case p.function != 0: // chat's tool_calls
		return w.call(p, Fold(Fold(tagCall, sumOf(p.id)), p.function)), false
	case p.toolUseID != 0:
		return w.result(p, result(p.toolUseID, 0, p.content)), true
	case p.callID != 0 && (p.output != 0 || is(t, "function_result")):
		return w.result(p, result(p.callID, 0, Fold(p.output, p.response))), true
	case p.callID != 0, is(t, "tool_use"), is(t, "server_tool_use"), is(t, "mcp_tool_use"), is(t, "function_call"):
		id := p.callID
		if id == 0 {
			id = sumOf(p.id)
		}
		return w.call(p, call(id, sumOf(p.name), Fold(Fold(p.args, p.input), p.action))), false
	case is(t, "compaction") && p.content == 0:
		return w.compaction(p, start), false
	case p.media != 0:
		return p.media, false
	case p.text != 0:
		return p.text, false
	case p.refusal != 0:
		return p.refusal, false
	case p.content != 0: // Interactions: the content of a turn or a step
		return p.content, false
	}
	return w.unknown(start), false
}

// anyID returns the id that a call and its result share.
func (p *item) anyID() []byte {
	if p.rawID != nil {
		return p.rawID
	}
	return p.id.Raw
}

// call takes the sum of a tool call, and notes the id.
func (w *walker) call(p *item, sum uint64) uint64 {
	w.calls++
	w.ids.note(p.anyID(), sum, 0)
	return sum
}

// result takes the sum of a tool's result, and notes the id.
func (w *walker) result(p *item, sum uint64) uint64 {
	w.results++
	w.ids.note(p.anyID(), sum, 0)
	return sum
}

// compaction returns the sum of an item that stands for all earlier messages in a form
// that only the provider can read. It is the sum of the item's id, or of the whole item.
func (w *walker) compaction(p *item, start int) uint64 {
	if w.ids != nil {
		w.ids.summary = true
	}
	if id := sumOf(p.id); id != 0 {
		w.ids.note(p.id.Raw, id, 0)
		return Fold(tagOther, id)
	}
	again := w.Again(start)
	o := walker{Cursor: &again}
	sum := uint64(tagOther)
	for {
		name, v, ok := o.Member()
		if !ok {
			return sum
		}
		if x := o.sum(v); string(name) == "encrypted_content" {
			sum = Fold(sum, x)
		}
	}
}

// call returns the sum of a tool call. The call's id tells two conversations with equal
// words apart.
func call(id, name, args uint64) uint64 {
	return Fold(Fold(Fold(tagCall, id), name), args)
}

// result returns the sum of a tool's result.
func result(id, name, output uint64) uint64 {
	return Fold(Fold(Fold(tagResult, id), name), output)
}

// item reads the object that the cursor stands before into m, which is zero. The
// last of duplicate members counts.
func (w *walker) item(m *item, depth int) {
	start := w.At
	for range maxFields {
		if w.tired() {
			return
		}
		name, v, ok := w.Member()
		if !ok {
			return
		}
		w.left -= workMember
		switch string(name) {
		case "role":
			m.role = notNull(w.whole(v))
		case "type":
			m.typ = notNull(w.whole(v)).Raw
		case "content":
			if m.unsummed.Raw = nil; depth == 0 && v.Raw[0] == '"' && isSystem(m.role.Raw) {
				m.content, m.unsummed = 0, w.unsummed(v)
				continue
			}
			m.content = w.content(v, depth+1)
		case "parts":
			m.parts = w.content(v, depth+1)
		case "text":
			m.text = w.text(v)
			m.moved = m.text == 0 && moves(v.Raw)
		case "refusal":
			m.refusal = w.text(v)
		case "id":
			m.id = w.whole(v)
		case "call_id":
			m.callID, m.rawID = w.sum(v), v.Raw
		case "tool_use_id":
			m.toolUseID, m.rawID = w.sum(v), v.Raw
		case "tool_call_id":
			m.toolCallID, m.rawID = w.sum(v), v.Raw
		case "name":
			m.name = w.whole(v)
		case "args", "arguments":
			m.args = w.weigh(v)
		case "input":
			m.input = w.weigh(v)
		case "action":
			m.action = w.weigh(v)
		case "output", "result":
			if v.Raw[0] == '{' {
				m.output = w.weigh(v)
			} else {
				m.output = w.content(v, depth+1)
			}
		case "response":
			m.response = w.weigh(v)
		case "tool_calls":
			m.toolCalls = w.content(v, depth+1)
		case "function", "custom":
			if f, ok := w.inner(v, depth); ok {
				m.function = call(0, f.name, Fold(f.args, f.input))
			}
		case "functionCall", "function_call":
			if f, ok := w.inner(v, depth); ok {
				m.functionCall, m.rawID = call(f.id, f.name, f.args), f.rawID
			}
		case "functionResponse", "function_response":
			if f, ok := w.inner(v, depth); ok {
				m.functionResponse, m.rawID = result(f.id, f.name, f.response), f.rawID
			}
		case "thought":
			m.thought = string(w.whole(v).Raw) == "true"
		case "source", "image_url", "file_id", "file", "file_data", "fileData",
			"inlineData", "inline_data", "input_audio", "audio", "image", "video_url", "data", "uri":
			m.media += Fold(tagMedia, w.sum(v))
		default:
			w.pass(v)
		}
	}
	if !w.AnotherMember() {
		return
	}
	sum := Fold(tagOther, w.weigh(w.SkipFrom(start)))
	*m = item{content: Fold(0, sum), media: sum}
}

// function holds the values that count of an object inside a call or a result.
type function struct {
	id, name, args, input, response uint64
	rawID                           []byte
}

// inner reads an object that stands inside another one. The item is declared here and
// not in the loop over the outer object's members, where it would be moved to the heap.
func (w *walker) inner(v jsontext.Value, depth int) (f function, ok bool) {
	w.left -= workPart
	if v.Raw[0] != '{' || depth >= maxDepth {
		w.pass(v)
		return f, false
	}
	var m item
	w.item(&m, depth+1)
	if w.Failed {
		return f, false
	}
	return function{sumOf(m.id), sumOf(m.name), m.args, m.input, m.response, m.id.Raw}, true
}

// unknown returns the sum of all values of a block of an unknown kind. It reads the
// block a second time.
func (w *walker) unknown(start int) (sum uint64) {
	again := w.Again(start)
	o := walker{Cursor: &again}
	for {
		name, v, ok := o.Member()
		if !ok || w.tired() {
			return sum
		}
		w.left -= 3 * workMember
		if volatile(name) {
			o.pass(v)
			continue
		}
		// A client that writes the object anew may change the order of its members.
		sum += Fold(Fold(tagOther, xxhash.Sum64(name)), o.sum(v))
		w.left += o.left
		o.left = 0
	}
}

// volatile reports whether clients change this member between turns.
func volatile(name []byte) bool {
	switch string(name) {
	case "cache_control", "signature", "thoughtSignature", "thought_signature", "id", "status",
		"annotations", "encrypted_content", "logprobs", "is_error", "type":
		return true
	}
	return false
}

// notNull returns the zero Value for null.
func notNull(v jsontext.Value) jsontext.Value {
	if string(v.Raw) == "null" {
		return jsontext.Value{}
	}
	return v
}

// is reports whether a raw JSON value is the string want, which has no character
// that JSON must escape.
func is(raw []byte, want string) bool {
	return len(raw) == len(want)+2 && raw[0] == '"' && string(raw[1:len(raw)-1]) == want
}
