package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// sessions is how many sessions of a client there can be.
const sessions = 9

// request is the record of a request, one line of JSON.
type request struct {
	Number  int
	Session int // known by the port, not by anything that the client has sent
	Turn    int
	Method  string
	Path    string
	Socket  bool `json:",omitempty"` // a turn in a WebSocket
	Status  int

	// From the request's body and path.
	Model  string
	Tools  int
	Result bool // a message is the result of a tool
	Opened bool // the request contains the first words of the session, or its WebSocket has had them
	Helper bool // the request contains the words that a subagent was given

	// The gateway's decision.
	Auth, Outcome, Signal, Name string
}

// witness is a proxy that records all requests of a client's sessions to the gateway. Each
// session has a port of its own, so the session of a request is known whatever the request says.
type witness struct {
	gateway *url.URL
	proxy   *httputil.ReverseProxy
	log     string // the gateway's log: it has the auth of each turn in a WebSocket
	keep    string // folder for whole requests

	socket sync.Mutex // one turn in a WebSocket at a time, so that its log line can be found
	mu     sync.Mutex
	out    io.Writer
	count  int
	turn   [sessions + 1]int
	busy   [sessions + 1]int    // requests and WebSockets that have not ended
	opened [sessions + 1]string // the first words of each session
	helper string
	read   int64 // how much of the gateway's log was read
}

// record is the command record.
func record(args []string) {
	f := flag.NewFlagSet("record", flag.ExitOnError)
	gateway := f.String("gateway", "", "`URL` of the gateway")
	logged := f.String("gateway-log", "", "`file` with the gateway's log")
	port := f.Int("port", 0, "first `port`: it serves /begin; the port of a session is this one plus the session's number")
	folder := f.String("folder", "", "write requests.jsonl and the requests to this `folder`")
	if err := f.Parse(args); err != nil {
		log.Fatal(err)
	}
	to, err := url.Parse(*gateway)
	if err != nil || to.Host == "" {
		log.Fatal("-gateway is not a URL")
	}
	out, err := os.Create(filepath.Join(*folder, "requests.jsonl"))
	if err != nil {
		log.Fatal(err)
	}
	w := newWitness(to, *logged, *folder, out)
	failed := make(chan error)
	for session := range sessions + 1 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", *port+session))
		if err != nil {
			log.Fatal(err)
		}
		h := http.HandlerFunc(w.begin)
		if session > 0 {
			h = func(rw http.ResponseWriter, r *http.Request) { w.serve(session, rw, r) }
		}
		go func() { failed <- http.Serve(l, h) }()
	}
	fmt.Printf("http://127.0.0.1:%d\n", *port)
	log.Fatal(<-failed)
}

func newWitness(to *url.URL, logged, folder string, out io.Writer) *witness {
	return &witness{gateway: to, log: logged, keep: folder, out: out, proxy: &httputil.ReverseProxy{
		Rewrite:       func(p *httputil.ProxyRequest) { p.SetURL(to) },
		FlushInterval: -1,
	}}
}

