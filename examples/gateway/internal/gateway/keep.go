package gateway

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
)

// keeping says where bindings are kept beyond the process: in a state file, or in a shared
// store. The zero value keeps nothing.
type keeping struct {
	file  string        // -state
	every time.Duration // -state-every
	url   string        // -store
	open  Opener
	key   string // -tenant-key, the name of a variable
}

// openWithin is how long it may take to open a store.
const openWithin = 10 * time.Second

// check returns what is wrong with the flags.
func (k *keeping) check(stores Stores, getenv func(string) string) (err error) {
	switch {
	case k.file != "" && k.url != "":
		return usagef("-state is for the store in memory: leave it out, because the store of -store keeps the sessions")
	case k.every <= 0:
		return usagef("-state-every must be more than 0")
	case k.key != "" && len(getenv(k.key)) < 16:
		return usagef("-tenant-key: the environment variable %s has less than 16 bytes", shown(k.key))
	case k.url != "":
		k.open, err = stores.find(k.url)
	}
	return err
}

// secret returns the key that the names of tenants are made with; nil means a new one in each
// process. It must be the same wherever the same bindings are: after a restart, and in all
// gateways of a shared store.
func (k *keeping) secret(getenv func(string) string) ([]byte, error) {
	switch {
	case k.key != "":
		return []byte(getenv(k.key)), nil
	case k.file != "":
		return keyFile(k.file + ".key")
	case k.url != "": // all gateways have the URL, and anyone else who has it can read the store
		sum := sha256.Sum256([]byte("names of tenants, by the store " + k.url))
		return sum[:], nil
	}
	return nil, nil
}

// store opens the shared store, if there is one.
func (k *keeping) store(ctx context.Context) (cache.Store, func() error, error) {
	if k.open == nil {
		return nil, func() error { return nil }, nil
	}
	ctx, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	s, stop, err := k.open(ctx, k.url)
	if err != nil {
		return nil, nil, fmt.Errorf("-store: %w", err)
	}
	return s, stop, nil
}

// unread is the new name of a state file that could not be loaded.
const unread = ".unread"

// load reads the state file, and writes it at once: a gateway that cannot write its state must
// say so before it serves. A file that cannot be loaded is renamed, and the gateway begins
// without sessions.
func (k *keeping) load(g *Gateway, log *slog.Logger) error {
	if k.file == "" {
		return nil
	}
	err := g.transport.LoadFile(k.file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		log.Info("there is no state yet", "file", k.file)
	case errors.Is(err, cache.ErrDamaged), errors.Is(err, cache.ErrTruncated), errors.Is(err, cache.ErrForeign), errors.Is(err, cache.ErrNewer):
		log.Error("the state cannot be read: the gateway begins without sessions", "error", err, "kept", k.file+unread)
		if err := os.Rename(k.file, k.file+unread); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	return k.save(g)
}

// save writes the state file.
func (k *keeping) save(g *Gateway) error {
	if k.file == "" {
		return nil
	}
	return g.transport.SaveFile(k.file)
}

// ticks returns a channel that says when to save, until stop is called.
func (k *keeping) ticks() (at <-chan time.Time, stop func()) {
	if k.file == "" {
		return nil, func() {}
	}
	t := time.NewTicker(k.every)
	return t.C, t.Stop
}

// keyFile reads a random key from a file that only its owner may read. It makes the file if
// there is none.
func keyFile(name string) ([]byte, error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return newKeyFile(name)
	}
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(string(text))
	if err != nil || len(key) != 32 {
		return nil, fmt.Errorf("%s is not the key of a state file, and the state cannot be used without its key: remove both to begin without sessions", name)
	}
	return key, nil
}

// newKeyFile makes a key. The file gets its name when it is complete, like the state file. If
// another process was faster, its key counts.
func newKeyFile(name string) (key []byte, err error) {
	key = make([]byte, 32)
	_, _ = rand.Read(key) // it never fails
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*.tmp")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(hex.EncodeToString(key))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	err = os.Link(f.Name(), name)
	switch {
	case errors.Is(err, fs.ErrExist):
		return keyFile(name)
	case err != nil: // a file system without links
		err = os.Rename(f.Name(), name)
	}
	return key, err
}
