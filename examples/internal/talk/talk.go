// Package talk is for the tests of the examples. It holds conversations with a gateway in all
// four APIs, and has a simulated provider that remembers which auth has served which of them. It
// also makes up whole conversations, as text, for measurements.
package talk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/examples/internal/simulator"
)

// Header names the conversation to the Provider. The gateway does not take it for a session's
// name.
const Header = "X-Talk"

// Model is the model that conversations ask for.
const Model = "m"

// Conversation is a conversation, from the client's side. Only one goroutine at a time may use
// it.
type Conversation struct {
	// Name is unlike that of any other conversation.
	Name string
	api  *api
	id   string // empty if only its words name it
	said []Message
}

// Conversations returns n conversations of each API. Every other one sends an id as a client
// of that API does; only their words name the others.
func Conversations(n int) (all []*Conversation) {
	for i := range apis {
		for j := range n {
			c := &Conversation{Name: fmt.Sprintf("%s-%d", apis[i].name, j), api: &apis[i]}
			if j%2 == 0 {
				c.id = fmt.Sprintf("7d1f3a52-0c4b-4e6a-9%03x-%012x", i+1, j+1)
			}
			all = append(all, c)
		}
	}
	return all
}

// Round lets each conversation take its next turn, all at the same time. Each streamed answer
// is read in pieces.
func Round(ctx context.Context, client *http.Client, url string, all []*Conversation, streamed bool) error {
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, c := range all {
		wg.Go(func() { errs[i] = c.turn(ctx, client, url, streamed) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Turn sends the user's next message, and everything before it, to a gateway at url, and keeps
// the answer. The error says what was wrong with the answer.
func (c *Conversation) Turn(ctx context.Context, client *http.Client, url string) error {
	return c.turn(ctx, client, url, false)
}

// Stream is Turn with a streamed answer.
func (c *Conversation) Stream(ctx context.Context, client *http.Client, url string) error {
	return c.turn(ctx, client, url, true)
}

func (c *Conversation) turn(ctx context.Context, client *http.Client, url string, stream bool) error {
	said := append(c.said, Message{Role: "user", Text: fmt.Sprintf("%s asks its question number %d, with some words around it.", c.Name, len(c.said)/2)})
	header := http.Header{"Content-Type": {"application/json"}, Header: {c.Name}}
	header.Set(c.api.credential, c.api.prefix+"key-of-a-caller")
	if c.api.name == "anthropic" {
		header.Set("Anthropic-Version", "2023-06-01")
	}
	body := c.api.body(said)
	if c.id != "" {
		c.api.setID(c.id, header, body)
	}
	path := c.api.path
	if stream {
		if path = c.api.stream; path == c.api.path {
			body["stream"] = true
		}
	}
	sent, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+path, bytes.NewReader(sent))
	if err != nil {
		return err
	}
	req.Header = header
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Name, err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Name, err)
	}
	answer := gjson.GetBytes(got, c.api.text).Str
	if stream {
		answer = c.api.textOf(string(got))
	}
	if resp.StatusCode != http.StatusOK || answer == "" {
		return fmt.Errorf("%s: the answer is %s: %.300s", c.Name, resp.Status, got)
	}
	c.said = append(said, Message{Role: "assistant", Text: answer})
	return nil
}

// textOf joins the pieces of a streamed answer.
func (a *api) textOf(stream string) string {
	var text strings.Builder
	for line := range strings.Lines(stream) {
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok || !gjson.Valid(data) {
			continue
		}
		if kind := gjson.Get(data, "type").Str; kind == "" || strings.HasSuffix(kind, "delta") {
			text.WriteString(gjson.Get(data, a.delta).Str)
		}
	}
	return text.String()
}

// Provider is a simulated provider that remembers which auth has served which conversation.
type Provider struct {
	*simulator.Server
	// AuthOf returns the auth of a request, if that is not its credential.
	AuthOf func(*http.Request) string

	mu     sync.Mutex
	served map[string][]string
}

// NewProvider makes a Provider.
func NewProvider() (*Provider, error) {
	s, err := simulator.New(simulator.Options{})
	return &Provider{Server: s, served: map[string][]string{}}, err
}

// ServeHTTP answers, and notes the conversation and the credential of the request.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	auth := Credential(r)
	if p.AuthOf != nil {
		auth = p.AuthOf(r)
	}
	name := r.Header.Get(Header)
	p.Server.ServeHTTP(&watched{ResponseWriter: w, ok: func() {
		p.mu.Lock()
		p.served[name] = append(p.served[name], auth)
		p.mu.Unlock()
	}}, r)
}

// Served returns the auths that have answered a conversation, one for each turn.
func (p *Provider) Served(name string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.served[name]...)
}

// Homes returns the auth of each conversation, by name, if each has had only one auth and
// turns answers from it.
func (p *Provider) Homes(all []*Conversation, turns int) (map[string]string, error) {
	homes := map[string]string{}
	for _, c := range all {
		auths := p.Served(c.Name)
		if len(auths) != turns {
			return nil, fmt.Errorf("%s has %d answers, not %d", c.Name, len(auths), turns)
		}
		for _, a := range auths {
			if a != auths[0] {
				return nil, fmt.Errorf("%s was sent to %v", c.Name, auths)
			}
		}
		homes[c.Name] = auths[0]
	}
	return homes, nil
}

// Spread returns how many conversations each auth has begun with.
func (p *Provider) Spread() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := map[string]int{}
	for _, auths := range p.served {
		n[auths[0]]++
	}
	return n
}

// Credential returns the credential of a request to a provider of any of the four APIs.
func Credential(r *http.Request) string {
	for _, h := range []string{"X-Api-Key", "X-Goog-Api-Key"} {
		if v := r.Header.Get(h); v != "" {
			return v
		}
	}
	return strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
}

// watched calls ok when an answer begins well.
type watched struct {
	http.ResponseWriter
	ok   func()
	done bool
}

func (w *watched) WriteHeader(status int) {
	if !w.done && status == http.StatusOK {
		w.ok()
	}
	w.done = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *watched) Write(b []byte) (int, error) {
	if !w.done {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(b)
}

// Flush passes on what was written.
func (w *watched) Flush() { w.ResponseWriter.(http.Flusher).Flush() }
