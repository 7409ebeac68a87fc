package sessionid

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write what Extract says now into testdata/identities.jsonl")

// identity is one request of testdata/identities.jsonl, and its ID at the time when the file
// was written.
type identity struct {
	Name       string      `json:"name"`
	Header     http.Header `json:"header,omitempty"`
	Body       string      `json:"body,omitempty"`
	Says       says        `json:"says"`       // Extract
	Everything says        `json:"everything"` // an Extractor with everything switched on
}

// says is an ID in words and hex.
type says struct {
	Signal     string   `json:"signal"`
	Primary    string   `json:"primary,omitempty"`
	Names      []string `json:"names,omitempty"`
	Weak       string   `json:"weak,omitempty"`
	End        string   `json:"end,omitempty"`
	Tail       string   `json:"tail,omitempty"`
	Fallbacks  []string `json:"fallbacks,omitempty"`
	Boundaries int      `json:"boundaries,omitempty"`
	Marks      []string `json:"marks,omitempty"`
	Past       string   `json:"past,omitempty"`
	Side       bool     `json:"side,omitempty"`
	Lane       string   `json:"lane,omitempty"`
	Parent     string   `json:"parent,omitempty"`
	Owners     []string `json:"owners,omitempty"`
}

func inHex(k Key) string {
	if k == (Key{}) {
		return ""
	}
	return hex.EncodeToString(k[:])
}

func saysOf(id ID) says {
	all := func(keys []Key) (out []string) {
		for _, k := range keys {
			out = append(out, inHex(k))
		}
		return out
	}
	s := says{
		Signal: id.Signal().Kind.String() + " " + id.Signal().Name, Primary: inHex(id.Primary()), Names: all(id.Names()),
		Weak: inHex(id.Weak()), End: inHex(id.End()), Tail: inHex(id.Tail()), Fallbacks: all(id.Fallbacks()),
		Boundaries: len(id.Boundaries()), Marks: all(id.Marks()), Past: id.Past().String(), Side: id.Side(), Lane: inHex(id.Lane()), Parent: inHex(id.Parent()),
	}
	for _, o := range id.Owners() {
		s.Owners = append(s.Owners, o.Name+" "+inHex(o.Key))
	}
	return s
}

// Running stores hold these digests. If one changes, they lose their sessions.
func TestIdentitiesNeverChange(t *testing.T) {
	path := filepath.Join("testdata", "identities.jsonl")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	var out bytes.Buffer
	write := json.NewEncoder(&out)
	write.SetEscapeHTML(false)
	seen := map[string]bool{}
	for d := json.NewDecoder(bytes.NewReader(text)); d.More(); {
		var want identity
		require.NoError(t, d.Decode(&want))
		require.False(t, seen[want.Name], "two requests are called %q", want.Name)
		seen[want.Name] = true
		got := want
		got.Says = saysOf(Extract(want.Header, []byte(want.Body)))
		got.Everything = saysOf(everything.Extract(want.Header, []byte(want.Body)))
		require.NoError(t, write.Encode(got))
		if !*update {
			require.Equal(t, want, got, want.Name)
		}
		for _, s := range []says{got.Says, got.Everything} {
			seen[s.Signal] = true
			for _, o := range s.Owners {
				name, _, _ := bytes.Cut([]byte(o), []byte(" "))
				seen["owner "+string(name)] = true
			}
			for name := range want.Header {
				if s.Lane != "" || s.Parent != "" {
					seen["lane "+name], seen["parent "+name] = true, true
				}
				if s.Side {
					seen["side "+name] = true
				}
			}
		}
	}
	for _, s := range Signals() {
		switch kind := s.Kind.String(); {
		case s.Kind == KindOwnerHeader:
			require.True(t, seen["owner "+s.Name], "no request shows %v", s)
		case s.Name == "X-Client-Request-Id": // has no signal of its own
		default:
			require.True(t, seen[kind+" "+s.Name], "no request shows %v", s)
		}
	}
	if *update {
		require.NoError(t, os.WriteFile(path, out.Bytes(), 0o600))
	}
}
