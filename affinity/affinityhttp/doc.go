// Package affinityhttp is an http.RoundTripper that keeps every conversation on one auth. An
// auth is what the gateway chooses among: a credential, an account, a deployment, a replica.
// A [Transport] picks the auth of a request, sends the request, tries another auth if that can
// help, and reports the result. Use it as the Transport of a [httputil.ReverseProxy] or of any
// http.Client.
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
// The host, which is the gateway's own code, says which auths there are, what their names are,
// and how a request is prepared for one of them. Everything else has a default:
//
//   - A request's API is taken from its path, its model from the path or the body, and its
//     tenant from the credential that it came with, in one of the headers that are named below.
//     [Options].Describe changes that. Callers without such a credential are one tenant, and
//     share their sessions: so if callers are known by another header, set the tenant there, and
//     remove that header in prepare. A caller whose credential changes, as an access token does,
//     is another tenant then, and its sessions are new: set the tenant to what stays. Of a request
//     that is signed for AWS, the id of the key counts.
//   - Another auth is tried as long as nothing of an answer was passed on, and only if
//     another one can help. An error that is the client's fault is passed on as the provider
//     has sent it. If all auths fail, the client gets the last answer, with its status, its
//     body and its Retry-After, but rather one after which it may try again, and soon. It gets
//     an answer that refuses an auth's own credential only if there is no other.
//   - New sessions go where the balancer sends them, also a weighted one or one that fills auths
//     up. Set [Options].Affinity.Load to keep new sessions away from an auth with many requests in
//     flight.
//   - After failures an auth rests, which means that it gets no requests for a while. If it has
//     said for how long (Retry-After), it gets none until then. If it has failed again and
//     again, or has refused its credential twice in a row, it is used only if no other auth is
//     left. Failures of one session count once, because its requests may be at fault.
//   - Results, the time to the first token, requests in flight and streams that break are
//     reported to package affinity.
//   - Answers are read while they are passed on, without holding back or changing a byte. If
//     an answer creates state, later requests that name the state go to the same auth and
//     wait for it. This holds for responses, conversations and containers of OpenAI, message
//     threads and containers of Anthropic, interactions and cached contents of Google, but
//     not for files and batches. Conversations without an id are told apart by their answers.
//     The cost of each answer goes to [Options].OnAttempt.
//
// A gateway that has a loop of its own can use the parts. [Send] sends a request to the auth of a
// pick, reads the answer as it passes and reports the result; its second Example is a whole
// gateway. [Describe] and [Outgoing] say what a Transport would make of a client's request.
// [Repeatable] and [Refused] say what may be sent again. [WriteError] and [WriteStatus] answer in
// the format of the client's API. An [AnswerWriter] reads an answer that is no http.Response: what
// it has cost, which model has answered, and what identifies the conversation.
//
// # What changes in a request
//
// The request keeps its header and body, except for what the host's prepare sets and for two
// things. The client's own credential is removed before prepare is called: Authorization,
// X-Api-Key, X-Goog-Api-Key, Api-Key, Proxy-Authorization, X-Amz-Security-Token, and the query's
// key. (A prepare that signs for AWS sets the other X-Amz headers anew.) And Accept-Encoding is
// reduced to encodings that the Transport can read: identity, gzip, deflate, and zstd if there is a
// decoder. It has to read answers to know the state that they create. Headers of the client's connection (Connection, Upgrade, Host …) are not passed on.
// The answer is passed on byte for byte.
//
// A request for a WebSocket is answered with 426. Codex opens its API with such a request, and
// falls back to HTTP at once after that answer. To serve WebSockets, put package affinityws, a
// module of its own, before a Transport. Requests for other upgrades are served without them.
//
// # Bounds
//
// A body is held up to [Options].MaxBody, so that it can be sent again. It is held until the
// answer begins. With [Options].ReuseBodies its memory then serves another request. A larger body
// is streamed: its session is found by its header alone, and it is sent once. Its model is unknown
// then, unless Options.Describe says it: so a conversation that outgrows the bound continues in
// another scope, as a new session. A compressed body is read if it decompresses to at most 32
// times its size and a MiB. Of an answer at most 4 MiB are held. If one JSON value, or one event,
// is longer, its strings of more than 64 KiB, such as pictures, are left out. The number of
// attempts, their time in total, and waiting are bounded. A Transport starts a goroutine only for a
// compressed answer, until that ends.
package affinityhttp
