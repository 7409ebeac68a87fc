package affinityhttp

import (
	"bytes"
	"net/http"

	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// Describe returns a client's request as a [Transport] describes it, for a gateway that calls
// [Send]: its API as the Pool, its model from the path or the body, and whether it belongs to a
// conversation. The caller sets the Tenant. body is the request's body, decompressed; it becomes
// a part of the Request.
func Describe(in *http.Request, body []byte) affinity.Request {
	return described(in, targetOf(in), body)
}

func described(in *http.Request, to target, plain []byte) affinity.Request {
	r := affinity.Request{
		Pool: to.api, Model: to.model, Header: in.Header, Body: plain, Path: in.URL.Path,
		Side: to.kind == kindSide, Off: to.kind == kindApart,
	}
	if r.Model == "" && len(plain) > 0 {
		r.Model = sessionid.Model(plain)
	}
	if to.api == OpenAI && bytes.Contains(plain, []byte(`"cntr_`)) {
		r.Owners = containersOf(plain)
	}
	return r
}

// describe returns the affinity.Request of a request. plain is its body, decompressed, or nil.
func (s *settings[T]) describe(in *http.Request, to target, plain []byte) affinity.Request {
	r := described(in, to, plain)
	r.Tenant = s.tenant(in)
	named := r.Tenant
	if s.Describe != nil {
		s.Describe(in, &r)
	}
	if s.fleeting != nil && named != "" && r.Tenant == named && !s.fleeting.Load() {
		s.fleeting.Store(true)
	}
	return r
}

// containersOf returns the containers of OpenAI that the tools of a request name. sessionid does
// not read tools.
func containersOf(plain []byte) (owners []sessionid.Owner) {
	gjson.GetBytes(plain, "tools").ForEach(func(_, tool gjson.Result) bool {
		for _, at := range [...]string{"container", "environment.container_id"} {
			if v := tool.Get(at); v.Type == gjson.String {
				owners = append(owners, sessionid.Owner{Name: "container", Key: sessionid.OwnerKey("container", v.Str)})
			}
		}
		return len(owners) < mostContainers
	})
	return owners
}

// mostContainers bounds what the tools of a hostile request cost.
const mostContainers = 8
