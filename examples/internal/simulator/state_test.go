package simulator

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/sessionid"
)

// send calls the server without a network, so that it also works in a bubble of synctest.
func send(t *testing.T, s *Server, key, method, path, body string) (int, string) {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+key)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	text, err := io.ReadAll(w.Body)
	require.NoError(t, err)
	if w.Code != http.StatusOK {
		require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	}
	return w.Code, strings.TrimSpace(string(text))
}

func server(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := New(o)
	require.NoError(t, err)
	return s
}

func TestAResponseIsContinued(t *testing.T) {
	s := server(t, Options{MinTokens: 1})
	status, one := send(t, s, "k", "POST", "/v1/responses", `{"model":"m","instructions":"i","input":"`+long+`"}`)
	require.Equal(t, 200, status)
	require.True(t, gjson.Get(one, "store").Bool())
	id := gjson.Get(one, "id").Str
	next := fmt.Sprintf(`{"model":"m","instructions":"i","input":"more","previous_response_id":%q}`, id)
	status, two := send(t, s, "k", "POST", "/v1/responses", next)
	require.Equal(t, 200, status)
	require.Equal(t, id, gjson.Get(two, "previous_response_id").Str)

	t.Run("its prompt is what was said and the answer", func(t *testing.T) {
		body := fmt.Sprintf(`{"model":"m","instructions":"i","input":[{"role":"user","content":%q},%s,{"role":"user","content":"more"}]}`, long, gjson.Get(one, "output.0").Raw)
		_, whole := send(t, s, "k", "POST", "/v1/responses", body)
		require.Equal(t, gjson.Get(whole, "usage.input_tokens").Int(), gjson.Get(two, "usage.input_tokens").Int())
		require.Equal(t, gjson.Get(one, "usage.input_tokens").Int(), gjson.Get(two, "usage.input_tokens_details.cached_tokens").Int())
		require.Equal(t, gjson.Get(two, "usage.input_tokens").Int(), gjson.Get(whole, "usage.input_tokens_details.cached_tokens").Int(), "the prompt of a continued response must be the same as the whole history")
	})
	t.Run("the second is continued too", func(t *testing.T) {
		_, three := send(t, s, "k", "POST", "/v1/responses", fmt.Sprintf(`{"model":"m","instructions":"i","input":"x","previous_response_id":%q}`, gjson.Get(two, "id").Str))
		require.Equal(t, gjson.Get(two, "usage.input_tokens").Int(), gjson.Get(three, "usage.input_tokens_details.cached_tokens").Int())
	})
	t.Run("by its own credential only", func(t *testing.T) {
		status, text := send(t, s, "other", "POST", "/v1/responses", next)
		require.Equal(t, 400, status)
		require.JSONEq(t, `{"error":{"message":"Previous response with id '`+id+`' not found.","type":"invalid_request_error","param":"previous_response_id","code":"previous_response_not_found"}}`, text)
		require.Zero(t, s.Stats()["other"].Served)
	})
	t.Run("not if it was not stored", func(t *testing.T) {
		_, one := send(t, s, "k", "POST", "/v1/responses", `{"model":"m","store":false,"input":"x"}`)
		require.False(t, gjson.Get(one, "store").Bool())
		status, _ := send(t, s, "k", "POST", "/v1/responses", fmt.Sprintf(`{"model":"m","input":"x","previous_response_id":%q}`, gjson.Get(one, "id").Str))
		require.Equal(t, 400, status)
	})
	t.Run("not if its stream broke off", func(t *testing.T) {
		for _, f := range []Fault{{EventError: 3}, {EventError: 9}} {
			s.SetFault("k", f)
			_, stream := send(t, s, "k", "POST", "/v1/responses", `{"model":"m","stream":true,"input":"x"}`)
			s.SetFault("k", Fault{})
			status, _ := send(t, s, "k", "POST", "/v1/responses", fmt.Sprintf(`{"model":"m","input":"x","previous_response_id":%q}`, gjson.Get(dataOf(stream)[0], "response.id").Str))
			require.Equal(t, 400, status)
		}
	})
	t.Run("it is shown and deleted", func(t *testing.T) {
		unknown := `{"error":{"message":"Response with id '` + id + `' not found.","type":"invalid_request_error","param":null,"code":null}}`
		status, text := send(t, s, "other", "GET", "/v1/responses/"+id, "")
		require.Equal(t, 404, status)
		require.JSONEq(t, unknown, text)
		status, _ = send(t, s, "other", "DELETE", "/v1/responses/"+id, "")
		require.Equal(t, 404, status)
		status, text = send(t, s, "k", "GET", "/v1/responses/"+id, "")
		require.Equal(t, 200, status)
		require.JSONEq(t, one, text)
		status, text = send(t, s, "k", "DELETE", "/v1/responses/"+id, "")
		require.Equal(t, 200, status)
		require.JSONEq(t, `{"id":"`+id+`","object":"response","deleted":true}`, text)
		status, text = send(t, s, "k", "GET", "/v1/responses/"+id, "")
		require.Equal(t, 404, status)
		require.JSONEq(t, unknown, text)
	})
}