// begin notes that a turn of a session begins.
func (w *witness) begin(rw http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	session, err := strconv.Atoi(q.Get("session"))
	turn, err2 := strconv.Atoi(q.Get("turn"))
	if err != nil || err2 != nil || session < 1 || session > sessions {
		http.Error(rw, "session and turn must be numbers, and the recorder must have a port for the session", http.StatusBadRequest)
		return
	}
	// The process of the turn before has ended. Its last requests are recorded soon.
	for range 1000 {
		w.mu.Lock()
		busy := w.busy[session] > 0
		w.mu.Unlock()
		if !busy {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.busy[session] > 0 {
		http.Error(rw, "the turn before has not ended", http.StatusConflict)
		return
	}
	w.turn[session] = turn
	if words := q.Get("words"); turn == 1 {
		w.opened[session] = words
	}
	w.helper = cmp.Or(q.Get("helper"), w.helper)
}

// entered counts a request of a session that begins (n is 1) or ends (n is -1).
func (w *witness) entered(session, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy[session] += n
}

func (w *witness) serve(session int, rw http.ResponseWriter, r *http.Request) {
	w.entered(session, 1)
	defer w.entered(session, -1)
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		w.connect(session, rw, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client has left
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	seen := w.came(session, r, body)
	answer := &answer{ResponseWriter: rw, told: func(status int) {
		if status < 200 {
			return
		}
		seen.Status = status
		seen.decided(rw.Header().Get("X-Llmaffinity"))
	}}
	defer func() { // deferred, because the proxy panics if the client leaves
		w.write(seen)
	}()
	w.proxy.ServeHTTP(answer, r)
}

// decided reads the gateway's decision header.
func (q *request) decided(header string) {
	for part := range strings.SplitSeq(header, "; ") {
		name, value, _ := strings.Cut(part, "=")
		switch name {
		case "auth":
			q.Auth = value
		case "outcome":
			q.Outcome = value
		case "signal":
			q.Signal = value
		case "session":
			q.Name = value
		}
	}
}

var aResult = regexp.MustCompile(`"role": ?"tool"|"type": ?"(tool_result|function_call_output|custom_tool_call_output)"|"functionResponse":`)

// came counts a request, and returns the record of it.
func (w *witness) came(session int, r *http.Request, body []byte) *request {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count++
	q := &request{Number: w.count, Session: session, Turn: w.turn[session], Method: r.Method, Path: r.URL.Path}
	var said struct {
		Model string
		Tools []json.RawMessage
	}
	_ = json.Unmarshal(body, &said) // a body that is not JSON has no model and no tools
	q.Model, q.Result = said.Model, aResult.Match(body)
	if _, call, ok := strings.Cut(r.URL.Path, "/models/"); ok { // Gemini's API has the model in the path
		q.Model, _, _ = strings.Cut(call, ":")
	}
	for _, tool := range said.Tools { // Gemini's API has all functions in one tool
		var of struct {
			Functions []json.RawMessage `json:"functionDeclarations"`
		}
		_ = json.Unmarshal(tool, &of)
		q.Tools += max(1, len(of.Functions))
	}
	words := w.opened[session]
	q.Opened = words != "" && bytes.Contains(body, []byte(words))
	q.Helper = w.helper != "" && bytes.Contains(body, []byte(w.helper))
	whole, err := json.MarshalIndent(map[string]any{"request": q, "query": r.URL.RawQuery, "headers": r.Header, "body": string(body)}, "", " ")
	if err == nil {
		err = os.WriteFile(filepath.Join(w.keep, fmt.Sprintf("request-%04d.json", q.Number)), whole, 0o600)
	}
	if err != nil {
		log.Fatal(err)
	}
	return q
}

func (w *witness) write(q *request) {
	line, err := json.Marshal(q)
	if err != nil {
		log.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := w.out.Write(append(line, '\n')); err != nil {
		log.Fatal(err)
	}
}

// connect forwards a WebSocket, message by message.
func (w *witness) connect(session int, rw http.ResponseWriter, r *http.Request) {
	header := r.Header.Clone()
	for name := range header {
		if strings.HasPrefix(name, "Sec-Websocket-") {
			header.Del(name)
		}
	}
	header.Del("Upgrade")
	header.Del("Connection")
	to := *w.gateway
	to.Path, to.RawQuery = r.URL.Path, r.URL.RawQuery
	up, resp, err := websocket.Dial(r.Context(), to.String(), &websocket.DialOptions{HTTPHeader: header})
	if err != nil {
		seen := w.came(session, r, nil)
		seen.Socket, seen.Status = true, http.StatusBadGateway
		if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
			seen.Status = resp.StatusCode
		}
		w.write(seen)
		http.Error(rw, "the gateway has refused the WebSocket", seen.Status)
		return
	}
	defer up.CloseNow()
	down, err := websocket.Accept(rw, r, nil)
	if err != nil {
		return
	}
	defer down.CloseNow()
	up.SetReadLimit(64 << 20)
	down.SetReadLimit(64 << 20)
	opened := false // a client sends the first words only once in a WebSocket
	for {
		kind, message, err := down.Read(r.Context())
		if err != nil {
			return
		}
		if err := w.exchange(session, r, up, down, kind, message, &opened); err != nil {
			closed := websocket.CloseError{Code: websocket.StatusInternalError}
			if errors.As(err, &closed) {
				_ = down.Close(closed.Code, closed.Reason)
			}
			return
		}
	}
}

// exchange forwards a message and the events of its answer.
func (w *witness) exchange(session int, r *http.Request, up, down *websocket.Conn, kind websocket.MessageType, message []byte, opened *bool) error {
	w.socket.Lock()
	defer w.socket.Unlock()
	seen := w.came(session, r, message)
	seen.Socket, seen.Method = true, "frame"
	*opened = *opened || seen.Opened
	seen.Opened = *opened
	defer w.write(seen)
	w.fromLog() // skips the lines of earlier turns
	if err := up.Write(r.Context(), kind, message); err != nil {
		return err
	}
	for {
		kind, answer, err := up.Read(r.Context())
		if err != nil {
			return err
		}
		var event struct {
			Type   string
			Status int
		}
		_ = json.Unmarshal(answer, &event)
		done := event.Type == "response.completed" || event.Type == "response.failed" || event.Type == "response.incomplete" || event.Type == "error"
		if done {
			seen.Status = cmp.Or(event.Status, http.StatusOK)
			w.logged(seen)
		}
		if err := down.Write(r.Context(), kind, answer); err != nil || done {
			return err
		}
	}
}

var inLog = regexp.MustCompile(` decision\.(auth|outcome|signal|session)=(\S+)`)

// logged waits for the line that the gateway logs for a turn in a WebSocket.
func (w *witness) logged(q *request) {
	for range 500 {
		for line := range strings.Lines(w.fromLog()) {
			for _, m := range inLog.FindAllStringSubmatch(line, -1) {
				q.decided(m[1] + "=" + m[2])
			}
		}
		if q.Auth != "" {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// fromLog returns the part of the gateway's log that was not read yet, up to the last whole line.
func (w *witness) fromLog() string {
	f, err := os.Open(w.log)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.NewSectionReader(f, w.read, 1<<40))
	if err != nil {
		log.Fatal(err)
	}
	text = text[:bytes.LastIndexByte(text, '\n')+1]
	w.read += int64(len(text))
	return string(text)
}
