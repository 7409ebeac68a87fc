package sessionid

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The test adds a client with a header, body members, subagents, and state behind
// one auth. It adds rows and no other code.
func TestAddingAClientIsAddingRows(t *testing.T) {
	acme, rival := newSpace("acme"), newSpace("rival")
	rows := append(slices.Clone(census),
		row{KindNativeHeader, acme, "X-Acme-Chat", "Acme (T)", asItIs, nil},
		row{KindNativeBody, acme, "acme.chat", "Acme (T)", asItIs, nil},
		row{KindBody, acme, "acme_chat", "Acme (T)", asItIs, nil},
		row{KindGuarded, acme, "user", "Acme (T): only from its User-Agent", asItIs, &terms{agent: "AcmeCLI/"}},
		row{KindNativeHeader, rival, "X-Chat", "Rival (T): only from its User-Agent", asItIs, &terms{agent: "Rival/"}},
		row{KindCacheKey, acme, "acme_cache_key", "Acme (T)", asItIs, nil},
		row{KindGuarded, acme, "X-Acme-Request", "Acme (T): only if it is the cache key as well", asItIs, &terms{isCacheKey: true}},
		row{KindLane, acme, "X-Acme-Agent", "Acme's subagents (T)", asItIs, nil},
		row{KindParent, acme, "X-Acme-Parent", "Acme's subagents (T)", asItIs, nil},
		row{KindOwner, nil, "acme_previous", "Acme (T)", asItIs, &terms{history: true}},
		row{KindOwner, nil, "acme.previous", "Acme (T)", asItIs, &terms{means: "acme_previous"}},
		row{KindOwnerHeader, acme, "X-Acme-State", "Acme (T)", asItIs, nil},
	)
	e, err := newExtractor(rows, nil)
	require.NoError(t, err)
	find := func(body string, pairs ...string) ID {
		h := http.Header{}
		for i := 0; i < len(pairs); i += 2 {
			h.Set(pairs[i], pairs[i+1])
		}
		standard := Extract(h, []byte(body))
		require.Empty(t, standard.Names(), "the census does not know Acme")
		return e.Extract(h, []byte(body))
	}
	large := func(end string) string { return `{"tools":"` + strings.Repeat("x", 3*small) + `"` + end + `}` }
	want := acme.key("c-1")

	for name, id := range map[string]ID{
		"header":                find("", "X-Acme-Chat", "c-1"),
		"body":                  find(`{"acme":{"chat":"c-1"}}`),
		"generic body":          find(`{"acme_chat":"c-1"}`),
		"end of a large body":   find(large(`,"acme":{"chat":"c-1"}`)),
		"from its User-Agent":   find(`{"user":"c-1"}`, "User-Agent", "AcmeCLI/2"),
		"cache key in a header": find(`{"acme_cache_key":"c-1"}`, "X-Acme-Request", "c-1"),
	} {
		require.Equal(t, []Key{want}, id.Names(), name)
	}
	sure := find("", "X-Chat", "c-1", "User-Agent", "Rival/1")
	require.Equal(t, []Key{rival.key("c-1")}, sure.Names(), "a header may have terms too")
	for name, id := range map[string]ID{
		"body from another User-Agent":    find(`{"user":"c-1"}`, "User-Agent", "Other/2"),
		"body without a User-Agent":       find(`{"user":"c-1"}`),
		"header from another User-Agent":  find("", "X-Chat", "c-1", "User-Agent", "Other/1"),
		"a request id beside a cache key": find(`{"acme_cache_key":"c-1"}`, "X-Acme-Request", "r-1"),
	} {
		require.Empty(t, id.Names(), name)
	}
	weak := find(`{"acme_cache_key":"c-1"}`)
	require.Equal(t, want, weak.Weak())

	// After a generic header the body member of the same client is looked for, too, in bodies
	// of any size.
	for _, body := range []string{`{"acme":{"chat":"c-1"}}`, large(`,"acme":{"chat":"c-1"}`)} {
		id := e.Extract(http.Header{"X-Session-Id": {"proxy"}}, []byte(body))
		require.Equal(t, want, id.Primary())
		require.Len(t, id.Names(), 2)
	}

	sub := find(`{"messages":[]}`, "X-Acme-Chat", "c-1", "X-Acme-Agent", "b", "X-Acme-Parent", "a")
	require.Equal(t, want, sub.Primary())
	require.Equal(t, laneKey(want, "b"), sub.Lane())
	require.Equal(t, laneKey(want, "a"), sub.Parent())
	other := e.Extract(http.Header{"Session-Id": {"c-1"}, "X-Acme-Agent": {"b"}, "X-Acme-State": {"s"}}, nil)
	require.Zero(t, other.Lane(), "a subagent's header counts beside its own client's session only")
	require.Empty(t, other.Owners(), "so does the header of its state")

	state := newSpace("owner/acme_previous").key("r-1")
	for name, body := range map[string]string{"acme_previous": `{"acme_previous":"r-1","input":"go on"}`, "acme.previous": `{"acme":{"previous":"r-1"},"input":"go on"}`} {
		id := e.Extract(nil, []byte(body))
		require.Equal(t, []Owner{{name, state}}, id.Owners())
	}
	behind, before := e.Extract(nil, []byte(`{"acme_previous":"r-1","input":"go on"}`)), e.Extract(nil, []byte(`{"input":"go on"}`))
	require.NotEqual(t, before.End(), behind.End(), "the state stands for the history")
	header := e.Extract(http.Header{"X-Acme-Chat": {"c-1"}, "X-Acme-State": {"s"}}, nil)
	require.Equal(t, []Owner{{"X-Acme-State", newSpace("owner/X-Acme-State").key("s")}}, header.Owners())
	alone := e.Extract(http.Header{"X-Acme-State": {"s"}}, nil)
	require.Equal(t, header.Owners(), alone.Owners(), "the owner is found also in a request without a session")

	off, err := newExtractor(rows, &Options{Without: []string{"x-acme-chat", "X-Acme-Agent"}})
	require.NoError(t, err)
	id := off.Extract(http.Header{"X-Acme-Chat": {"c-1"}}, []byte(`{"acme_chat":"c-1"}`))
	require.Equal(t, "acme_chat", id.Signal().Name)
}