func TestAConversationIsKept(t *testing.T) {
	s := server(t, Options{MinTokens: 1})
	status, made := send(t, s, "k", "POST", "/v1/conversations", `{"metadata":{"a":"b"},"items":[{"type":"message","role":"user","content":"`+long+`"}]}`)
	require.Equal(t, 200, status)
	require.Equal(t, "conversation", gjson.Get(made, "object").Str)
	require.Equal(t, "b", gjson.Get(made, "metadata.a").Str)
	id := gjson.Get(made, "id").Str
	require.Regexp(t, `^conv_[0-9a-f]{16}$`, id)
	items := "/v1/conversations/" + id + "/items"

	_, one := send(t, s, "k", "POST", "/v1/responses", fmt.Sprintf(`{"model":"m","input":"q","conversation":%q}`, id))
	require.Equal(t, id, gjson.Get(one, "conversation.id").Str)
	require.Greater(t, gjson.Get(one, "usage.input_tokens").Int(), int64(1500), "the items of the conversation must be part of the prompt")
	_, two := send(t, s, "k", "POST", "/v1/responses", fmt.Sprintf(`{"model":"m","input":"q","conversation":{"id":%q}}`, id))
	require.Equal(t, gjson.Get(one, "usage.input_tokens").Int(), gjson.Get(two, "usage.input_tokens_details.cached_tokens").Int())
	require.Greater(t, gjson.Get(two, "usage.input_tokens").Int(), gjson.Get(one, "usage.input_tokens").Int()+40)

	_, list := send(t, s, "k", "GET", items+"?order=asc", "")
	require.Len(t, gjson.Get(list, "data").Array(), 5, list)
	require.Equal(t, gjson.Get(one, "output.0.id").Str, gjson.Get(list, "data.2.id").Str)
	_, added := send(t, s, "k", "POST", items, `{"items":[{"role":"user","content":"later"}]}`)
	require.Equal(t, "list", gjson.Get(added, "object").Str)
	require.JSONEq(t, `[{"type":"input_text","text":"later"}]`, gjson.Get(added, "data.0.content").Raw, "an item's content must be a list of parts, also if it was sent as a text")
	require.JSONEq(t, `[{"type":"input_text","text":"q"}]`, gjson.Get(list, "data.1.content").Raw)
	_, list = send(t, s, "k", "GET", items+"?limit=2", "")
	require.Equal(t, gjson.Get(added, "data.0.id").Str, gjson.Get(list, "data.0.id").Str, "the list must have the newest item first")
	require.True(t, gjson.Get(list, "has_more").Bool())
	_, list = send(t, s, "k", "GET", items+"?after="+gjson.Get(list, "last_id").Str, "")
	require.Len(t, gjson.Get(list, "data").Array(), 4)
	_, answered := send(t, s, "k", "POST", items, `{"items":[{"role":"assistant","content":"so it is"}]}`)
	require.JSONEq(t, `[{"type":"output_text","text":"so it is","annotations":[]}]`, gjson.Get(answered, "data.0.content").Raw)
	_, shown := send(t, s, "k", "GET", "/v1/conversations/"+id, "")
	require.JSONEq(t, made, shown)

	unknown := `{"error":{"message":"Conversation with id '` + id + `' not found.","type":"invalid_request_error","param":null,"code":null}}`
	refused := func(key string) {
		for _, r := range [][3]string{
			{"GET", "/v1/conversations/" + id}, {"GET", items}, {"POST", items, `{"items":[]}`}, {"DELETE", "/v1/conversations/" + id},
			{"POST", "/v1/responses", fmt.Sprintf(`{"model":"m","input":"q","conversation":%q}`, id)},
		} {
			status, text := send(t, s, key, r[0], r[1], r[2])
			require.Equal(t, 404, status, r)
			require.JSONEq(t, unknown, text, r)
		}
	}
	refused("other")
	status, text := send(t, s, "k", "DELETE", "/v1/conversations/"+id, "")
	require.Equal(t, 200, status)
	require.JSONEq(t, `{"id":"`+id+`","object":"conversation.deleted","deleted":true}`, text)
	refused("k")
}

