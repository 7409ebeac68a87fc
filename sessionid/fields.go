package sessionid

// fields are the members of a message, item, block or part that say
// something, raw, over all the APIs.
type fields struct {
	role, typ, content, parts               []byte
	text, refusal                           []byte
	id, callID, toolUseID, toolCallID       []byte
	name, args, arguments, input, action    []byte
	output, response                        []byte
	toolCalls, function                     []byte
	functionCall, functionResponse, thought []byte
	media                                   []byte
}

// read takes an object apart; of duplicate members the last counts. It
// returns false for what is no object.
func (f *fields) read(raw []byte) bool {
	w, ok := object(raw)
	if !ok {
		return false
	}
	for {
		name, v, ok := w.member()
		if !ok {
			return true
		}
		if string(v) == "null" {
			v = nil
		}
		switch string(name) {
		case "role":
			f.role = v
		case "type":
			f.typ = v
		case "content":
			f.content = v
		case "parts":
			f.parts = v
		case "text":
			f.text = v
		case "refusal":
			f.refusal = v
		case "id":
			f.id = v
		case "call_id":
			f.callID = v
		case "tool_use_id":
			f.toolUseID = v
		case "tool_call_id":
			f.toolCallID = v
		case "name":
			f.name = v
		case "args":
			f.args = v
		case "arguments":
			f.arguments = v
		case "input":
			f.input = v
		case "action":
			f.action = v
		case "output":
			f.output = v
		case "response":
			f.response = v
		case "tool_calls":
			f.toolCalls = v
		case "function", "custom":
			f.function = v
		case "functionCall", "function_call":
			f.functionCall = v
		case "functionResponse", "function_response":
			f.functionResponse = v
		case "thought":
			f.thought = v
		case "source", "image_url", "file_id", "file", "file_data", "fileData",
			"inlineData", "inline_data", "input_audio", "audio", "image", "video_url":
			f.media = v
		}
	}
}
