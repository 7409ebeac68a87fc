// Package llmsession keeps all requests of one LLM conversation on one upstream of
// Caddy's reverse_proxy, because a prompt cache lives behind it. It has two Caddy modules
// that go together:
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
// body, and selects the session's upstream. A policy of Caddy's own selects for the rest.
//
// [Handler] stands before reverse_proxy. Caddy tells a policy nothing of how a request
// went. The handler sees the answer, as it passes, and reports it.
package llmsession
