package sessionid

import (
	"bytes"

	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/sessionid/internal/jsontext"
)

// piece takes an event of the kinds of which most of a stream consists, if it is spelled as
// Anthropic and OpenAI spell it (captured): a piece of a text or of a call's arguments in
// Claude's API, and all that the Responses API says before an item is done. It does what event
// does, and costs a quarter. It returns false for all other events.
func (w *AnswerWriter) piece(data []byte) bool {
	data, ok := bytes.CutPrefix(data, []byte(`{"type":"`))
	end := bytes.IndexByte(data, '"')
	if !ok || end < 0 {
		return false
	}
	switch kind := data[:end]; string(kind) {
	case "content_block_delta":
		return w.pieceOfBlock(data[end+1:])
	case "ping", "content_block_stop":
		return true
	case "response.output_item.done", "response.created", "response.completed", "response.incomplete":
		return false
	default:
		return bytes.HasPrefix(kind, []byte("response.")) && bytes.IndexByte(kind, '\\') < 0
	}
}

// pieceOfBlock takes what follows the type of a content_block_delta.
func (w *AnswerWriter) pieceOfBlock(data []byte) bool {
	data, ok := bytes.CutPrefix(data, []byte(`,"index":`))
	if !ok {
		return false
	}
	block, digits := 0, 0
	for ; digits < len(data) && digits < 4 && data[digits] >= '0' && data[digits] <= '9'; digits++ {
		block = 10*block + int(data[digits]-'0')
	}
	if digits == 0 || digits > 1 && data[0] == '0' {
		return false
	}
	if data, ok = bytes.CutPrefix(data[digits:], []byte(`,"delta":{"type":"`)); !ok {
		return false
	}
	text, ok := bytes.CutPrefix(data, []byte(`text_delta","text":`))
	if !ok {
		if text, ok = bytes.CutPrefix(data, []byte(`input_json_delta","partial_json":`)); !ok {
			return false
		}
	}
	text, ok = bytes.CutSuffix(text, []byte(`}}`))
	if !ok || len(text) < 2 || text[0] != '"' {
		return false
	}
	if end, _ := jsontext.StringEnd(text, 0); end != len(text) || !jsontext.Valid(text) {
		return false
	}
	said := text[1 : len(text)-1]
	if bytes.IndexByte(said, '\\') >= 0 {
		said = []byte(gjson.ParseBytes(text).Str)
	}
	if b := w.at(&w.blocks, block); b != nil && w.grow(len(said)) {
		b.text = append(b.text, said...)
	}
	return true
}
