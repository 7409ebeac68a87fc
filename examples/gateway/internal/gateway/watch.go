package gateway

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"time"
)

// pollEvery is how often the files are checked. A change counts when the file has stayed the
// same for that long, so that a file is not read while it is being written.
const pollEvery = time.Second

// seen holds what files looked like just before they were read; nil stands for a missing file.
type seen map[string]fs.FileInfo

// read reads a file and notes what it looked like. If a file is read twice, the first look
// counts.
func (s seen) read(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if _, again := s[file]; !again {
		s[file] = info
	}
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular(): // a pipe would block a reload
		return nil, &fs.PathError{Op: "read", Path: file, Err: errors.New("not a regular file")}
	}
	return os.ReadFile(file)
}

// again looks at the same files once more.
func (s seen) again() seen {
	now := seen{}
	for file := range s {
		now[file], _ = os.Stat(file)
	}
	return now
}

// same reports whether no file has changed.
func (s seen) same(as seen) bool {
	return maps.EqualFunc(s, as, func(a, b fs.FileInfo) bool {
		if a == nil || b == nil {
			return a == nil && b == nil
		}
		return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && a.Mode() == b.Mode()
	})
}

// watch says when files have to be read again.
type watch struct {
	read  seen // as they were when they were read
	later seen // as the last check found them, if they have changed since
}

// check reports whether a file has changed since it was read, and has not since the check
// before.
func (w *watch) check() bool {
	now := w.read.again()
	if now.same(w.read) {
		w.later = nil
		return false
	}
	settled := w.later != nil && now.same(w.later)
	w.later = now
	return settled
}

// source is where the settings come from: the command line and a file.
type source struct {
	upstreams []Upstream // of the command line
	affinity  *bool      // what -affinity says, nil if it was not given
	config    string     // "": no file
	getenv    func(string) string
}

// settings reads all of it with read.
func (s *source) settings(read func(string) ([]byte, error)) (Settings, []string, error) {
	var c Config
	if s.config != "" {
		var err error
		if c, err = readConfig(s.config, read); err != nil {
			return Settings{}, nil, err
		}
	}
	out := Settings{Strategy: c.Strategy, TTL: c.TTL, Affinity: true}
	switch {
	case s.affinity != nil && c.Affinity != nil && *s.affinity != *c.Affinity:
		return Settings{}, nil, usagef("%s: routing.session-affinity is %t, but -affinity=%t was given: leave out one of them", s.config, *c.Affinity, *s.affinity)
	case s.affinity != nil:
		out.Affinity = *s.affinity
	case c.Affinity != nil:
		out.Affinity = *c.Affinity
	}
	all := append(s.upstreams[:len(s.upstreams):len(s.upstreams)], c.Upstreams...)
	if len(all) == 0 {
		return Settings{}, nil, errors.New(s.config + ": no upstreams")
	}
	var err error
	out.Auths, err = authsOf(all, s.getenv, read)
	return out, c.Warnings, err
}

// reloader keeps a gateway's settings as its source says.
type reloader struct {
	source source
	apply  func(Settings) error
	log    *slog.Logger
	watch  watch
}

// settings reads the source. The files that were read are watched from now on, even if
// something is wrong with them.
func (r *reloader) settings() (Settings, error) {
	now := seen{}
	s, warnings, err := r.source.settings(now.read)
	r.watch = watch{read: now}
	for _, w := range warnings {
		r.log.Warn(w)
	}
	return s, err
}

// reload applies what the source says now. If something is wrong with that, nothing changes,
// and the log says why.
func (r *reloader) reload() {
	s, err := r.settings()
	if err == nil {
		err = r.apply(s)
	}
	if errors.Is(err, errUnset) {
		err = fmt.Errorf("%w, and the environment of a running process does not change: write the key into a key_file, or restart the gateway", err)
	}
	if err != nil {
		r.log.Error("the configuration stays as it was", "error", err)
		return
	}
	r.log.Info("the configuration was read again", "auths", len(s.Auths), "strategy", s.Strategy, "ttl", s.TTL, "affinity", s.Affinity)
}

// check reloads if a file has changed.
func (r *reloader) check() {
	if r.watch.check() {
		r.reload()
	}
}
