package gateway

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The demo shows what it claims: affinity saves prompt tokens, and a failure moves only the
// sessions of the auth that fails.
func TestTheDemoShowsTheDifference(t *testing.T) {
	o := demoDefaults
	runs, err := demo(t.Context(), o)
	require.NoError(t, err)
	plain, with, faults := runs[0], runs[1], runs[2]
	for _, r := range runs {
		require.Equal(t, o.conversations*o.turns, r.requests, r.name)
		require.Zero(t, r.failed, "%s: no request may fail", r.name)
		require.Equal(t, plain.prompt, r.prompt, "%s: all runs must have the same conversations, so the same prompt tokens", r.name)
	}
	require.GreaterOrEqual(t, ratio(plain, with), 3.0)
	require.Empty(t, with.switches)
	require.Less(t, with.dollars(), plain.dollars())
	for auth, n := range with.perAuth {
		require.Equal(t, o.conversations*o.turns/o.auths, n, "%s must have the same number of requests as the other auths", auth)
	}
	require.NotZero(t, faults.switches["sim-3 answered 503"])
	require.NotZero(t, faults.switches["sim-5 answered 401"])
	for reason := range faults.switches {
		// Whether sim-3 is back before the end depends on the speed of the machine.
		require.Contains(t, []string{"sim-3 answered 503", "sim-5 answered 401", "sim-3 is back"}, reason)
	}

	var table strings.Builder
	printTable(&table, runs, o)
	for _, want := range []string{"cached share", "price", "switches of auth", "sim-3 answered 503", "times as many uncached prompt tokens"} {
		require.Contains(t, table.String(), want)
	}
}

// The gateway's savings agree with the provider's counts. Its estimate of the cached share without
// affinity agrees with a run of the same conversations without affinity.
func TestTheSavingIsWhatTheProviderCounts(t *testing.T) {
	o := demoOptions{auths: 8, conversations: 80, turns: 20}
	with, without := &run{affinity: true}, &run{}
	require.NoError(t, with.do(t.Context(), o))
	require.NoError(t, without.do(t.Context(), o))
	s := with.savings
	share := func(r *run) float64 { return 100 * float64(r.cached) / float64(r.prompt) }
	t.Logf("with affinity %.2f %%, without %.2f %%; the gateway says %v", share(with), share(without), s)
	require.Zero(t, s.Unknown)
	require.Equal(t, []uint64{with.prompt, with.cached, with.output}, []uint64{s.Total().Prompt, s.Total().Cached, s.Total().Output})
	require.InDelta(t, share(without), 100*s.ShareWithout(), 2)
	require.Greater(t, s.Total().Share(), s.ShareWithout()+0.1)
}

func TestTheCommand(t *testing.T) {
	var out, errs bytes.Buffer
	require.NoError(t, gateway(t.Context(), []string{"-conversations", "5", "-turns", "2", "-auths", "2"}, &out, &errs, With{}))
	require.Contains(t, out.String(), "5 conversations of 2 turns over 2 auths")
	require.Contains(t, errs.String(), "10 of 10 requests")
	require.Contains(t, out.String(), "ANTHROPIC_BASE_URL")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	out.Reset()
	require.NoError(t, gateway(ctx, []string{"-serve", "-listen", "127.0.0.1:0"}, &out, &errs, With{}))
	require.Contains(t, out.String(), "serving on http://127.0.0.1:")
	require.Contains(t, out.String(), "decisions: there were none")

	dir := t.TempDir()
	require.NoError(t, os.WriteFile(dir+"/good.json", []byte(`{"upstreams":[{"name":"a","api":"any","url":"http://127.0.0.1:1","keys":["LLMAFFINITY_TEST_KEY"]}]}`), 0o600))
	require.NoError(t, os.WriteFile(dir+"/empty.json", []byte(`{}`), 0o600))
	require.NoError(t, os.WriteFile(dir+"/bad.json", []byte(`{`), 0o600))
	t.Setenv("LLMAFFINITY_TEST_KEY", "x")
	out.Reset()
	require.NoError(t, gateway(ctx, []string{"-config", dir + "/good.json", "-listen", "127.0.0.1:0", "-affinity=false"}, &out, &errs, With{}))
	require.Contains(t, out.String(), "with 1 auths")
	for _, args := range [][]string{
		{"-auths", "0"}, {"-nonsense"}, {"-config", dir + "/none.json"}, {"-config", dir + "/empty.json"}, {"-config", dir + "/bad.json"},
		{"-upstream", "x"}, {"-upstream", "a,any,http://127.0.0.1:1,LLMAFFINITY_NO_SUCH_KEY"}, {"-serve", "-listen", "nowhere:-1"},
	} {
		require.Error(t, gateway(ctx, args, &out, &errs, With{}), "%q", args)
	}
}
