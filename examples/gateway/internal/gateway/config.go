package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/llmaffinity/llmaffinity/cache"
)

// Config is the content of a configuration file; configUsage shows one.
// "claude-code-session-affinity" is an old name of "session-affinity".
type Config struct {
	Strategy  string
	TTL       time.Duration
	Affinity  *bool // nil: the file says nothing
	Upstreams []Upstream
	Warnings  []string
}

// Upstream is a provider with several auths.
type Upstream struct {
	Name string // an auth without a name has this one and a digest of its key
	API  API    // anthropic, openai, gemini, any
	URL  string // what stands before /v1/…
	Keys []Key  // one an auth
	// KeyFile is a file with one key a line, "name=key" or "key". Blank lines and lines that
	// begin with # are ignored.
	KeyFile string
	Tier    int // upstreams of the highest tier are used first

	place string // its place in the configuration, for errors
}

// Key says where the key of an auth is.
type Key struct {
	Env  string // the name of an environment variable
	Name string // of the auth; "" makes one of the key's digest
}

// at is the place of a field, for errors.
func (u *Upstream) at(field string) string { return u.place + "." + field }

// usageError is an error in the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// upstreamFlag collects -upstream name,api,url,KEY_1,KEY_2. Set accepts anything: package flag
// prints what Set refuses, and that may be a key in the wrong place.
type upstreamFlag []string

func (f *upstreamFlag) String() string { return fmt.Sprintf("%d upstreams", len(*f)) }

func (f *upstreamFlag) Set(s string) error {
	*f = append(*f, s)
	return nil
}

// flagPlace is the beginning of the places of upstreams from the command line.
const flagPlace = "-upstream["

// upstreams parses the collected flags.
func (f upstreamFlag) upstreams() (all []Upstream, err error) {
	for i, s := range f {
		place := fmt.Sprintf("%s%d]", flagPlace, i)
		parts := strings.Split(s, ",")
		if len(parts) < 4 {
			return nil, usagef("%s: want name,api,url,ENV_OF_KEY[,ENV_OF_KEY…]", place)
		}
		u := Upstream{Name: parts[0], API: API(parts[1]), URL: parts[2], place: place}
		for _, env := range parts[3:] {
			u.Keys = append(u.Keys, Key{Env: env})
		}
		all = append(all, u)
	}
	return all, nil
}

// readConfig reads a configuration file. Key files are relative to its folder.
func readConfig(file string, read func(string) ([]byte, error)) (Config, error) {
	text, err := read(file)
	if err != nil {
		return Config{}, err
	}
	c, err := parseConfig(file, text)
	for i := range c.Upstreams {
		if f := &c.Upstreams[i].KeyFile; *f != "" && !filepath.IsAbs(*f) {
			*f = filepath.Join(filepath.Dir(file), *f)
		}
	}
	return c, err
}

func parseConfig(file string, text []byte) (Config, error) {
	d := &document{file: file, text: text}
	c := Config{Strategy: roundRobin, TTL: cache.DefaultTTL}
	root := d.parse()
	if root == nil {
		return Config{}, d.err
	}
	all := d.object(root, "", "routing", "upstreams")
	if n := all["routing"]; n != nil {
		d.routing(n, &c)
	}
	if n := all["upstreams"]; n != nil {
		for i, item := range d.list(n, "upstreams") {
			c.Upstreams = append(c.Upstreams, d.upstream(item, fmt.Sprintf("upstreams[%d]", i)))
		}
	}
	if d.err != nil {
		return Config{}, d.err
	}
	return c, nil
}

func (d *document) routing(n *node, c *Config) {
	const now, old = "session-affinity", "claude-code-session-affinity"
	r := d.object(n, "routing", "strategy", now, now+"-ttl", old)
	if n := r["strategy"]; n != nil {
		c.Strategy = d.string(n, "routing.strategy")
		if _, err := balancer(c.Strategy); err != nil {
			d.fail(n.at, "routing.strategy", "%v", err)
		}
	}
	if n := r[now+"-ttl"]; n != nil {
		ttl, err := time.ParseDuration(d.string(n, "routing."+now+"-ttl"))
		if err != nil || ttl <= 0 {
			d.fail(n.at, "routing."+now+"-ttl", "want a duration above 0, such as 30m or 1h")
		}
		c.TTL = ttl
	}
	c.Affinity = d.bool(r[now], "routing."+now)
	if alias := d.bool(r[old], "routing."+old); alias != nil {
		if c.Affinity != nil && *c.Affinity != *alias {
			d.fail(r[old].at, "routing."+old, "%s has another value; leave out %s", now, old)
		}
		c.Affinity = alias
		c.Warnings = append(c.Warnings, fmt.Sprintf("%s: routing.%s is deprecated: write %s", d.file, old, now))
	}
}

func (d *document) upstream(n *node, place string) Upstream {
	m := d.object(n, place, "name", "api", "url", "keys", "key_file", "tier")
	u := Upstream{
		Name: d.string(m["name"], place+".name"), API: API(d.string(m["api"], place+".api")), URL: d.string(m["url"], place+".url"),
		KeyFile: d.string(m["key_file"], place+".key_file"), Tier: d.int(m["tier"], place+".tier"),
		place: d.file + ": " + place,
	}
	if n := m["keys"]; n != nil {
		for i, item := range d.list(n, place+".keys") {
			u.Keys = append(u.Keys, d.key(item, fmt.Sprintf("%s.keys[%d]", place, i)))
		}
	}
	return u
}

