package affinityhttp_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/affinity/affinityhttp"
)

// Clients with long bodies of their own share memory one after the other, while auths refuse
// them with and without reading, break off and are slow. None gets a byte of another's.
func TestNoBodyMixesWithAnothers(t *testing.T) {
	var mixed, refused, whole atomic.Int32
	var calls atomic.Uint32
	upstream := func(auth string, w http.ResponseWriter, r *http.Request) {
		switch calls.Add(1) % 5 {
		case 0: // it answers before it has the body
			refused.Add(1)
			w.Header().Set("Connection", "close")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		case 1: // it breaks off in the middle
			_, _ = io.CopyN(io.Discard, r.Body, 1000)
			panic(http.ErrAbortHandler)
		}
		got, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		mark := []byte(r.Header.Get("X-Mark"))
		if head := []byte(`{"messages":"`); !bytes.HasPrefix(got, head) || len(bytes.TrimRight(bytes.TrimSuffix(got[len(head):], []byte(`"}`)), string(mark))) > 0 {
			mixed.Add(1)
		}
		whole.Add(1)
		ok(auth, w, r)
	}
	p := start(t, upstream, &affinityhttp.Options[string]{
		Repeat: func(*http.Request, affinity.Request) bool { return true },
	})
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			mark := string(rune('a' + i))
			for n := range 20 {
				body := `{"messages":"` + strings.Repeat(mark, (i+1)*(n+1)<<10) + `"}`
				req, err := http.NewRequest(http.MethodPost, p.url+"/v1/chat/completions", strings.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("X-Mark", mark)
				req.Header.Set("X-Session-Id", fmt.Sprint(i, n))
				resp, err := p.client.Do(req)
				if err != nil {
					continue // all attempts have broken off
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	}
	clients.Wait()
	require.Zero(t, mixed.Load())
	require.NotZero(t, refused.Load())
	require.NotZero(t, whole.Load())
}

// A Base may send the body after it has returned. It has it until it closes it, and then it can
// open it no more.
func TestABaseMayCloseTheBodyLate(t *testing.T) {
	late := make(chan *http.Request, 1)
	p := start(t, ok, &affinityhttp.Options[string]{Base: roundTripper(func(out *http.Request) (*http.Response, error) {
		select {
		case late <- out:
		default:
			_, _ = io.Copy(io.Discard, out.Body)
			out.Body.Close()
		}
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody, Request: out}, nil
	})})
	text := strings.Repeat("first ", 10_000)
	require.Equal(t, 200, p.send(t, http.MethodPost, "/v1/messages", text).StatusCode)
	for range 10 {
		require.Equal(t, 200, p.send(t, http.MethodPost, "/v1/messages", strings.Repeat("second ", 10_000)).StatusCode)
	}
	out := <-late
	got, err := io.ReadAll(out.Body)
	require.NoError(t, err)
	require.True(t, text == string(got))
	again, err := out.GetBody()
	require.NoError(t, err)
	got, err = io.ReadAll(again)
	require.NoError(t, err)
	require.True(t, text == string(got))
	require.NoError(t, again.Close())
	require.NoError(t, out.Body.Close())
	_, err = out.GetBody()
	require.ErrorContains(t, err, "the request has ended")
	_, err = out.Body.Read(make([]byte, 1))
	require.ErrorContains(t, err, "the request has ended")
}

// An answer can take minutes, and the auth has had the body since it began. The gateway need not
// hold it any longer.
func TestAnAnswerDoesNotHoldTheBody(t *testing.T) {
	release := make(chan struct{})
	upstream := func(_ string, w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, event("message_start", `{"type":"message_start","message":{"id":"msg_1"}}`))
		w.(http.Flusher).Flush()
		<-release
	}
	held := make(chan weak.Pointer[byte], 1)
	p := start(t, upstream, &affinityhttp.Options[string]{Describe: func(_ *http.Request, r *affinity.Request) {
		held <- weak.Make(&r.Body[0])
	}})
	resp, err := p.client.Post(p.url+"/v1/messages", "application/json", strings.NewReader(`{"messages":[],"x":"`+strings.Repeat("x", 1<<20)+`"}`))
	require.NoError(t, err)
	defer resp.Body.Close()
	defer close(release)
	body := <-held
	require.Eventually(t, func() bool {
		runtime.GC()
		return body.Value() == nil
	}, time.Minute, 10*time.Millisecond)
}
