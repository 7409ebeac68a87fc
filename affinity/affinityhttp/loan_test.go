package affinityhttp

import (
	"bytes"
	"io"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// lend reads a body as RoundTrip does.
func lend(t *testing.T, text string, pool *sync.Pool) body {
	b, err := readBody(httptest.NewRequest("POST", "/", strings.NewReader(text)), 1<<30, pool)
	require.NoError(t, err)
	require.Equal(t, text, string(b.held))
	require.NotNil(t, b.loan)
	return b
}

func TestALentBodyIsReadLikeAnyOther(t *testing.T) {
	text := strings.Repeat("body ", minLoan)
	b := lend(t, text, nil)
	for range 2 { // as often as it is sent
		r, err := b.loan.open()
		require.NoError(t, err)
		require.NoError(t, iotest.TestReader(r, []byte(text)))
		require.NoError(t, r.Close())
	}
	r, err := b.loan.open()
	require.NoError(t, err)
	_, err = io.CopyN(io.Discard, r, 10)
	require.NoError(t, err)
	var rest bytes.Buffer
	n, err := io.Copy(&rest, r)
	require.NoError(t, err)
	require.EqualValues(t, len(text)-10, n)
	require.Equal(t, text[10:], rest.String())
}

// The memory is let go by the last one that has it, whoever that is, and only once.
func TestAMemoryIsLetGoOnce(t *testing.T) {
	text := strings.Repeat("x", minLoan)
	for _, last := range []string{"the call", "a reader"} {
		b := lend(t, text, nil)
		loan := b.loan
		one, err := loan.open()
		require.NoError(t, err)
		two, err := loan.open()
		require.NoError(t, err)
		require.NoError(t, one.Close())
		require.NoError(t, one.Close())
		require.NoError(t, one.Close(), "only the first Close counts")
		if last == "the call" {
			require.NoError(t, two.Close())
			require.NotNil(t, loan.text)
			b.letGo()
		} else {
			b.letGo()
			require.NotNil(t, loan.text)
			got, err := io.ReadAll(two)
			require.NoError(t, err)
			require.Equal(t, text, string(got), "an auth may take its time")
			require.NoError(t, two.Close())
		}
		require.Nil(t, loan.text)
		require.Nil(t, b.held)
		_, err = loan.open()
		require.ErrorIs(t, err, errReturned)
		for _, r := range []io.ReadCloser{one, two} {
			_, err = r.Read(make([]byte, 1))
			require.ErrorIs(t, err, errReturned)
		}
	}
}

// Only with a pool is memory used again, and not if it is very large: one long body would hold it
// for all short ones.
func TestMemoryIsReused(t *testing.T) {
	for _, c := range []struct {
		size   int
		reused bool
	}{{minLoan, true}, {maxReused / 2, true}, {maxReused + 1, false}} {
		memory := new(bytes.Buffer)
		b := lend(t, strings.Repeat("x", c.size), &sync.Pool{New: func() any { return memory }})
		require.True(t, b.loan.memory == memory)
		b.letGo()
		if c.reused {
			require.Zero(t, memory.Len(), "it is ready for another body")
			require.NotZero(t, memory.Cap())
		} else {
			require.Equal(t, c.size, memory.Len(), "it is left to the garbage collector")
		}
	}
	pool := &sync.Pool{New: func() any { panic("memory for a short body") }}
	short, err := readBody(httptest.NewRequest("POST", "/", strings.NewReader("short")), 1<<30, pool)
	require.NoError(t, err)
	require.Nil(t, short.loan)
	short.letGo()
}
