package servers

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Watched is a master, its replica, and a sentinel. The sentinel lets the replica take over
// when the master has been gone for half a second.
type Watched struct {
	Master, Replica, Sentinel *Server
}

// Sentinel starts all three.
func Sentinel(t testing.TB) *Watched {
	t.Helper()
	w := &Watched{Master: Redis(t)}
	w.Replica = start(t, "redis-server", "REDIS_SERVER", server("--replicaof", fmt.Sprint("127.0.0.1 ", w.Master.port), "--repl-diskless-sync-delay", "0"))
	w.Sentinel = start(t, "redis-server", "REDIS_SERVER", func(s *Server) []string {
		// A sentinel writes what it learns into its file.
		conf := filepath.Join(s.dir, "sentinel.conf")
		text := fmt.Sprintf(`port %d
bind 127.0.0.1
dir %s
sentinel monitor main 127.0.0.1 %d 1
sentinel down-after-milliseconds main 500
sentinel failover-timeout main 5000
`, s.port, s.dir, w.Master.port)
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Error(err)
		}
		return []string{conf, "--sentinel"}
	})
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		follows, err := w.Replica.Do("INFO", "replication")
		if err != nil {
			t.Fatal(err)
		}
		known, err := w.Sentinel.Do("INFO", "sentinel")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(follows, "master_link_status:up") && strings.Contains(known, "status=ok") && strings.Contains(known, "slaves=1") {
			return w
		}
		if time.Now().After(end) {
			t.Fatalf("the sentinel does not know the replica:\n%s\n%s", follows, known)
		}
	}
}

// URL returns the sentinel's address and the master's name, as rediscache.Open takes them.
func (w *Watched) URL() string { return w.Sentinel.URL() + "?master_set=main" }
