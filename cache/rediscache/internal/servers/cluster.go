package servers

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

// Group are the masters of a Cluster.
type Group struct {
	t     testing.TB
	Nodes []*Server
}

const slots = 16384

// Cluster starts three masters that share all slots.
func Cluster(t testing.TB) *Group {
	t.Helper()
	g := &Group{t: t}
	for range 3 {
		g.Nodes = append(g.Nodes, start(t, "redis-server", "REDIS_SERVER", "--cluster-enabled", "yes", "--cluster-node-timeout", "2000"))
	}
	for i, n := range g.Nodes {
		g.must(n, "CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(slots*i/3), strconv.Itoa(slots*(i+1)/3-1))
		g.must(n, "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
	}
	for _, n := range g.Nodes[1:] {
		g.must(g.Nodes[0], "CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(n.port))
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		ready := true
		for _, n := range g.Nodes {
			info := g.must(n, "CLUSTER", "INFO")
			ready = ready && strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:3")
		}
		if ready {
			return g
		}
		if time.Now().After(end) {
			t.Fatal("the Cluster does not come up")
		}
	}
}

func (g *Group) must(n *Server, args ...string) string {
	g.t.Helper()
	reply, err := n.Do(args...)
	if err != nil {
		g.t.Fatal(err)
	}
	return reply
}

// URL are the addresses of all masters, as rediscache.Open takes them.
func (g *Group) URL() string {
	var others []string
	for _, n := range g.Nodes[1:] {
		others = append(others, "addr="+n.Addr())
	}
	return g.Nodes[0].URL() + "?" + strings.Join(others, "&")
}