func TestAMessageThread(t *testing.T) {
	create := func(thread string) string {
		return `{"model":"m","system":"` + long + `","tools":[{"name":"look"}],` + thread + `"messages":[{"role":"user","content":"q"}]}`
	}
	next := func(id string) string {
		return fmt.Sprintf(`{"model":"m","thread":{"type":"continue","previous_message_id":%q},"messages":[{"role":"user","content":"more"}]}`, id)
	}
	unknown := func(id string) string {
		return `{"type":"error","error":{"type":"not_found_error","message":"Thread not found: ` + id + `","details":{"error_code":"thread_not_found"}}}`
	}
	const begin = `"thread":{"type":"create"},`
	t.Run("keeps everything", func(t *testing.T) {
		s := server(t, Options{ToolCalls: true})
		_, one := send(t, s, "k", "POST", "/v1/messages", create(begin))
		status, two := send(t, s, "k", "POST", "/v1/messages", next(gjson.Get(one, "id").Str))
		require.Equal(t, 200, status)
		require.Equal(t, gjson.Get(one, "usage.cache_creation_input_tokens").Int(), gjson.Get(two, "usage.cache_read_input_tokens").Int(), "the second prompt must find system, tools and the question of the first one in the cache")
		require.Positive(t, gjson.Get(two, "usage.cache_creation_input_tokens").Int())
		require.Equal(t, "tool_use", gjson.Get(two, "stop_reason").Str, "a continued thread must have the tools of the first request")
		status, _ = send(t, s, "k", "POST", "/v1/messages", next(gjson.Get(two, "id").Str))
		require.Equal(t, 200, status)
	})
	t.Run("is known to its credential", func(t *testing.T) {
		s := server(t, Options{})
		_, one := send(t, s, "k", "POST", "/v1/messages", create(begin))
		id := gjson.Get(one, "id").Str
		status, text := send(t, s, "other", "POST", "/v1/messages", next(id))
		require.Equal(t, 404, status)
		require.JSONEq(t, unknown(id), text)
	})
	t.Run("is none that nobody asked for", func(t *testing.T) {
		s := server(t, Options{})
		_, one := send(t, s, "k", "POST", "/v1/messages", create(""))
		status, _ := send(t, s, "k", "POST", "/v1/messages", next(gjson.Get(one, "id").Str))
		require.Equal(t, 404, status)
	})
	t.Run("is gone when it was idle", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := server(t, Options{})
			_, text := send(t, s, "k", "POST", "/v1/messages", create(begin))
			for range 3 {
				time.Sleep(4 * time.Minute)
				var status int
				status, text = send(t, s, "k", "POST", "/v1/messages", next(gjson.Get(text, "id").Str))
				require.Equal(t, 200, status)
			}
			time.Sleep(5 * time.Minute)
			id := gjson.Get(text, "id").Str
			status, text := send(t, s, "k", "POST", "/v1/messages", next(id))
			require.Equal(t, 404, status)
			require.JSONEq(t, unknown(id), text)
		})
	})
}

