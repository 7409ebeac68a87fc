// Package identity reads the id of a session out of a body, as a gateway without the library would:
// it looks at the four places where clients put it most often. It does so with several JSON
// libraries, at the same places and in the same order.
package identity

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/bytedance/sonic"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/tidwall/gjson"
)

// Reader is a way to read the id out of a body. Read returns "" if there is none.
type Reader struct {
	Name string
	Read func(body []byte) string
}

// All are the readers.
var All = []Reader{
	{"encoding-json", unmarshalled(json.Unmarshal)},
	{"jsontext", byToken},
	{"gjson", GJSON},
	{"sonic", unmarshalled(sonic.Unmarshal)},
	{"sonic-get", sonicGet},
}

// members has the places of ids in a request.
type members struct {
	Metadata struct {
		UserID string `json:"user_id"`
	} `json:"metadata"`
	ClientMetadata struct {
		SessionID string `json:"session_id"`
	} `json:"client_metadata"`
	SessionID      string `json:"session_id"`
	PromptCacheKey string `json:"prompt_cache_key"`
}

func (m *members) id() string {
	return first(ofUser(m.Metadata.UserID), m.ClientMetadata.SessionID, m.SessionID, m.PromptCacheKey)
}

func first(ids ...string) string {
	for _, id := range ids {
		if id != "" {
			return id
		}
	}
	return ""
}

// ofUser returns the session in Claude Code's metadata.user_id: there it is in JSON inside the
// string, or in older versions behind a word. Other clients have a user there.
func ofUser(v string) string {
	if strings.HasPrefix(v, "{") {
		return gjson.Get(v, "session_id").Str
	}
	_, id, _ := strings.Cut(v, "_session_")
	return id
}

func unmarshalled(unmarshal func([]byte, any) error) func([]byte) string {
	return func(body []byte) string {
		var m members
		if unmarshal(body, &m) != nil {
			return ""
		}
		return m.id()
	}
}

// GJSON looks for one path after the other.
func GJSON(body []byte) string {
	get := func(path string) string { return gjson.GetBytes(body, path).Str }
	if id := ofUser(get("metadata.user_id")); id != "" {
		return id
	}
	for _, path := range []string{"client_metadata.session_id", "session_id", "prompt_cache_key"} {
		if id := get(path); id != "" {
			return id
		}
	}
	return ""
}

func sonicGet(body []byte) string {
	get := func(path ...any) string {
		n, err := sonic.Get(body, path...)
		if err != nil {
			return ""
		}
		s, err := n.StrictString()
		if err != nil {
			return ""
		}
		return s
	}
	if id := ofUser(get("metadata", "user_id")); id != "" {
		return id
	}
	if id := get("client_metadata", "session_id"); id != "" {
		return id
	}
	if id := get("session_id"); id != "" {
		return id
	}
	return get("prompt_cache_key")
}

// byToken reads the members at the top level, and skips those that have no id.
func byToken(body []byte) string {
	d := jsontext.NewDecoder(bytes.NewReader(body), jsontext.AllowDuplicateNames(true))
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return ""
	}
	var m members
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return ""
		}
		switch name.String() {
		case "metadata":
			err = memberOf(d, "user_id", &m.Metadata.UserID)
		case "client_metadata":
			err = memberOf(d, "session_id", &m.ClientMetadata.SessionID)
		case "session_id":
			err = text(d, &m.SessionID)
		case "prompt_cache_key":
			err = text(d, &m.PromptCacheKey)
		default:
			err = d.SkipValue()
		}
		if err != nil {
			return ""
		}
	}
	return m.id()
}

// text reads a string. It skips another value.
func text(d *jsontext.Decoder, out *string) error {
	if d.PeekKind() != '"' {
		return d.SkipValue()
	}
	t, err := d.ReadToken()
	if err == nil {
		*out = t.String()
	}
	return err
}

func memberOf(d *jsontext.Decoder, name string, out *string) error {
	if d.PeekKind() != '{' {
		return d.SkipValue()
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for d.PeekKind() == '"' {
		t, err := d.ReadToken()
		if err != nil {
			return err
		}
		if t.String() == name {
			err = text(d, out)
		} else {
			err = d.SkipValue()
		}
		if err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}
