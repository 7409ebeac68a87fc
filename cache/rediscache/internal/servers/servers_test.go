package servers_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/cache/rediscache/internal/servers"
)

func TestAServerIsKilledAndStartedEmpty(t *testing.T) {
	s := servers.Redis(t)
	_, err := s.Do("SET", "x", "some\r\ntext")
	require.NoError(t, err)
	got, err := s.Do("GET", "x")
	require.NoError(t, err)
	require.Equal(t, "some\r\ntext", got)
	_, err = s.Do("NONSENSE")
	require.ErrorContains(t, err, "unknown command")
	s.Kill()
	_, err = s.Do("PING")
	require.Error(t, err)
	s.Start()
	size, err := s.Do("DBSIZE")
	require.NoError(t, err)
	require.Equal(t, "0", size)
}

func TestAServerHangs(t *testing.T) {
	s := servers.Redis(t)
	s.Stop()
	answered := make(chan error, 1)
	go func() {
		_, err := s.Do("PING")
		answered <- err
	}()
	select {
	case <-answered:
		t.Fatal("a server that hangs has answered a PING")
	case <-time.After(200 * time.Millisecond):
	}
	s.Continue()
	require.NoError(t, <-answered)
}

func TestAClusterHasAllSlots(t *testing.T) {
	g := servers.Cluster(t)
	require.Len(t, g.Nodes, 3)
	info, err := g.Nodes[2].Do("CLUSTER", "INFO")
	require.NoError(t, err)
	require.Contains(t, info, "cluster_slots_ok:16384")
	require.Contains(t, g.URL(), "?addr="+g.Nodes[1].Addr()+"&addr=")
}