func TestAContainer(t *testing.T) {
	s := server(t, Options{})
	body := func(members string) string {
		return `{"model":"m",` + members + `"messages":[{"role":"user","content":"q"}]}`
	}
	const runs = `"tools":[{"type":"code_execution_20250825","name":"code_execution"}],`
	_, none := send(t, s, "k", "POST", "/v1/messages", body(""))
	require.False(t, gjson.Get(none, "container").Exists())
	_, one := send(t, s, "k", "POST", "/v1/messages", body(runs))
	id := gjson.Get(one, "container.id").Str
	require.Regexp(t, `^container_[0-9a-f]{16}$`, id)
	expires, err := time.Parse(time.RFC3339, gjson.Get(one, "container.expires_at").Str)
	require.NoError(t, err)
	require.True(t, expires.After(time.Now()))
	for _, named := range []string{`"container":"` + id + `",`, `"container":{"id":"` + id + `"},`} {
		status, two := send(t, s, "k", "POST", "/v1/messages", body(named))
		require.Equal(t, 200, status)
		require.Equal(t, id, gjson.Get(two, "container.id").Str)
		status, text := send(t, s, "other", "POST", "/v1/messages", body(named))
		require.Equal(t, 404, status)
		require.JSONEq(t, `{"type":"error","error":{"type":"not_found_error","message":"Container not found: `+id+`"}}`, text)
	}
	_, skills := send(t, s, "k", "POST", "/v1/messages", body(`"container":{"skills":[]},`))
	require.NotEqual(t, id, gjson.Get(skills, "container.id").Str)
	_, stream := send(t, s, "k", "POST", "/v1/messages", body(`"stream":true,`+runs))
	data := dataOf(stream)
	require.Regexp(t, `^container_`, gjson.Get(data[len(data)-2], "delta.container.id").Str, "the container's id must be in message_delta")
	require.Len(t, sessionid.ReadAnswer([]byte(stream)).Owners(), 1)
}

func TestACachedContent(t *testing.T) {
	s := server(t, Options{})
	status, made := send(t, s, "k", "POST", "/v1beta/cachedContents", `{"model":"models/m","systemInstruction":{"parts":[{"text":"s"}]},"contents":[{"role":"user","parts":[{"text":"c"}]}],"ttl":"300s"}`)
	require.Equal(t, 200, status)
	name := gjson.Get(made, "name").Str
	require.Regexp(t, `^cachedContents/`, name)
	held := gjson.Get(made, "usageMetadata.totalTokenCount").Int()
	require.Positive(t, held)
	ask := fmt.Sprintf(`{"cachedContent":%q,"contents":[{"role":"user","parts":[{"text":"q"}]}]}`, name)
	const generate = "/v1beta/models/m:generateContent"
	_, one := send(t, s, "k", "POST", generate, ask)
	require.Equal(t, held, gjson.Get(one, "usageMetadata.cachedContentTokenCount").Int(), "cached content must be cached, however short it is")
	require.Greater(t, gjson.Get(one, "usageMetadata.promptTokenCount").Int(), held)
	_, shown := send(t, s, "k", "GET", "/v1beta/"+name, "")
	require.JSONEq(t, made, shown)
	_, patched := send(t, s, "k", "PATCH", "/v1beta/"+name, `{"ttl":"7200s"}`)
	require.NotEqual(t, gjson.Get(made, "expireTime").Str, gjson.Get(patched, "expireTime").Str)
	_, patched = send(t, s, "k", "PATCH", "/v1beta/"+name, `{"expireTime":"2999-01-02T03:04:05Z"}`)
	require.Equal(t, "2999-01-02T03:04:05Z", gjson.Get(patched, "expireTime").Str)

	refused := func(key string) {
		for _, r := range [][3]string{
			{"POST", generate, ask}, {"GET", "/v1beta/" + name}, {"PATCH", "/v1beta/" + name, `{"ttl":"1s"}`}, {"DELETE", "/v1beta/" + name},
		} {
			status, text := send(t, s, key, r[0], r[1], r[2])
			require.Equal(t, 403, status, r)
			require.JSONEq(t, `{"error":{"code":403,"message":"CachedContent not found (or permission denied)","status":"PERMISSION_DENIED"}}`, text)
		}
	}
	refused("other")
	status, text := send(t, s, "k", "DELETE", "/v1beta/"+name, "")
	require.Equal(t, 200, status)
	require.Equal(t, "{}", text)
	refused("k")
	synctest.Test(t, func(t *testing.T) {
		_, made := send(t, s, "k", "POST", "/v1beta/cachedContents", `{"ttl":"300s"}`)
		time.Sleep(300 * time.Second)
		status, _ := send(t, s, "k", "GET", "/v1beta/"+gjson.Get(made, "name").Str, "")
		require.Equal(t, 403, status)
	})
}

