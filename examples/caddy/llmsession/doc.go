// Package llmsession keeps all requests of one LLM conversation on one upstream of Caddy's
// reverse_proxy, because the upstream holds its prompt cache. An upstream is what the library
// calls an auth: what a gateway chooses among. The package has two Caddy modules that belong
// together:
//
//	llm_session
//	reverse_proxy {
//		to …
//		lb_policy llm_session {
//			fallback least_conn
//		}
//	}
//
// [Policy] is a selection policy. It finds the session of a request, by its header or its
// body, and selects the session's upstream. For other requests one of Caddy's own policies
// selects.
//
// [Handler] stands before reverse_proxy. Caddy does not tell a policy how a request went. The
// handler sees the answer pass, and reports it.
package llmsession
