package servers

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

// Group is the nodes of a Cluster.
type Group struct {
	t     testing.TB
	Nodes []*Server // three masters, and then a replica of each, if there are any
}

const (
	slots   = 16384
	masters = 3
)

// Cluster starts three masters that share all slots.
func Cluster(t testing.TB) *Group {
	t.Helper()
	return cluster(t, masters)
}

// ClusterWithReplicas starts a Cluster whose masters have a replica each. A replica takes over
// when its master has been gone for two seconds.
func ClusterWithReplicas(t testing.TB) *Group {
	t.Helper()
	g := cluster(t, 2*masters)
	for i, n := range g.Nodes[masters:] {
		g.must(n, "CLUSTER", "REPLICATE", g.ID(g.Nodes[i]))
	}
	for _, n := range g.Nodes[masters:] {
		g.until("a replica follows", func() bool {
			return strings.Contains(g.must(n, "INFO", "replication"), "master_link_status:up")
		})
	}
	return g
}

func cluster(t testing.TB, nodes int) *Group {
	t.Helper()
	g := &Group{t: t}
	for range nodes {
		g.Nodes = append(g.Nodes, start(t, "redis-server", "REDIS_SERVER", server("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")))
	}
	for i, n := range g.Nodes[:masters] {
		g.must(n, "CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(slots*i/masters), strconv.Itoa(slots*(i+1)/masters-1))
		g.must(n, "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
	}
	for _, n := range g.Nodes[1:] {
		g.must(g.Nodes[0], "CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(n.port))
	}
	g.until("the Cluster comes up", func() bool {
		for _, n := range g.Nodes {
			info := g.must(n, "CLUSTER", "INFO")
			if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:"+strconv.Itoa(nodes)) {
				return false
			}
		}
		return true
	})
	return g
}

// ID returns a node's name in the Cluster.
func (g *Group) ID(n *Server) string {
	g.t.Helper()
	return g.must(n, "CLUSTER", "MYID")
}

func (g *Group) until(what string, is func() bool) {
	g.t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			g.t.Fatalf("this has not happened within half a minute: %s", what)
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

// URL returns the addresses of all nodes, as rediscache.Open takes them.
func (g *Group) URL() string {
	var others []string
	for _, n := range g.Nodes[1:] {
		others = append(others, "addr="+n.Addr())
	}
	return g.Nodes[0].URL() + "?" + strings.Join(others, "&")
}
