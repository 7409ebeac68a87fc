package affinitytest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"

	"github.com/llmaffinity/llmaffinity/affinity"
)

// Gateway describes a running gateway to [HTTP]. All fields are required.
type Gateway struct {
	// URL is the address of the gateway, without a path.
	URL string
	// AuthOf returns the name of the auth whose credential a request to the provider has.
	AuthOf func(*http.Request) string
	// Back tells the gateway that an auth can serve again before the time of its Retry-After
	// is over.
	Back func(auth string)
}

// HTTP returns a function that makes a [Host] of a gateway that serves HTTP, for [Test]. start
// starts the gateway with a provider's URL and the auths, and stops it with t.Cleanup. The
// provider answers chat completions. It answers 429 for an auth that is down, and otherwise
// with a status that stands for the result to report. The gateway may try another auth by
// itself. The tenant of a request is its Authorization header: the gateway must make that its
// affinity.Request.Tenant, as affinityhttp does by itself.
func HTTP(t testing.TB, start func(provider string, auths []string) (Gateway, error)) func(auths []string) (Host, error) {
	return func(auths []string) (Host, error) {
		h := &httpHost{waiting: map[string]chan *arrival{}, down: map[string]bool{}}
		provider := httptest.NewServer(h)
		t.Cleanup(provider.Close)
		var err error
		h.gateway, err = start(provider.URL, auths)
		if err == nil {
			err = h.gateway.complete()
		}
		h.client.Transport = &http.Transport{MaxIdleConnsPerHost: 64}
		t.Cleanup(h.client.CloseIdleConnections)
		// Some picks are never reported. Their requests must not keep the servers open.
		over, end := context.WithCancel(context.Background())
		h.over = over
		t.Cleanup(end)
		return h, err
	}
}

// complete reports which field is missing.
func (g *Gateway) complete() error {
	switch {
	case g.URL == "":
		return errors.New("affinitytest: the Gateway has no URL")
	case g.AuthOf == nil:
		return errors.New("affinitytest: the Gateway has no AuthOf")
	case g.Back == nil:
		return errors.New("affinitytest: the Gateway has no Back")
	}
	return nil
}

type httpHost struct {
	gateway Gateway
	client  http.Client
	over    context.Context // the test's

	mu      sync.Mutex
	last    int
	waiting map[string]chan *arrival // by the request's number, until it has come to the provider
	down    map[string]bool
}

// arrival is a request that has come to the provider.
type arrival struct {
	auth   string
	answer chan int // the status to answer
}

// numberHeader is the header that identifies a request to the provider.
const numberHeader = "X-Affinitytest-Request"

// ServeHTTP is the provider.
func (h *httpHost) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	auth := h.gateway.AuthOf(r)
	h.mu.Lock()
	down := h.down[auth]
	n := r.Header.Get(numberHeader)
	waiting := h.waiting[n]
	if !down {
		delete(h.waiting, n)
	}
	h.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if down {
		w.Header().Set("Retry-After", "3000")
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	status := http.StatusOK // the gateway tries once more after a failure
	if waiting != nil {
		a := &arrival{auth, make(chan int, 1)}
		waiting <- a
		select {
		case status = <-a.answer:
		case <-r.Context().Done():
			return
		}
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `{"id":"chatcmpl-`+n+`","object":"chat.completion","choices":[]}`)
}

// Pick sends a request, and returns when it has come to the provider.
func (h *httpHost) Pick(ctx context.Context, q affinity.Request) (string, func(affinity.Result), error) {
	arrived := make(chan *arrival, 1)
	h.mu.Lock()
	h.last++
	n := strconv.Itoa(h.last)
	h.waiting[n] = arrived
	h.mu.Unlock()
	body := q.Body
	if body == nil {
		body = []byte(`{"model":"` + q.Model + `"}`)
	}
	ctx, cancel := context.WithCancel(ctx)
	context.AfterFunc(h.over, cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.gateway.URL+"/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		cancel()
		return "", nil, err
	}
	for k, v := range q.Header {
		r.Header[k] = v
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+q.Tenant)
	r.Header.Set(numberHeader, n)
	ended := make(chan error, 1)
	go func() {
		resp, err := h.client.Do(r)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if err == nil && resp.StatusCode != http.StatusOK {
				err = fmt.Errorf("the gateway has answered with the status %s", resp.Status)
			}
		}
		ended <- err
	}()
	select {
	case a := <-arrived:
		var once sync.Once
		return a.auth, func(result affinity.Result) {
			once.Do(func() {
				if result == affinity.Cancelled {
					cancel()
				} else {
					a.answer <- statusOf(result)
				}
				<-ended
				cancel()
			})
		}, nil
	case err := <-ended:
		cancel()
		if err == nil {
			err = errors.New("the gateway has answered, but sent the request to no auth")
		}
		return "", nil, err
	}
}

func statusOf(r affinity.Result) int {
	switch r {
	case affinity.Served:
		return http.StatusOK
	case affinity.Transient:
		return http.StatusServiceUnavailable
	case affinity.Terminal:
		return http.StatusUnauthorized
	case affinity.Rejected:
		return http.StatusBadRequest
	}
	return http.StatusTeapot
}

// Down takes an auth out of service, or puts it back into service.
func (h *httpHost) Down(auth string, down bool) {
	h.mu.Lock()
	h.down[auth] = down
	h.mu.Unlock()
	if !down {
		h.gateway.Back(auth)
	}
}
