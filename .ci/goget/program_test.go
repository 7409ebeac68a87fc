package goget

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The test replaces the addresses in a README's program by its own.
var (
	listening = regexp.MustCompile(`"[a-z0-9.]*:\d{4}"`)
	providers = regexp.MustCompile(`https://[a-z]+\.[a-z.]+\.com`)
)

// tryProgram builds a program and runs it. A program that listens is a gateway: it gets a
// provider and keys, and each session must stay on one key.
func tryProgram(t *testing.T, b block) {
	var mu sync.Mutex
	keys := map[string]map[string]bool{} // by session
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, key := r.Header.Get("X-Session-Id"), r.Header.Get("X-Api-Key")+r.Header.Get("Authorization")
		mu.Lock()
		defer mu.Unlock()
		if keys[session] == nil {
			keys[session] = map[string]bool{}
		}
		keys[session][key] = true
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"choices":[{"message":{"role":"assistant","content":"yes"}}]}`)
	}))
	defer provider.Close()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := free.Addr().String()
	free.Close()

	u := newUser(t)
	u.get(root)
	text := listening.ReplaceAllString(b.text, `"`+address+`"`)
	u.write("main.go", providers.ReplaceAllString(text, provider.URL))
	for _, m := range regexp.MustCompile(`(?m)^\s*(?:\w+ )?"(`+regexp.QuoteMeta(root)+`[^"]*)"`).FindAllStringSubmatch(b.text, -1) {
		if mod := u.module(m[1]); mod != root {
			u.get(mod)
		}
	}
	program := filepath.Join(u.dir, "program")
	u.run("go", "build", "-o", program, ".")

	cmd := exec.Command(program)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.Dir = u.dir
	cmd.Env = append(os.Environ(), "UPSTREAM="+provider.URL, "KEYS=key-1,key-2,key-3", "KEY_1=key-1", "KEY_2=key-2", "KEY_3=key-3")
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer cmd.Process.Kill()

	late := time.After(time.Minute)
	for serves := false; !serves; {
		select {
		case <-late:
			cmd.Process.Kill()
			<-ended
			t.Fatalf("after a minute the program neither listens on its address nor has ended:\n%s", said.Bytes())
		case err := <-ended:
			require.NoError(t, err, "the program has failed:\n%s", said.Bytes())
			return // it is not a server, and it has ended well
		case <-time.After(20 * time.Millisecond):
			c, err := net.Dial("tcp", address)
			if serves = err == nil; serves {
				c.Close()
			}
		}
	}
	// Seven sessions have four requests each. Round robin over three keys would keep none of them.
	for i := range 28 {
		req, err := http.NewRequest(http.MethodPost, "http://"+address+"/v1/chat/completions", strings.NewReader(`{"model":"m","messages":[{"role":"user","content":"?"}]}`))
		require.NoError(t, err)
		req.Header.Set("X-Session-Id", fmt.Sprintf("5a3f0f6e-0001-4a53-9b5e-2f1f7a6d000%d", i%7))
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, http.StatusOK, resp.StatusCode)
	}
	mu.Lock()
	defer mu.Unlock()
	used := map[string]bool{}
	require.Len(t, keys, 7)
	for session, of := range keys {
		require.Len(t, of, 1, "the keys of session %s: want one key", session)
		for key := range of {
			require.Contains(t, key, "key-")
			used[key] = true
		}
	}
	require.Greater(t, len(used), 1, "all sessions have the same key, want several keys")
	http.DefaultClient.CloseIdleConnections()
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-ended: // by itself or by the signal
	case <-time.After(time.Minute):
		t.Fatal("the program has not ended a minute after SIGTERM")
	}
}
