// Command accountpool is a gateway that pools accounts of several providers, each with a
// priority and with cooldowns of its own. File sticky.go wraps its picker, so that every
// conversation stays on the account where its prompt cache is.
//
//	go run ./examples/accountpool accounts.txt
//	ANTHROPIC_BASE_URL=http://127.0.0.1:8080 ANTHROPIC_AUTH_TOKEN=any claude
//
// A line of the file is an account: provider, priority, address, key.
//
//	anthropic 1 https://api.anthropic.com sk-ant-…
//	openai 1 https://api.openai.com sk-…
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// readAccounts reads a file. An account that stays is the same *Auth, unless its line has
// changed.
func readAccounts(file string, before []*Auth) (auths []*Auth, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	known, seen := map[string]*Auth{}, map[string]bool{}
	for _, a := range before {
		known[a.Name] = a
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		if len(f) != 4 {
			return nil, fmt.Errorf("%s:%d: want a provider, a priority, an address and a key", file, n)
		}
		a := &Auth{Provider: f[0], Key: f[3], Name: fmt.Sprintf("account-%.6x", sha256.Sum256([]byte(f[3])))}
		if a.Priority, err = strconv.Atoi(f[1]); err != nil {
			return nil, fmt.Errorf("%s:%d: the priority is not a number", file, n)
		}
		if a.URL, err = url.Parse(f[2]); err != nil || a.URL.Host == "" {
			return nil, fmt.Errorf("%s:%d: the address is not a URL with a host", file, n)
		}
		if seen[a.Name] {
			return nil, fmt.Errorf("%s:%d: another line has the same key", file, n)
		}
		seen[a.Name] = true
		if old := known[a.Name]; old != nil && old.Provider == a.Provider && old.Priority == a.Priority && *old.URL == *a.URL {
			a = old
		}
		auths = append(auths, a)
	}
	if len(auths) == 0 {
		return nil, fmt.Errorf("%s: there are no accounts", file)
	}
	return auths, nil
}

// serve serves until ctx is done, and then until the answers under way have ended. For each
// value of reload it reads the accounts again.
func serve(ctx context.Context, l net.Listener, file string, reload <-chan os.Signal) error {
	auths, err := readAccounts(file, nil)
	if err != nil {
		return err
	}
	g, sticky, err := newGateway(auths)
	if err != nil {
		return err
	}
	defer sticky.sessions.Close()
	defer g.client.CloseIdleConnections()
	server := &http.Server{Handler: g, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	for {
		select {
		case <-reload:
			again, err := readAccounts(file, auths)
			if err != nil {
				log.Print("the accounts stay as they were: ", err)
				continue
			}
			auths = again
			g.setAuths(auths)
		case err := <-served:
			return err
		case <-ctx.Done():
			err := server.Shutdown(context.Background())
			if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
				return ended
			}
			return err
		}
	}
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: accountpool file")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	l, err := net.Listen("tcp", "127.0.0.1:8080")
	if err == nil {
		err = serve(ctx, l, os.Args[1], reload)
	}
	if err != nil {
		log.Fatal(err)
	}
}
