package sessionid_test

import (
	"fmt"
	"net/http"

	"github.com/llmaffinity/llmaffinity/sessionid"
)

func ExampleExtract() {
	header := http.Header{"X-Claude-Code-Session-Id": {"8a218e62-bb55-446a-bc6c-b288fc65f5b5"}}
	id := sessionid.Extract(header, nil)
	fmt.Println(id.Signal().Name, id.Signal().Kind)

	one := sessionid.Extract(nil, []byte(`{"messages":[{"role":"user","content":"hi"}]}`))
	two := sessionid.Extract(nil, []byte(`{"messages":[{"role":"user","content":"hi"},
		{"role":"assistant","content":"hello"},{"role":"user","content":"who are you?"}]}`))
	fmt.Println(two.Signal().Name, two.Fallbacks()[1] == one.End())

	none := sessionid.Extract(nil, []byte(`not JSON`))
	fmt.Println(none, none.IsZero())
	// Output:
	// X-Claude-Code-Session-Id native-header
	// content true
	// none true
}

func ExampleModel() {
	fmt.Println(sessionid.Model([]byte(`{"messages":[{"role":"user","content":"hi"}],"model":"claude-opus-4-6"}`)))
	// Output: claude-opus-4-6
}

// The clients of this gateway send X-Acme-Chat. The gateway trusts no generic
// header, and each subagent is a session of its own.
func ExampleNewExtractor() {
	e, err := sessionid.NewExtractor(&sessionid.Options{
		Own:        []sessionid.Place{{Header: "X-Acme-Chat"}, {Path: "acme.chat.id"}},
		Order:      []sessionid.Kind{sessionid.KindOwn, sessionid.KindNativeHeader, sessionid.KindNativeBody, sessionid.KindContent},
		LanesApart: true,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	id := e.Extract(http.Header{"X-Session-Id": {"of a proxy"}}, []byte(`{"acme":{"chat":{"id":"c-7"}}}`))
	fmt.Println(id.Signal().Name, id.Signal().Kind)

	_, err = sessionid.NewExtractor(&sessionid.Options{Without: []string{"x-sesion-id"}})
	fmt.Println(err)
	// Output:
	// acme.chat.id own
	// sessionid: Without has "x-sesion-id", which is not the name of a signal
}