func TestAnInteraction(t *testing.T) {
	s := server(t, Options{MinTokens: 1})
	_, one := send(t, s, "k", "POST", "/v1beta/interactions", `{"model":"m","system_instruction":"s","input":"`+long+`"}`)
	require.Equal(t, "interaction", gjson.Get(one, "object").Str)
	require.Equal(t, "completed", gjson.Get(one, "status").Str)
	require.Equal(t, gjson.Get(one, "outputs.0.text").Str, gjson.Get(one, "steps.0.content.0.text").Str)
	id := gjson.Get(one, "id").Str
	next := fmt.Sprintf(`{"model":"m","system_instruction":"s","input":[{"type":"text","text":"more"}],"previous_interaction_id":%q`, id)
	status, two := send(t, s, "k", "POST", "/v1beta/interactions", next+`}`)
	require.Equal(t, 200, status)
	require.Equal(t, gjson.Get(one, "usage.total_input_tokens").Int(), gjson.Get(two, "usage.total_cached_tokens").Int())
	require.Greater(t, gjson.Get(two, "usage.total_input_tokens").Int(), gjson.Get(two, "usage.total_cached_tokens").Int()+40)
	status, text := send(t, s, "other", "POST", "/v1beta/interactions", next+`}`)
	require.Equal(t, 404, status)
	require.JSONEq(t, `{"error":{"code":"not_found","message":"Interaction `+id+` not found."}}`, text)
	_, one = send(t, s, "k", "POST", "/v1beta/interactions", `{"model":"m","store":false,"input":"x"}`)
	status, _ = send(t, s, "k", "POST", "/v1beta/interactions", fmt.Sprintf(`{"model":"m","input":"x","previous_interaction_id":%q}`, gjson.Get(one, "id").Str))
	require.Equal(t, 404, status)

	_, stream := send(t, s, "k", "POST", "/v1beta/interactions", next+`,"stream":true}`)
	data := dataOf(stream)
	var said strings.Builder
	for _, d := range data[:len(data)-1] {
		said.WriteString(gjson.Get(d, "delta.text").Str)
	}
	require.Contains(t, said.String(), "Answer ")
	require.Equal(t, "interaction.created", gjson.Get(data[0], "event_type").Str)
	require.Equal(t, "interaction.completed", gjson.Get(data[len(data)-2], "event_type").Str)
	require.Equal(t, "[DONE]", data[len(data)-1])
	require.Positive(t, gjson.Get(data[len(data)-2], "interaction.usage.total_cached_tokens").Int())
	s.SetFault("k", Fault{EventError: 1})
	_, stream = send(t, s, "k", "POST", "/v1beta/interactions", next+`,"stream":true}`)
	require.Equal(t, "unavailable", gjson.Get(dataOf(stream)[1], "error.code").Str)
	require.Contains(t, stream, "event: error\n")
}

func TestTheInputOfAnInteractionHasManyForms(t *testing.T) {
	var prompts []uint64
	for _, input := range []string{
		`"q"`, `[{"type":"text","text":"q"}]`, `[{"role":"user","content":"q"}]`, `[{"type":"user_input","content":[{"type":"text","text":"q"}]}]`,
	} {
		body := bodyOf(t, `{"input":`+input+`}`)
		q := readInteraction(body)
		require.True(t, q.asked, input)
		prompts = append(prompts, q.hash())
	}
	for _, p := range prompts {
		require.Equal(t, prompts[0], p)
	}
	body := bodyOf(t, `{"input":[{"type":"user_input","content":"q"},{"type":"model_output","content":"a"}]}`)
	require.False(t, readInteraction(body).asked)
}

