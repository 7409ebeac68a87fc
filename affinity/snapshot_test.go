package affinity_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/affinity"
	"github.com/llmaffinity/llmaffinity/cache"
)

// A restart keeps what is known of sessions: their auths, their detours and until when these
// last, which auth holds a response, and which auth is drained.
func TestARestartChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := wrap(t, nil)
		where := map[string]string{}
		for i := range 30 {
			id := fmt.Sprint("s", i)
			where[id] = served(t, old, session(id), abc)
		}
		p := pick(t, old, session("s0"), abc)
		p.ReportAway(affinity.Transient, time.Minute)
		detour := served(t, old, session("s0"), abc)
		require.NotEqual(t, where["s0"], detour)
		old.Drain("C", true)
		owner := pick(t, old, session("s1"), abc)
		require.NoError(t, owner.Owns(t.Context(), "previous_response_id", "resp_1"))
		owner.Report(affinity.Served)

		var snapshot bytes.Buffer
		require.NoError(t, old.Save(&snapshot))
		require.NoError(t, old.Close())
		require.ErrorIs(t, old.Save(io.Discard), cache.ErrClosed)
		require.ErrorIs(t, old.Load(&snapshot), cache.ErrClosed)
		now := wrap(t, nil)
		again := bytes.Clone(snapshot.Bytes())
		require.NoError(t, now.Load(&snapshot))

		for id, auth := range where {
			if id != "s0" {
				require.Equal(t, auth, served(t, now, session(id), abc), id)
			}
		}
		p = pick(t, now, session("s0"), abc)
		require.Equal(t, detour, p.Auth)
		require.Equal(t, affinity.OutcomeDetour, p.Decision.Outcome)
		p.Report(affinity.Served)
		for i := range 10 {
			require.NotEqual(t, "C", served(t, now, session(fmt.Sprint("new", i)), abc), "drained")
		}
		for i := range 10 {
			r := content(fmt.Sprintf(`{"previous_response_id":"resp_1","session_id":"later%d"}`, i))
			require.Equal(t, owner.Auth, served(t, now, r, abc))
		}
		time.Sleep(time.Minute)
		require.Equal(t, where["s0"], served(t, now, session("s0"), abc), "it is back")
		require.ErrorContains(t, now.Load(bytes.NewReader(again)), "there are sessions")
	})
}

func TestASnapshotIsOfTheOwnMemory(t *testing.T) {
	m, err := cache.New(nil)
	require.NoError(t, err)
	defer m.Close()
	s := wrap(t, &affinity.Options[string]{Store: m})
	require.ErrorIs(t, s.Save(io.Discard), errors.ErrUnsupported)
	require.ErrorIs(t, s.Load(&bytes.Buffer{}), errors.ErrUnsupported)
	name := filepath.Join(t.TempDir(), "state")
	require.ErrorIs(t, s.SaveFile(name), errors.ErrUnsupported)
	require.NoFileExists(t, name)
}

// The Options.Memory of the new process count.
func TestOptionsAreThoseOfTheNewProcess(t *testing.T) {
	old := wrap(t, nil)
	for i := range 30 {
		served(t, old, session(fmt.Sprint("s", i)), abc)
	}
	var snapshot bytes.Buffer
	require.NoError(t, old.Save(&snapshot))
	ended := 0
	now := wrap(t, &affinity.Options[string]{Memory: cache.Options{MaxSessions: 7, OnRemove: func(cache.Scope, cache.Binding, cache.Cause) { ended++ }}})
	require.NoError(t, now.Load(&snapshot))
	require.Empty(t, look(t, now, session("s0")))
	require.NotEmpty(t, look(t, now, session("s29")))
	require.Zero(t, ended)
	served(t, now, session("more"), abc)
	require.Equal(t, 1, ended)
}

func TestADamagedSnapshotLeavesAnEmptyAffinityThatWorks(t *testing.T) {
	old := wrap(t, nil)
	served(t, old, session("s"), []string{"B"})
	old.Drain("C", true)
	var b bytes.Buffer
	require.NoError(t, old.Save(&b))
	whole := b.Bytes()
	for n := range whole {
		s := wrap(t, nil)
		require.ErrorIs(t, s.Load(bytes.NewReader(whole[:n])), cache.ErrTruncated, n)
		flipped := bytes.Clone(whole)
		flipped[n] ^= 0x41
		err := s.Load(bytes.NewReader(flipped))
		require.True(t, errors.Is(err, cache.ErrDamaged) || errors.Is(err, cache.ErrTruncated) || errors.Is(err, cache.ErrForeign) || errors.Is(err, cache.ErrNewer), "%d: %v", n, err)
		require.Empty(t, look(t, s, session("s")))
		require.Equal(t, "C", served(t, s, session("s"), []string{"C"}))
	}
	s := wrap(t, nil)
	require.ErrorIs(t, s.Load(bytes.NewReader([]byte("something else, and quite long at that: certainly longer"))), cache.ErrForeign)
	require.NoError(t, s.Load(bytes.NewReader(whole)))
	require.Equal(t, "B", look(t, s, session("s")))
}

