package affinityws

import "github.com/tidwall/gjson"

// message is a message of a client.
type message struct {
	text   []byte
	turn   bool   // it is a response.create
	stream string // its stream_id
}

// maxStreamID is how long the name of a stream may be. OpenAI's guide defines the length and
// the characters.
const maxStreamID = 256

// readMessage reads a message. bad is the code of the error if it is invalid. A duplicate of a
// member that this package uses is an error, because some readers take the first one and some
// the last.
func readMessage(text []byte) (m message, bad string) {
	if !gjson.ValidBytes(text) {
		return m, "invalid_json"
	}
	v := gjson.ParseBytes(text)
	if !v.IsObject() {
		return m, "invalid_json"
	}
	m.text = text
	seen := map[string]bool{}
	v.ForEach(func(name, value gjson.Result) bool {
		switch name.Str {
		case "type":
			m.turn = value.Str == "response.create"
		case "stream_id":
			if m.stream = value.Str; !isStreamID(m.stream) {
				bad = "invalid_stream_id"
			}
		case "model", "previous_response_id":
		default:
			return true
		}
		if seen[name.Str] {
			bad = "invalid_json"
		}
		seen[name.Str] = true
		return bad == ""
	})
	if bad == "" && !seen["type"] {
		bad = "invalid_event"
	}
	return m, bad
}

func isStreamID(id string) bool {
	if id == "" || len(id) > maxStreamID {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-', c == '.':
		default:
			return false
		}
	}
	return true
}
