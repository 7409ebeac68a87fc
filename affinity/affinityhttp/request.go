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
	return described(in, targetOf(in), body, sessionid.Extract)
}

func described(in *http.Request, to target, plain []byte, identify func(http.Header, []byte) sessionid.ID) affinity.Request {
	r := affinity.Request{
		Pool: to.api, Model: to.model, Header: in.Header, Body: plain, Path: in.URL.Path,
		Side: to.kind == kindSide, Off: to.kind == kindApart,
	}
	if r.Model == "" && len(plain) > 0 {
		r.Model = sessionid.Model(plain)
	}
	if to.api == OpenAI && bytes.Contains(plain, []byte(`"cntr_`)) {
		r.ID = withContainers(identify(in.Header, plain).WithPath(in.URL.Path), plain)
	}
	return r
}

// describe returns the affinity.Request of a request. plain is its body, decompressed, or nil.
func (s *settings[T]) describe(in *http.Request, to target, plain []byte) affinity.Request {
	r := described(in, to, plain, s.identify)
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

// identify returns the session of a request.
func (s *settings[T]) identify(h http.Header, body []byte) sessionid.ID {
	if s.Affinity.Extract != nil {
		return s.Affinity.Extract(h, body)
	}
	return sessionid.Extract(h, body)
}

// withContainers adds to a session the containers of OpenAI that the tools of its request name.
// sessionid does not read tools.
func withContainers(id sessionid.ID, plain []byte) *sessionid.ID {
	gjson.GetBytes(plain, "tools").ForEach(func(_, tool gjson.Result) bool {
		for _, at := range [...]string{"container", "environment.container_id"} {
			if v := tool.Get(at); v.Type == gjson.String {
				id = id.WithOwner("container", v.Str)
			}
		}
		return true
	})
	return &id
}
