package play

import (
	"fmt"
	"time"

	"github.com/llmaffinity/llmaffinity/selector"
)

// recently is how long a request counts for Host.Recent.
const recently = 10 * time.Minute

// AuthName returns the name of an auth.
func AuthName(auth int) string { return fmt.Sprintf("auth-%02d", auth) }

// Host is what a host itself knows of its auths, for policies that use it.
type Host struct {
	Loads         selector.Loads // for policies that let the library measure
	recent, total []float64
	sent          []sent // of the last ten minutes, the oldest first
}

type sent struct {
	at     time.Time
	auth   int
	tokens float64
}

func newHost(auths int) *Host {
	return &Host{recent: make([]float64, auths), total: make([]float64, auths)}
}

// send counts a prompt that is sent to an auth now.
func (h *Host) send(auth, tokens int) {
	n := float64(tokens)
	h.recent[auth] += n
	h.total[auth] += n
	h.sent = append(h.sent, sent{time.Now(), auth, n})
}

// forget drops what is no longer recent.
func (h *Host) forget() {
	i := 0
	for now := time.Now(); i < len(h.sent) && now.Sub(h.sent[i].at) > recently; i++ {
		h.recent[h.sent[i].auth] -= h.sent[i].tokens
	}
	h.sent = h.sent[i:]
}

// Recent returns how many prompt tokens an auth was sent in the last ten minutes.
func (h *Host) Recent(auth int) float64 { return h.recent[auth] }

// Total returns how many prompt tokens an auth was sent since the beginning.
func (h *Host) Total(auth int) float64 { return h.total[auth] }
