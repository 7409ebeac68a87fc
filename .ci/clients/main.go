// Command clients is a proxy in front of a gateway that writes a line for each request:
//
//	1 +0.000s GET /v1/responses upgrade=websocket beta=responses_websockets=2026-02-06 -> 426
//	2 +0.004s POST /v1/responses -> 200 auth=key-1; outcome=hit; …
//
// An auth is what the gateway sends requests with, such as a key or an account. The number
// counts requests as they arrive, and a line is written when its request is answered. So if the
// numbers are in order, each request was answered before the next one arrived.
//
// With -provider it is a provider, see provider.go. .ci/clients/agents uses three commands:
// record is another proxy, which writes JSON (record.go); spawn makes clients start subagents
// (spawn.go); judge evaluates what was recorded (judge.go).
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"sync"
	"time"
)

func main() {
	commands := map[string]func([]string){"record": record, "spawn": spawn, "judge": judge}
	if len(os.Args) > 1 && commands[os.Args[1]] != nil {
		commands[os.Args[1]](os.Args[2:])
		return
	}
	gateway := flag.String("gateway", "", "`URL` of the gateway")
	refuse := flag.Int("refuse", 0, "answer upgrades with this `status`; 0: the gateway answers them")
	provides := flag.Bool("provider", false, "be a provider of the Responses API over WebSockets, not a proxy")
	fault := flag.String("fault", "", "`fault` of the provider at the first tool result: middle (the connection ends in the answer) or between (a status of 429)")
	name := flag.String("log", "", "write the log to this `file`; errors go to stderr")
	flag.Parse()
	log.SetFlags(0)
	to, err := url.Parse(*gateway)
	if !*provides && (err != nil || to.Host == "") {
		log.Fatal("-gateway is not a URL")
	}
	lines, err := os.Create(*name)
	if err != nil {
		log.Fatal(err)
	}
	// The system chooses the port: without a network namespace other programs may use a fixed one.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("http://%s\n", l.Addr())
	if *provides {
		log.Fatal(http.Serve(l, &provider{fault: *fault, lines: func(format string, args ...any) { fmt.Fprintf(lines, format, args...) }}))
	}
	log.Fatal(http.Serve(l, newRecorder(to, *refuse, lines)))
}

// recorder is the proxy that writes a line for each request.
type recorder struct {
	refuse int
	proxy  *httputil.ReverseProxy

	mu    sync.Mutex
	out   io.Writer
	count int
	first time.Time // when the first request came
}

func newRecorder(to *url.URL, refuse int, out io.Writer) *recorder {
	return &recorder{refuse: refuse, out: out, proxy: &httputil.ReverseProxy{
		Rewrite:       func(p *httputil.ProxyRequest) { p.SetURL(to) },
		FlushInterval: -1,
	}}
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, in *http.Request) {
	number, since := r.arrived()
	text := fmt.Sprintf("%d +%.3fs %s %s", number, since.Seconds(), in.Method, in.URL.Path)
	upgrade := in.Header.Get("Upgrade")
	if upgrade != "" {
		text += fmt.Sprintf(" upgrade=%s beta=%s", upgrade, in.Header.Get("OpenAI-Beta"))
	}
	answer := &answer{ResponseWriter: w, told: func(status int) {
		decision := w.Header().Get("X-Llmaffinity")
		if decision != "" {
			decision = " " + decision
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		fmt.Fprintf(r.out, "%s -> %d%s\n", text, status, decision)
	}}
	if upgrade != "" && r.refuse != 0 {
		http.Error(answer, "refused on purpose", r.refuse)
		return
	}
	r.proxy.ServeHTTP(answer, in)
}

// arrived counts a request, and returns the time since the first one.
func (r *recorder) arrived() (number int, since time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count++; r.count == 1 {
		r.first = time.Now()
	}
	return r.count, time.Since(r.first)
}

// answer calls told with the status before the client gets any part of the answer. So the line
// is written before the client can react.
type answer struct {
	http.ResponseWriter
	told func(status int)
}

func (a *answer) WriteHeader(status int) {
	a.told(status)
	a.ResponseWriter.WriteHeader(status)
}

// Unwrap lets the proxy flush.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
