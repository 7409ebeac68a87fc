package sessionid

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// spelled returns what a stream of one event leaves, in the spelling of the providers and in
// another one.
func spelled(event string) (quick, slow AnswerWriter) {
	_, _ = quick.Write([]byte("data: " + event + "\n"))
	_, _ = slow.Write([]byte("data: " + strings.Replace(event, "{", "{ ", 1) + "\n"))
	quick.line, slow.line = nil, nil
	return quick, slow
}

// Most of a stream is read in a quicker way, which says the same.
func TestPiecesAreReadAsAllEventsAre(t *testing.T) {
	for event, quick := range map[string]bool{
		`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello"}}`:                                 true,
		`{"type":"content_block_delta","index":12,"delta":{"type":"text_delta","text":"a \"b\"\n\u00e9 \ud83d\ude00 é"}}`:       true,
		`{"type":"content_block_delta","index":1023,"delta":{"type":"input_json_delta","partial_json":"{\"a\":"}}`:              true,
		`{"type":"content_block_delta","index":1024,"delta":{"type":"text_delta","text":"too many"}}`:                           true,
		`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":""}}`:                                      true,
		`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"` + strings.Repeat("long ", 1000) + `"}}`: true,
		`{"type":"content_block_delta","index":00,"delta":{"type":"text_delta","text":"no JSON"}}`:                              false,
		`{"type":"content_block_delta","index":-1,"delta":{"type":"text_delta","text":"x"}}`:                                    false,
		`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\x"}}`:                                    false,
		`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x","text":"y"}}`:                          false,
		`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}},{"a":{"b":"c"}}`:                     false,
		`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":{}}}`:                                      false,
		`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"x"}}`:                             false,
		`{"type":"content_block_stop","index":0}`:                                                                               true,
		`{"type":"ping"}`: true,
		`{"type":"response.output_text.delta","item_id":"msg_1","output_index":0,"content_index":0,"delta":"Hi"}`:                         true,
		`{"type":"response.output_item.done","output_index":0,"item":{"type":"function_call","call_id":"c","name":"n","arguments":"{}"}}`: false,
		`{"type":"response.completed","response":{"id":"resp_1"}}`:                                                                        false,
		`{"type":"response.comp\u006ceted","response":{"id":"resp_1"}}`:                                                                   false,
		`{"type":"message_stop"}`:                      false,
		`{"choices":[{"delta":{"content":"a"}}]}`:      false,
		`{"type":"unknown","candidates":[{"a":"b"}]}`:  false,
		`{"type":"content_block_delta","index":0,"del`: false,
		`{"type":"`: false,
	} {
		require.Equal(t, quick, new(AnswerWriter).piece([]byte(event)), event)
		one, other := spelled(event)
		require.Equal(t, other, one, event)
	}
}

func FuzzPiece(f *testing.F) {
	f.Add("text", "Hello", 0, "}}")
	f.Add("partial_json", "{\\\"a\\\":1}", 3, "}}")
	f.Add("text", "\\u00e9\\ud83d", 7, " } }")
	f.Fuzz(func(t *testing.T, member, text string, index int, end string) {
		if strings.ContainsAny(member+text+end, "\n") {
			return
		}
		kind := map[string]string{"partial_json": "input_json_delta"}[member]
		if kind == "" {
			kind = member + "_delta"
		}
		one, other := spelled(fmt.Sprintf(`{"type":"content_block_delta","index":%d,"delta":{"type":"%s","%s":"%s"%s`, index, kind, member, text, end))
		require.Equal(t, other, one)
	})
}