// SaveFile writes where symbolic links lead, and leaves the links as they are.
func TestStateInAFileBehindLinks(t *testing.T) {
	dir := t.TempDir()
	s := wrap(t, nil)
	served(t, s, session("s"), []string{"B"})
	at := func(parts ...string) string { return filepath.Join(append([]string{dir}, parts...)...) }
	for _, d := range []string{"app", "data", "data/deep"} {
		require.NoError(t, os.Mkdir(at(d), 0o700))
	}
	for from, to := range map[string]string{
		"app/absolute": at("data", "one"), "app/relative": "../data/two", "app/again": "relative", "way": "data/deep",
		"data/deep/up": "../three", "circle": "circle", "app/dir": "../data", "app/lost": "../nowhere/state",
	} {
		require.NoError(t, os.Symlink(to, at(from)))
	}
	for _, c := range []struct{ name, file string }{
		{"app/absolute", "data/one"}, {"app/relative", "data/two"}, {"app/again", "data/two"}, {"way/up", "data/three"},
	} {
		for range 2 { // first there is no file, then there is one
			require.NoError(t, s.SaveFile(at(c.name)), c.name)
			info, err := os.Lstat(at(c.file))
			require.NoError(t, err, c.name)
			require.Equal(t, fs.FileMode(0o600), info.Mode(), c.name)
			info, err = os.Lstat(at(c.name))
			require.NoError(t, err)
			require.Equal(t, fs.ModeSymlink, info.Mode().Type(), c.name)
			now := wrap(t, nil)
			require.NoError(t, now.LoadFile(at(c.name)))
			require.Equal(t, "B", look(t, now, session("s")))
			require.NoError(t, os.WriteFile(at(c.file), []byte("old"), 0o600))
		}
	}
	require.ErrorContains(t, s.SaveFile(at("circle")), "too many symbolic links")
	require.ErrorContains(t, s.SaveFile(at("app/dir")), "not a regular file")
	require.ErrorContains(t, s.SaveFile(dir), "not a regular file")
	require.ErrorIs(t, s.SaveFile(at("app/lost")), fs.ErrNotExist)
	for _, d := range []string{"app", "data", "data/deep", ""} {
		left, err := filepath.Glob(at(d, ".*.tmp"))
		require.NoError(t, err)
		require.Empty(t, left)
	}
}

func TestStateInAFile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "state")
	s := wrap(t, nil)
	require.ErrorIs(t, s.LoadFile(name), fs.ErrNotExist)
	served(t, s, session("s"), []string{"B"})
	left, fresh, other := filepath.Join(dir, ".state.123.tmp"), filepath.Join(dir, ".state.45.tmp"), filepath.Join(dir, ".state.mine.tmp")
	for _, f := range []string{left, fresh, other} {
		require.NoError(t, os.WriteFile(f, []byte("x"), 0o600))
	}
	for _, f := range []string{left, other} {
		require.NoError(t, os.Chtimes(f, time.Time{}, time.Now().Add(-time.Hour)))
	}
	for range 2 {
		require.NoError(t, s.SaveFile(name))
	}
	info, err := os.Stat(name)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode())
	var names []string
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	require.ElementsMatch(t, []string{"state", ".state.45.tmp", ".state.mine.tmp"}, names, "what was left a minute ago is removed")

	now := wrap(t, nil)
	require.NoError(t, now.LoadFile(name))
	require.Equal(t, "B", look(t, now, session("s")))

	// After an error the old file is there, and no other.
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.SaveFile(name), cache.ErrClosed)
	entries, err = os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 3)
	require.NoError(t, wrap(t, nil).LoadFile(name))
	require.ErrorIs(t, now.SaveFile(filepath.Join(dir, "none", "state")), fs.ErrNotExist)

	// A snapshot with bytes after its end is refused.
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString("x")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	longer := wrap(t, nil)
	require.ErrorIs(t, longer.LoadFile(name), cache.ErrDamaged)
	require.Empty(t, look(t, longer, session("s")))
	require.ErrorContains(t, longer.LoadFile(dir), "not a regular file")
}
