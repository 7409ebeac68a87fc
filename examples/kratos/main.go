// Command kratos is an LLM gateway that reaches its upstreams as a client of Kratos: by
// service discovery, with a selector of Kratos. File sticky.go wraps that selector, so that
// every conversation stays on the instance where its prompt cache is.
//
//	go run . instances.txt
//
// A line of the file is the address of an instance: a replica of an inference server, or a
// proxy with an account of its own.
//
//	http://10.0.0.1:8000
//	http://10.0.0.2:8000
package main

import (
	"context"
	stderrors "errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/go-kratos/kratos/v2/errors"
	"github.com/go-kratos/kratos/v2/registry"
	"github.com/go-kratos/kratos/v2/selector"
	"github.com/go-kratos/kratos/v2/selector/wrr"
	khttp "github.com/go-kratos/kratos/v2/transport/http"

	"github.com/llmaffinity/llmaffinity/affinity"
)

const (
	tries    = 4
	maxBody  = 64 << 20
	maxError = 1 << 20
)

// gateway passes requests on with a client of Kratos.
type gateway struct {
	client *khttp.Client
	base   *http.Transport
}

// newGateway makes a gateway whose client has the selector that the builder builds.
func newGateway(ctx context.Context, discovery registry.Discovery, builder selector.Builder) (*gateway, error) {
	selector.SetGlobalSelector(builder)
	base := &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute, DisableCompression: true}
	client, err := khttp.NewClient(ctx,
		khttp.WithEndpoint("discovery:///"+service),
		khttp.WithDiscovery(discovery),
		khttp.WithBlock(),
		khttp.WithSubset(0),  // a client sees all instances
		khttp.WithTimeout(0), // answers may take long
		khttp.WithTransport(base),
		khttp.WithRequestEncoder(func(_ context.Context, _ string, in any) ([]byte, error) { return in.([]byte), nil }),
		khttp.WithResponseDecoder(pass),
		khttp.WithErrorDecoder(refused),
	)
	return &gateway{client, base}, err
}

func (g *gateway) close() error {
	err := g.client.Close()
	g.base.CloseIdleConnections()
	return err
}

// refusal is an answer that is not a success.
type refusal struct {
	status int
	header http.Header
	body   []byte
}

func (r *refusal) Error() string { return "the instance answers " + strconv.Itoa(r.status) }

// refused turns an answer that is not a success into an error, as Kratos wants it.
func refused(_ context.Context, resp *http.Response) error {
	if resp.StatusCode >= 200 && resp.StatusCode <= 299 {
		return nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxError)) // as much of the error as there is
	return errors.New(resp.StatusCode, errors.UnknownReason, "").
		WithMetadata(map[string]string{retryAfter: resp.Header.Get("Retry-After")}).
		WithCause(&refusal{resp.StatusCode, resp.Header, text})
}

// broken is an answer that ended before its end.
type broken struct{ error }

// pass is the decoder of answers: it passes them on as they arrive.
func pass(_ context.Context, resp *http.Response, out any) error {
	w := out.(http.ResponseWriter)
	for _, h := range []string{"Content-Type", "Content-Encoding", "Request-Id", "X-Request-Id"} {
		if v := resp.Header.Get(h); v != "" {
			w.Header().Set(h, v)
		}
	}
	w.WriteHeader(resp.StatusCode)
	flusher := http.NewResponseController(w)
	buffer := make([]byte, 32<<10)
	for {
		n, err := resp.Body.Read(buffer)
		if n > 0 {
			if _, gone := w.Write(buffer[:n]); gone != nil {
				return broken{gone}
			}
			if gone := flusher.Flush(); gone != nil {
				return broken{gone}
			}
		}
		if stderrors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return broken{err}
		}
	}
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, "the request's body cannot be read", http.StatusBadRequest)
		return
	}
	var last *refusal
	for range tries {
		header := r.Header.Clone() // Kratos replaces it by the answer's
		for _, h := range []string{"Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length"} {
			header.Del(h)
		}
		err = g.client.Invoke(r.Context(), r.Method, r.URL.RequestURI(), body, w, khttp.Header(&header), khttp.ContentType(r.Header.Get("Content-Type")))
		if err == nil {
			return
		}
		if stderrors.As(err, &broken{}) {
			panic(http.ErrAbortHandler) // otherwise the client would take what it has for the whole answer
		}
		if errors.Reason(err) == "NODE_NOT_FOUND" { // no instance may serve
			break
		}
		stderrors.As(err, &last)
		if result, _ := resultOf(err); r.Context().Err() != nil || result != affinity.Transient && result != affinity.Terminal {
			break
		}
	}
	if last == nil {
		http.Error(w, "no instance can serve this request now", http.StatusServiceUnavailable)
		return
	}
	for _, h := range []string{"Content-Type", "Content-Encoding", "Retry-After"} {
		if v := last.header.Get(h); v != "" {
			w.Header().Set(h, v)
		}
	}
	w.WriteHeader(last.status)
	_, _ = w.Write(last.body)
}

// serve serves until ctx is done, and then until the answers under way have ended. For each
// value of reload it reads the instances again.
func serve(ctx context.Context, l net.Listener, file string, reload <-chan os.Signal) error {
	discovery := newInstances()
	if err := discovery.read(file); err != nil {
		return err
	}
	sticky, err := Wrap(wrr.NewBuilder())
	if err != nil {
		return err
	}
	defer sticky.sessions.Close()
	g, err := newGateway(context.Background(), discovery, sticky)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: g, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	for {
		select {
		case <-reload:
			if err := discovery.read(file); err != nil {
				log.Print("the instances stay as they were: ", err)
			}
		case err := <-served:
			return stderrors.Join(err, g.close())
		case <-ctx.Done():
			err := server.Shutdown(context.Background())
			if ended := <-served; !stderrors.Is(ended, http.ErrServerClosed) {
				err = ended
			}
			return stderrors.Join(err, g.close())
		}
	}
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: kratos file")
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
