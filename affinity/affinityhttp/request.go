package affinityhttp

import (
	"bytes"
	"net/http"

	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/sessionid"
)

// describe returns the affinity.Request of a request. plain is its body, decompressed, or nil.
func (s *settings[T]) describe(in *http.Request, to target, plain []byte) affinity.Request {
	r := affinity.Request{
		Tenant: s.tenant(in), Pool: to.api, Model: to.model, Header: in.Header, Body: plain, Path: in.URL.Path,
		Side: to.kind == kindSide, Off: to.kind == kindApart,
	}
	if r.Model == "" && len(plain) > 0 {
		r.Model = sessionid.Model(plain)
	}
	if to.api == OpenAI && bytes.Contains(plain, []byte(`"cntr_`)) {
		r.ID = s.withContainers(in, plain)
	}
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

// withContainers returns the session of a request whose tools may name containers of OpenAI.
// sessionid does not read tools.
func (s *settings[T]) withContainers(in *http.Request, plain []byte) *sessionid.ID {
	id := s.identify(in.Header, plain).WithPath(in.URL.Path)
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