// hasty is a client that continues a response as soon as it has got the response's last event.
type hasty struct {
	*httptest.ResponseRecorder
	at   string
	next func()
}

func (h hasty) Write(p []byte) (int, error) {
	if strings.Contains(string(p), h.at) {
		h.next()
	}
	return h.ResponseRecorder.Write(p)
}

func TestAnAnswerIsKeptBeforeItEnds(t *testing.T) {
	for at, path := range map[string]string{"event: response.completed": "/v1/responses", "event: interaction.completed": "/v1beta/interactions"} {
		s := server(t, Options{})
		r := httptest.NewRequest("POST", path, strings.NewReader(`{"model":"m","stream":true,"input":"x"}`))
		r.Header.Set("Authorization", "Bearer k")
		w := hasty{ResponseRecorder: httptest.NewRecorder(), at: at}
		asked := false
		w.next = func() {
			asked = true
			first := gjson.Parse(dataOf(w.Body.String())[0])
			id := first.Get("response.id").Str + first.Get("interaction.id").Str
			status, _ := send(t, s, "k", "POST", path, fmt.Sprintf(`{"model":"m","input":"x","previous_response_id":%[1]q,"previous_interaction_id":%[1]q}`, id))
			require.Equal(t, 200, status)
		}
		s.ServeHTTP(w, r)
		require.True(t, asked)
	}
}

// Many clients use a conversation and a cached content at the same time.
func TestStateAtOnce(t *testing.T) {
	s := server(t, Options{MaxStates: 20})
	_, conv := send(t, s, "k", "POST", "/v1/conversations", `{}`)
	_, cached := send(t, s, "k", "POST", "/v1beta/cachedContents", `{}`)
	id, name := gjson.Get(conv, "id").Str, gjson.Get(cached, "name").Str
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 10 {
				for _, r := range [][3]string{
					{"POST", "/v1/responses", `{"model":"m","stream":true,"store":false,"input":"q","conversation":"` + id + `"}`},
					{"POST", "/v1/conversations/" + id + "/items", `{"items":[{"role":"user","content":"x"}]}`},
					{"GET", "/v1/conversations/" + id + "/items"}, {"PATCH", "/v1beta/" + name, `{"ttl":"1000s"}`}, {"GET", "/v1beta/" + name},
				} {
					status, text := send(t, s, "k", r[0], r[1], r[2])
					assert.Equal(t, 200, status, text)
				}
			}
		})
	}
	all.Wait()
	_, items := send(t, s, "k", "GET", "/v1/conversations/"+id+"/items?limit=1000", "")
	require.Len(t, gjson.Get(items, "data").Array(), 4*10*3)
}

func TestWhatIsKeptIsBounded(t *testing.T) {
	s := server(t, Options{MaxStates: 10})
	var ids []string
	for range 20 {
		_, one := send(t, s, "k", "POST", "/v1/responses", `{"model":"m","input":"x"}`)
		ids = append(ids, gjson.Get(one, "id").Str)
	}
	require.Equal(t, 10, s.accounts["k"].states.byID.Len())
	for i, want := range map[int]int{0: 404, 9: 404, 10: 200, 19: 200} {
		status, _ := send(t, s, "k", "GET", "/v1/responses/"+ids[i], "")
		require.Equal(t, want, status, i)
	}
}

func TestStatesOfTheLibraryAreThoseOfTheProvider(t *testing.T) {
	s := server(t, Options{})
	_, conv := send(t, s, "k", "POST", "/v1/conversations", `{}`)
	for _, stream := range []string{"", `"stream":true,`} {
		_, text := send(t, s, "k", "POST", "/v1/responses", fmt.Sprintf(`{"model":"m",%s"input":"q","conversation":%q}`, stream, gjson.Get(conv, "id").Str))
		var names []string
		for _, o := range sessionid.ReadAnswer([]byte(text)).Owners() {
			names = append(names, o.Name)
		}
		require.ElementsMatch(t, []string{"previous_response_id", "conversation"}, names)
		_, text = send(t, s, "k", "POST", "/v1/responses", `{"model":"m",`+stream+`"input":"q","store":false}`)
		require.Empty(t, sessionid.ReadAnswer([]byte(text)).Owners())
	}
}
