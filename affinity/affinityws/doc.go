// Package affinityws lets the Responses API go over WebSockets through a gateway, with
// every conversation on its auth: a credential, an account, a deployment, a replica.
//
//	transport, err := affinityhttp.New(…)
//	...
//	proxy := &httputil.ReverseProxy{Transport: transport, …}
//	sockets, err := affinityws.New(transport, proxy, nil)
//	...
//	http.ListenAndServe(address, sockets)
//
// A [Handler] stands in front of the one that the gateway has, and takes from it the
// requests that want to be a WebSocket and whose path ends in /responses. Codex dials
// that before anything else. OpenAI describes the protocol:
// https://developers.openai.com/api/docs/guides/websocket-mode. A frame of the client is
// a request: a JSON object of type response.create, otherwise like the body that is
// posted. The answer's events come back as frames. One connection carries the turns of a
// session one after another, or several sessions at once, each with a stream_id.
//
// # Which auth
//
// Each response.create is a request of its own, with the header of the handshake and the
// frame as its body. So sessions are found, bound and moved as they are over HTTP, and a
// session that goes on over HTTP goes on with its auth. The handler opens a connection to
// an auth when the first frame goes there, with the credential that the auth has then, and
// keeps it as long as the client's. What a gateway has before the next handler, such as a
// list of models or a budget, sees the handshake and no frame; Options.OnEvent of the
// affinity sees each turn.
//
// # When an auth cannot serve
//
// Another auth is asked as long as no frame was sent: if it cannot be reached, or refuses
// the handshake. After that nothing is sent twice. What the auth says goes to the client,
// and counts for the requests that come, as over HTTP. A connection that ends before the
// answer does is an error event of status 502.
//
// An auth that refuses a frame (429, 401, 503 …) tells the client to wait or to give up,
// and so Codex does. If another auth can serve now, the client gets an error instead at
// which it sends its turn again at once.
//
// A frame that names a previous response goes to the auth that has it. If that cannot
// serve, the client gets the error previous_response_not_found. It then sends everything
// again, and the session goes on elsewhere: OpenAI's guide says so, and Codex does.
//
// An auth that says nothing for as long as Options.Within of the Transport loses its
// connection, and the client gets an error event of status 504.
//
// # Providers without WebSockets
//
// An auth that answers a handshake with 404, 405, 426, 501 or no error at all knows no
// WebSockets, and is not asked by one for ten minutes. As long as none has shown that it
// knows them, the handshake of a client waits until up to four auths were asked, each for
// three seconds, and at most every ten seconds. If none of them knows them the client gets
// 426, at which Codex goes on over HTTP at once. The functions of the Transport are called
// for that with the header of the handshake and no body, so without a model. Among auths
// that know WebSockets, one that does not is passed over.
//
// # Bounds
//
// A message has at most [Options].MaxMessage bytes, and those of a client that wait have no
// more together, nor are they more than 16 in a stream. A connection has at most 32 named
// streams, which is OpenAI's own bound. Who takes nothing for 30 seconds is disconnected.
// There is one goroutine for each connection and stream; all end with the client's
// connection. Compression is not offered: neither to clients nor to auths.
package affinityws
