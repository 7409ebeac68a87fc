// Package affinityhttp is the loop around a pick, as an http.RoundTripper. A
// [httputil.ReverseProxy], or any http.Client, gets it as its Transport, and every
// conversation stays on its auth: a credential, an account, a deployment, a replica.
//
//	transport, err := affinityhttp.New(selector.RoundRobin[*Account](), name, accounts, prepare, nil)
//	...
//	proxy := &httputil.ReverseProxy{
//		Rewrite:       func(*httputil.ProxyRequest) {},
//		Transport:     transport,
//		ErrorHandler:  affinityhttp.WriteError,
//		FlushInterval: -1,
//	}
//
// The host says who the auths are, what they are called, and how a request is prepared
// for one of them. Everything else has a default:
//
//   - What a request is: its API by the path, its model by the body or the path, its
//     tenant by the credential that came in. [Options].Describe changes that.
//   - Another auth is tried as long as nothing of an answer was passed on, and only if
//     another one can help. What is the client's fault goes to the client as the
//     provider has said it. If all fail, the client gets the last answer, with its
//     status, its body and its Retry-After; one that refuses an auth's own credential only
//     if there is no other.
//   - Auths rest that have failed. One that says for how long (Retry-After) is asked by
//     nobody until then. One that fails again and again, or refuses its credential twice
//     in a row, is asked only if nobody else is left.
//   - Results, the time to the first token, requests in flight and streams that break are
//     reported to package affinity.
//   - Answers are read as they pass, without holding back or changing a byte. State that
//     they create leads later requests to its auth, and these wait for that auth:
//     responses, conversations and containers of OpenAI's, message threads and containers
//     of Anthropic's, interactions and cached contents of Google's. Files and batches are
//     not followed. Conversations without an id are told apart by what they were
//     answered. What they cost goes to [Options].OnAttempt.
//
// # What changes on the way
//
// The request keeps its header and body, but for what the host's prepare sets and for
// two things. The client's own credential is taken out before prepare is called:
// Authorization, X-Api-Key, X-Goog-Api-Key, Api-Key, Proxy-Authorization, and the query's
// key. And Accept-Encoding is narrowed to encodings that can be read in passing: identity,
// gzip, deflate, and zstd if there is a decoder; an answer that nobody can read creates
// state that nobody knows of. What belongs to one connection (Connection, Upgrade, Host …)
// is the next one's. The answer passes byte for byte.
//
// A request that wants to be a WebSocket is answered with 426. Codex dials its API so and
// falls back to HTTP at once if it gets that answer. Package affinityws, a module of its
// own, stands before a Transport and serves it. Other upgrades are ignored.
//
// # Bounds
//
// A body is held up to [Options].MaxBody, so that it can be sent again; a larger one
// is streamed, known by its header alone, and tried once. A compressed one is looked into
// if it opens to at most 32 times its size and a MiB. Of an answer at most some MiB are
// held. Attempts, the time that they take together, and waiting are bounded. There
// is no goroutine but one for each compressed answer, until that ends.
package affinityhttp