func TestHeadersOfTheCensusHaveCanonicalNames(t *testing.T) {
	for _, r := range census {
		switch {
		case r.kind.inHeader(), r.kind == KindLane, r.kind == KindParent, r.kind == KindOwnerHeader, r.kind == KindSide, r.terms != nil && r.terms.isCacheKey:
			require.Equal(t, textproto.CanonicalMIMEHeaderKey(r.name), r.name)
		default:
			require.NotContains(t, r.name, "X-")
		}
	}
}

func TestTermsNameRowsThatExist(t *testing.T) {
	for _, r := range census {
		if r.terms != nil && r.terms.means != "" {
			require.True(t, slices.ContainsFunc(census, func(other row) bool { return other.kind == r.kind && other.name == r.terms.means }), r.name)
		}
	}
}

// Equal words after different states that stand for the history are different conversations.
// Other state does not change the identity by content.
func TestOnlyStateThatStandsForTheHistoryChangesTheContent(t *testing.T) {
	bare := Extract(nil, []byte(`{"messages":[{"role":"user","content":"go on"}]}`))
	stands := []string{"previous_response_id", "previous_interaction_id", "thread.previous_message_id", "session_params.id"}
	for _, r := range census {
		if r.kind != KindOwner || strings.HasPrefix(r.name, "conversation") {
			continue
		}
		value := `"r-1"`
		path := strings.Split(r.name, ".")
		for _, name := range slices.Backward(path[1:]) {
			value = `{"` + name + `":` + value + `}`
		}
		id := Extract(nil, []byte(`{"`+path[0]+`":`+value+`,"messages":[{"role":"user","content":"go on"}]}`))
		require.Equal(t, KindContent, id.Signal().Kind, r.name)
		require.Len(t, id.Owners(), 1, r.name)
		require.Equal(t, slices.Contains(stands, r.name), id.End() != bare.End(), r.name)
	}
}
