// Package affinityws serves the Responses API over WebSockets, and keeps every conversation on
// one auth. An auth is what the gateway chooses among: a credential, an account, a deployment,
// a replica.
//
//	transport, err := affinityhttp.New(…)
//	...
//	proxy := &httputil.ReverseProxy{Transport: transport, …}
//	sockets, err := affinityws.New(transport, proxy, nil)
//	...
//	http.ListenAndServe(address, sockets)
//
// Put a [Handler] before the gateway's own handler. It serves the requests that ask for a
// WebSocket and whose path ends in /responses, and passes all others on. Codex opens such a
// connection before anything else. OpenAI describes the protocol:
// https://developers.openai.com/api/docs/guides/websocket-mode. A frame of the client is a
// request: a JSON object of type response.create, otherwise like the body that is posted. The
// events of the answer come back as frames. One connection carries the turns of a session one
// after another, or several sessions at once, each with a stream_id.
//
// # Which auth
//
// Each response.create is a request of its own, with the header of the handshake and the frame
// as its body. So sessions are found, bound and moved as they are over HTTP, and a session that
// continues over HTTP stays on its auth. The Handler opens a connection to an auth when the
// first frame is sent there, with the credential that the auth has then, and keeps it as long
// as the client's connection. Middleware before the Handler, such as a list of models or a
// budget, sees the handshake but no frame. Options.OnEvent of the Affinity sees each turn.
//
// # When an auth cannot serve
//
// If an auth cannot be reached, or refuses the handshake, no frame was sent, and another auth
// is tried. After that nothing is sent twice. An error of the auth is passed on to the client,
// and counts for later requests, as over HTTP. If a connection ends before the answer, the
// client gets an error event with status 502.
//
// If an auth refuses a frame (429, 401, 503 …), its error would make Codex wait or give up. So
// if another auth can serve now, the client gets another error, after which it sends its turn
// again at once.
//
// A frame that names a previous response goes to the auth that has the response. If that auth
// cannot serve, the client gets the error previous_response_not_found. It then sends the whole
// history again, and the session continues on another auth: OpenAI's guide says so, and Codex
// does.
//
// If an auth sends nothing for Options.Within of the Transport, its connection is closed, and
// the client gets an error event with status 504.
//
// # Providers without WebSockets
//
// If an auth answers a handshake with 404, 405, 426, 501 or a status that is no error, it has
// no WebSockets, and is not used over a WebSocket for ten minutes. If no auth has opened a
// connection in the last hour, a client's handshake waits until up to four auths were probed,
// each for at most three seconds, and at most once every ten seconds. If every auth is known
// to have none, the client gets 426, after which Codex continues over HTTP at once. For a
// probe the functions of the Transport are called with the header of the handshake and no
// body, so without a model. If some auths have WebSockets, those without are skipped.
//
// # Bounds
//
// A message has at most [Options].MaxMessage bytes. All waiting messages of a client together
// have at most as many bytes, and at most 16 of them wait in a stream. A connection has at
// most 32 named streams, which is OpenAI's own bound. A peer that reads nothing for 30 seconds
// is disconnected. There is one goroutine for each connection and stream; all end with the
// client's connection. Compression is offered neither to clients nor to auths.
package affinityws
