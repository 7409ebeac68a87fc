package gateway

import (
	"context"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/llmaffinity/llmaffinity/cache"
)

// Stores are the shared stores that a program can open, by the scheme of their URL, in
// lower case.
type Stores map[string]Opener

// Opener opens the store at a URL. ctx bounds how long that may take. The gateway uses the
// store until it has stopped, and closes it with the function that is returned, too.
type Opener func(ctx context.Context, url string) (cache.Store, func() error, error)

// elsewhere are the commands for stores that this module cannot have because of their
// dependencies.
var elsewhere = map[string]string{
	"redis":  "go -C examples/gateway/full run . -store redis://…",
	"rediss": "go -C examples/gateway/full run . -store rediss://…",
}

// find returns the opener for a URL. Its errors do not show the URL, because it may have a
// password.
func (s Stores) find(store string) (Opener, error) {
	u, err := url.Parse(store)
	if err != nil || u.Scheme == "" {
		return nil, usagef("-store: want a URL with a scheme, such as redis://127.0.0.1:6379")
	}
	if open := s[u.Scheme]; open != nil {
		return open, nil
	}
	have := "only the one in memory, which is the default"
	if len(s) > 0 {
		have = strings.Join(slices.Sorted(maps.Keys(s)), ", ") + " and the one in memory, which is the default"
	}
	if command := elsewhere[u.Scheme]; command != "" {
		return nil, usagef("-store: this program has no store %s://. It has %s. Use this command: %s", u.Scheme, have, command)
	}
	return nil, usagef("-store: this program has no store %s. It has %s", shown(u.Scheme+"://"), have)
}