// key reads "ENV_NAME" or {"env": "ENV_NAME", "name": "work"}.
func (d *document) key(n *node, place string) Key {
	if _, ok := n.value.(string); ok {
		return Key{Env: d.string(n, place)}
	}
	m := d.object(n, place, "env", "name")
	if m["env"] == nil {
		d.fail(n.at, place, `want the name of an environment variable, or {"env": …, "name": …}`)
	}
	return Key{Env: d.string(m["env"], place+".env"), Name: d.string(m["name"], place+".name")}
}

// errUnset is the error for an environment variable without a value.
var errUnset = errors.New("is not set")

// authsOf makes the auths of the upstreams. getenv returns the keys in variables, and read
// those in files. No error shows a part of a key: if a key may be in the wrong place, the
// error names only the place.
func authsOf(upstreams []Upstream, getenv func(string) string, read func(string) ([]byte, error)) ([]*Auth, error) {
	var all authList
	for i := range upstreams {
		u := &upstreams[i]
		if err := all.add(u, getenv, read); err != nil {
			if strings.HasPrefix(u.place, flagPlace) {
				return nil, usageError{err}
			}
			return nil, err
		}
	}
	return all.made, nil
}

// poolOf makes a pool of the upstreams.
func poolOf(upstreams []Upstream, getenv func(string) string) (*Pool, error) {
	made, err := authsOf(upstreams, getenv, os.ReadFile)
	if err != nil {
		return nil, err
	}
	return &Pool{auths: made}, nil
}

// authList holds the auths that were made so far, and their places.
type authList struct {
	made   []*Auth
	places []string
}

// add makes the auths of an upstream.
func (all *authList) add(u *Upstream, getenv func(string) string, read func(string) ([]byte, error)) error {
	base, err := u.check()
	if err != nil {
		return err
	}
	before := len(all.made)
	for i, k := range u.Keys {
		place := u.at(fmt.Sprintf("keys[%d]", i))
		key := strings.TrimSpace(getenv(k.Env))
		if key == "" {
			return fmt.Errorf("%s: the environment variable %s %w", place, shown(k.Env), errUnset)
		}
		if err := all.one(u, base, k.Name, key, place); err != nil {
			return err
		}
	}
	if u.KeyFile != "" {
		text, err := read(u.KeyFile)
		if err != nil {
			var in *fs.PathError // the path could be a key
			if errors.As(err, &in) {
				err = in.Err
			}
			return fmt.Errorf("%s: %w", u.at("key_file"), err)
		}
		n := 0
		for line := range bytes.Lines(text) {
			n++
			name, key, err := keyOf(string(line))
			place := fmt.Sprintf("%s:%d", u.KeyFile, n)
			if err != nil {
				return fmt.Errorf("%s: %w", place, err)
			}
			if key == "" {
				continue
			}
			if err := all.one(u, base, name, key, place); err != nil {
				return err
			}
		}
	}
	if len(all.made) == before {
		return fmt.Errorf("%s: no keys", u.place)
	}
	return nil
}

// check checks what the auths of an upstream have in common.
func (u *Upstream) check() (base *url.URL, err error) {
	if !goodName(u.Name) {
		return nil, fmt.Errorf("%s: %s", u.at("name"), wantName)
	}
	switch u.API {
	case APIAnthropic, APIOpenAI, APIGemini, APIAny:
	default:
		return nil, fmt.Errorf("%s: unknown api %s, want anthropic, openai, gemini or any", u.at("api"), shown(string(u.API)))
	}
	base, err = url.Parse(strings.TrimSuffix(u.URL, "/"))
	switch {
	case err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https":
		return nil, fmt.Errorf("%s: want an http or https address", u.at("url"))
	case base.User != nil || base.RawQuery != "" || base.Fragment != "":
		return nil, fmt.Errorf("%s: leave out the user, the query and the fragment: they would not be sent", u.at("url"))
	}
	if last := base.Path[strings.LastIndexByte(base.Path, '/')+1:]; last == "v1" || last == "v1beta" {
		return nil, fmt.Errorf("%s: leave out /%s: the client's path has it", u.at("url"), last)
	}
	return base, nil
}

// one makes one auth. Two auths must not have one name. Nor may two auths be one key at one
// provider: they would share a prompt cache and a quota.
func (all *authList) one(u *Upstream, base *url.URL, name, key, place string) error {
	if !goodKey(key) {
		return fmt.Errorf("%s: the key has blanks or characters that are not ASCII", place)
	}
	if name == "" {
		name = nameOf(u.Name, key)
	}
	if !goodName(name) {
		return fmt.Errorf("%s: %s", place, wantName)
	}
	a := &Auth{Name: name, API: u.API, URL: base, Key: key, Tier: u.Tier}
	for i, b := range all.made {
		typed := strings.HasPrefix(place, flagPlace) && strings.HasPrefix(all.places[i], flagPlace)
		meet := a.API == b.API || a.API == APIAny || b.API == APIAny
		switch {
		case a.Key == b.Key && (typed || meet && a.URL.String() == b.URL.String()):
			return fmt.Errorf("%s: the same key as at %s", place, all.places[i])
		case a.Name == b.Name:
			return fmt.Errorf("%s: an auth is called %s already, at %s; give one of them another name", place, name, all.places[i])
		}
	}
	all.made, all.places = append(all.made, a), append(all.places, place)
	return nil
}

// keyOf reads a line of a key file. key is empty if the line has none. A "=" ends the name,
// even if it is meant to be a part of a key: such a key needs a name.
func keyOf(line string) (name, key string, err error) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return "", "", nil
	}
	name, key, named := strings.Cut(line, "=")
	if !named {
		return "", line, nil
	}
	name, key = strings.TrimSpace(name), strings.TrimSpace(key)
	if name == "" || strings.Trim(key, "=") == "" {
		return "", "", errors.New("want name=key, or a key without a =")
	}
	return name, key, nil
}
