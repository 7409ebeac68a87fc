package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
)

// Upstream is a provider with several auths.
type Upstream struct {
	Name string   `json:"name"` // its auths are called name-1, name-2 …
	API  API      `json:"api"`  // anthropic, openai, gemini, any
	URL  string   `json:"url"`  // what stands before /v1/…
	Keys []string `json:"keys"` // names of environment variables, one an auth
	Tier int      `json:"tier"` // upstreams of the highest tier go first
}

// upstreamFlag collects -upstream name,api,url,KEY_1,KEY_2.
type upstreamFlag []Upstream

func (f *upstreamFlag) String() string { return fmt.Sprintf("%d upstreams", len(*f)) }

func (f *upstreamFlag) Set(s string) error {
	parts := strings.Split(s, ",")
	if len(parts) < 4 {
		return errors.New("want name,api,url,ENV_OF_KEY[,ENV_OF_KEY…]")
	}
	*f = append(*f, Upstream{Name: parts[0], API: API(parts[1]), URL: parts[2], Keys: parts[3:]})
	return nil
}

// readConfig reads {"upstreams": [{"name", "api", "url", "keys", "tier"}, …]}.
func readConfig(file string) ([]Upstream, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var c struct {
		Upstreams []Upstream `json:"upstreams"`
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(c.Upstreams) == 0 {
		return nil, fmt.Errorf("%s: no upstreams", file)
	}
	return c.Upstreams, nil
}

// poolOf makes the auths of the upstreams; getenv gives the keys.
func poolOf(upstreams []Upstream, getenv func(string) string) (*Pool, error) {
	p := &Pool{}
	for _, u := range upstreams {
		switch u.API {
		case APIAnthropic, APIOpenAI, APIGemini, APIAny:
		default:
			return nil, fmt.Errorf("upstream %q: unknown api %q", u.Name, u.API)
		}
		base, err := url.Parse(strings.TrimSuffix(u.URL, "/"))
		if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
			return nil, fmt.Errorf("upstream %q: %q is no http or https address", u.Name, u.URL)
		}
		if u.Name == "" || len(u.Keys) == 0 {
			return nil, fmt.Errorf("upstream %q: a name and at least one key are needed", u.Name)
		}
		for i, env := range u.Keys {
			key := getenv(env)
			if key == "" {
				return nil, fmt.Errorf("upstream %q: the environment variable %s is not set", u.Name, env)
			}
			a := &Auth{Name: fmt.Sprintf("%s-%d", u.Name, i+1), API: u.API, URL: base, Key: key, Tier: u.Tier}
			if p.Named(a.Name) != nil {
				return nil, fmt.Errorf("two auths are called %s", a.Name)
			}
			p.auths = append(p.auths, a)
		}
	}
	return p, nil
}
