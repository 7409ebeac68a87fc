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
