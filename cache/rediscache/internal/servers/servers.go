// Package servers starts real servers for tests, on loopback: one alone, one with a replica
// under Sentinel, or a Cluster of three. Each has its own folder and port, keeps nothing on
// the disk, and ends with the test, even if the test's process is killed.
//
//	s := servers.Redis(t)
//	store, err := rediscache.Open(s.URL(), nil)
//
// The test fails if the server is not installed. The variables REDIS_SERVER and VALKEY_SERVER
// name the programs; the defaults are redis-server and valkey-server in PATH.
package servers

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Server is one server.
type Server struct {
	t       testing.TB
	program string
	dir     string
	port    int
	args    func(s *Server) []string

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// Redis starts a redis-server.
func Redis(t testing.TB) *Server {
	t.Helper()
	return start(t, "redis-server", "REDIS_SERVER", server())
}

// Valkey starts a valkey-server.
func Valkey(t testing.TB) *Server {
	t.Helper()
	return start(t, "valkey-server", "VALKEY_SERVER", server())
}

// HasValkey reports whether there is a valkey-server here.
func HasValkey() bool {
	_, err := program("valkey-server", "VALKEY_SERVER")
	return err == nil
}

func program(name, variable string) (string, error) {
	if given := os.Getenv(variable); given != "" {
		name = given
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%w: install it (apt-get install redis-server; bash .ci/servers.sh), or say in %s where it is", err, variable)
	}
	return path, nil
}

// server returns the arguments of a server that keeps nothing.
func server(more ...string) func(*Server) []string {
	return func(s *Server) []string {
		return append([]string{"--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", s.dir}, more...)
	}
}

func start(t testing.TB, name, variable string, args func(*Server) []string) *Server {
	t.Helper()
	path, err := program(name, variable)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, program: path, dir: t.TempDir(), args: args}
	t.Cleanup(s.Kill)
	// Another process may take a port after it was found and before it is used.
	for try := 0; ; try++ {
		s.port = freePort(t)
		err := s.run()
		if err == nil {
			return s
		}
		if try == 4 {
			t.Fatal(err)
		}
	}
}

// freePort returns a port that is not in use, below those that the system assigns. A Cluster's
// node uses the port 10,000 above it, too.
func freePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := 10_000 + rand.N(10_000)
		if free(port) && free(port+10_000) {
			return port
		}
	}
	t.Fatal("there is no free port")
	return 0
}

func free(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// Addr is host:port, and URL is redis://host:port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL is the server's address as rediscache.Open takes it.
func (s *Server) URL() string { return "redis://" + s.Addr() }

// run starts the process and waits until it answers.
func (s *Server) run() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	cmd := exec.Command(s.program, s.args(s)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	started := make(chan error)
	done := make(chan struct{})
	go func() {
		// The signal comes when the thread that has started the process ends.
		runtime.LockOSThread()
		defer close(done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // it is killed
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	s.cmd, s.done = cmd, done
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		select {
		case <-done:
			return fmt.Errorf("%s has ended:\n%s", s.program, &out)
		default:
		}
		// Another server may have taken the port.
		info, err := s.Do("INFO", "server")
		if err == nil && strings.Contains(info, fmt.Sprintf("process_id:%d\r", cmd.Process.Pid)) {
			return nil
		}
		if time.Now().After(end) {
			_ = cmd.Process.Kill() // it may have ended
			<-done
			return fmt.Errorf("%s does not answer: %w\n%s", s.program, err, &out)
		}
	}
}

// Start starts the server again after Kill, with the same port and without data.
func (s *Server) Start() {
	s.t.Helper()
	if err := s.run(); err != nil {
		s.t.Fatal(err)
	}
}

// Kill ends the server at once. It waits until the server is gone.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		_ = s.cmd.Process.Kill() // it may have ended
		<-s.done
		s.cmd = nil
	}
}

// Stop lets the server hang, until Continue.
func (s *Server) Stop() { s.signal(syscall.SIGSTOP) }

// Continue ends Stop.
func (s *Server) Continue() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig os.Signal) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// Do sends one command on a connection of its own and returns the first line of the reply: the
// text of a simple string, or what follows the first byte.
func (s *Server) Do(args ...string) (string, error) {
	c, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := c.Write([]byte(b.String())); err != nil {
		return "", err
	}
	r := bufio.NewReader(c)
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	switch {
	case strings.HasPrefix(line, "-"):
		return "", errors.New(line[1:])
	case strings.HasPrefix(line, "$"):
		n, err := strconv.Atoi(line[1:])
		if err != nil || n < 0 {
			return "", err
		}
		text := make([]byte, n)
		_, err = io.ReadFull(r, text)
		return string(text), err
	}
	return line[1:], nil
}
