package affinity_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/selector"
)

type traceKey struct{}

// told is what a call of Options.OnEvent has seen.
type told struct {
	trace    any
	err      error // of the context
	outcome  affinity.Outcome
	reported bool
}

func tell(all *[]told) func(context.Context, affinity.Event) {
	return func(ctx context.Context, e affinity.Event) {
		*all = append(*all, told{ctx.Value(traceKey{}), ctx.Err(), e.Decision.Outcome, e.Reported})
	}
}

// An event has the values of its pick's context, and a report that comes when the client has
// gone can still be logged and sent with them.
func TestEventsHaveTheContextOfTheirPick(t *testing.T) {
	var got []told
	s := wrap(t, &affinity.Options[string]{OnEvent: tell(&got)})
	for trace, want := range []affinity.Outcome{affinity.OutcomeNew, affinity.OutcomeHit} {
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), traceKey{}, trace))
		p, err := s.Pick(ctx, session("x"), abc)
		require.NoError(t, err)
		cancel()
		p.Report(affinity.Served)
		p.Report(affinity.Served)
		require.Equal(t, []told{{trace, nil, want, false}, {trace, nil, want, true}, {trace, nil, want, true}}, got)
		got = nil
	}

	done, cancel := context.WithCancel(context.WithValue(t.Context(), traceKey{}, "done"))
	cancel()
	_, err := s.Pick(done, session("x"), nil)
	require.Error(t, err)
	require.Equal(t, []told{{"done", nil, affinity.OutcomeRefused, false}}, got, "also of a pick that was refused")
	got = nil

	require.NoError(t, s.Reconfigure(selector.Func[string](func(context.Context, []string) (string, error) {
		panic(errors.New("the balancer's own"))
	}), &affinity.Options[string]{OnEvent: tell(&got)}))
	require.Panics(t, func() { _, err = s.Pick(done, session("y"), abc) })
	require.Equal(t, []told{{"done", nil, affinity.OutcomeRefused, false}}, got, "also of a pick whose balancer has panicked")
}

// A hook that was set while a request was under way is told of its report.
func TestAHookThatIsSetLaterHasAContext(t *testing.T) {
	var got []told
	s := wrap(t, nil)
	p := pick(t, s, session("x"), abc)
	require.NoError(t, s.Affinity.Reconfigure(&affinity.Options[string]{OnEvent: tell(&got)}))
	p.Report(affinity.Served)
	require.Equal(t, []told{{nil, nil, affinity.OutcomeNew, true}}, got)
}
