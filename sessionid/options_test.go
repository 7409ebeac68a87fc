package sessionid_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llmaffinity/llmaffinity/sessionid"
)

func extractor(t testing.TB, o *sessionid.Options) *sessionid.Extractor {
	t.Helper()
	e, err := sessionid.NewExtractor(o)
	require.NoError(t, err)
	return e
}

func TestAMistakeInTheOptionsIsAnErrorThatNamesTheField(t *testing.T) {
	var many []sessionid.Place
	for i := range 50 {
		many = append(many, sessionid.Place{Path: fmt.Sprintf("member%d", i)})
	}
	for want, o := range map[string]sessionid.Options{
		"Own[0] needs either a Header or a Path":                           {Own: []sessionid.Place{{}}},
		"Own[1] needs either a Header or a Path":                           {Own: []sessionid.Place{{Header: "X-Ok"}, {Header: "a", Path: "b"}}},
		`Own[0].Header: "no header" is not the name of a header`:           {Own: []sessionid.Place{{Header: "no header"}}},
		`Own[0].Path: "a..b" is not a path`:                                {Own: []sessionid.Place{{Path: "a..b"}}},
		`Own[0].Path: "a\"b" is not a path`:                                {Own: []sessionid.Place{{Path: `a"b`}}},
		"Own[0].Path: a name must have 1 to 63 bytes, and this one has 64": {Own: []sessionid.Place{{Path: strings.Repeat("a", 64)}}},
		"Path: there are more than 40 different names":                     {Own: many},
		"Own is set, but Order does not have KindOwn":                      {Own: []sessionid.Place{{Header: "X-Ok"}}, Order: []sessionid.Kind{sessionid.KindContent}},
		"Order is empty":                                               {Order: []sessionid.Kind{}},
		"Order has content twice":                                      {Order: []sessionid.Kind{sessionid.KindContent, sessionid.KindContent}},
		"Order has lane, which names no session":                       {Order: []sessionid.Kind{sessionid.KindLane}},
		"Order has unknown, which names no session":                    {Order: []sessionid.Kind{99}},
		`Without has "x-sesion-id", which is not the name of a signal`: {Without: []string{"x-sesion-id"}},
		`Deny has "", which is not the name of a header`:               {Deny: []string{""}},
		"MaxIDBytes is -1, want 0 to 1024":                             {MaxIDBytes: -1},
		"MaxIDBytes is 1025, want 0 to 1024":                           {MaxIDBytes: 1025},
		"MaxContentBytes is -1, want at least 0":                       {MaxContentBytes: -1},
	} {
		e, err := sessionid.NewExtractor(&o)
		require.Nil(t, e, want)
		require.ErrorContains(t, err, want)
		require.True(t, strings.HasPrefix(err.Error(), "sessionid: "), err)
	}
}

func TestNilOptionsAreTheDefaults(t *testing.T) {
	e := extractor(t, nil)
	h, body := headers("X-Session-Id", "s", "X-Other-Session-Id", "o"), []byte(`{"prompt_cache_key":"`+uuidB+`"}`)
	require.Equal(t, sessionid.Extract(h, body).String(), e.Extract(h, body).String())
}

func TestTheOperatorsOwnSignalsComeFirst(t *testing.T) {
	e := extractor(t, &sessionid.Options{Own: []sessionid.Place{{Header: "x-acme-chat"}, {Path: "acme.chat.id"}, {Header: "X-Acme-Old"}}})
	h := headers("X-Claude-Code-Session-Id", uuidA, "X-Acme-Old", "old")
	body := `{"acme":{"chat":{"id":"c-1"}},"session_id":"s"}`
	name := func(h http.Header, body string) string {
		id := e.Extract(h, []byte(body))
		return id.Signal().Name
	}
	require.Equal(t, "acme.chat.id", name(h, body))
	require.Equal(t, "X-Acme-Old", name(h, `{"session_id":"s"}`))
	require.Equal(t, "X-Claude-Code-Session-Id", name(headers("X-Claude-Code-Session-Id", uuidA), `{"acme":{"chat":7}}`))
	h.Set("X-Acme-Chat", "c-2")
	require.Equal(t, "X-Acme-Chat", name(h, body))
}

func TestAnOwnPathIsFoundWhereverItStandsInALargeBody(t *testing.T) {
	e := extractor(t, &sessionid.Options{Own: []sessionid.Place{{Path: "acme.chat.id"}}})
	own := `"acme":{"x":[1,{"chat":0}],"chat":{"id":"c-1"}}`
	small := e.Extract(nil, []byte(`{`+own+`}`))
	for place, body := range map[string]string{
		"front": large(own+",", "", ""), "middle": large("", ","+own, ""), "end": large("", "", ","+own),
	} {
		for _, h := range []http.Header{nil, headers("Session-Id", uuidA), headers("X-Session-Id", uuidA)} {
			id := e.Extract(h, []byte(body))
			require.Equal(t, small.Primary(), id.Primary(), "%s %v", place, h)
		}
	}
}

func TestSignalsAreSwitchedOffAndReordered(t *testing.T) {
	h := headers("X-Session-Id", "h", "X-Session-Affinity", "a")
	body := `{"conversation_id":"c","prompt_cache_key":"` + uuidB + `","messages":[{"role":"user","content":"q"}]}`
	name := func(o *sessionid.Options) string {
		id := extractor(t, o).Extract(h, []byte(body))
		return id.Signal().Name
	}
	require.Equal(t, "X-Session-Id", name(&sessionid.Options{}))
	require.Equal(t, "X-Session-Affinity", name(&sessionid.Options{Without: []string{"x-session-id"}}))
	require.Equal(t, "conversation_id", name(&sessionid.Options{Without: []string{"X-Session-Id", "X-Session-Affinity"}}))
	require.Equal(t, "conversation_id", name(&sessionid.Options{Order: []sessionid.Kind{sessionid.KindBody, sessionid.KindGenericHeader}}))
	require.Equal(t, "prompt_cache_key", name(&sessionid.Options{Order: []sessionid.Kind{sessionid.KindCacheKey, sessionid.KindBody}}))
	require.Equal(t, "content", name(&sessionid.Options{Order: []sessionid.Kind{sessionid.KindContent, sessionid.KindGenericHeader}}))
	require.Equal(t, "content", name(&sessionid.Options{Order: []sessionid.Kind{sessionid.KindContent, sessionid.KindBody}}))
	require.Equal(t, "", name(&sessionid.Options{Order: []sessionid.Kind{sessionid.KindContent}, Without: []string{"content"}}))
	require.Equal(t, "", name(&sessionid.Options{Order: []sessionid.Kind{sessionid.KindContent}, MaxContentBytes: 10}))

	body = large("", "", `,"conversation_id":"c"`)
	require.Equal(t, "content", name(&sessionid.Options{Order: []sessionid.Kind{sessionid.KindContent, sessionid.KindBody}}), "also in a large body")
	require.Equal(t, "conversation_id", name(&sessionid.Options{
		Order: []sessionid.Kind{sessionid.KindContent, sessionid.KindBody}, MaxContentBytes: 1000}))

	body = `{"metadata":{"user_id":"bob"}}`
	require.Equal(t, "metadata.user_id", name(&sessionid.Options{Order: []sessionid.Kind{sessionid.KindUser}}))
}

func TestTheLongestIDIsTheOperatorsChoice(t *testing.T) {
	long := strings.Repeat("a", 300)
	e := extractor(t, &sessionid.Options{MaxIDBytes: 300})
	id := e.Extract(headers("X-Session-Id", long), nil)
	require.False(t, id.IsZero())
	id = e.Extract(nil, []byte(`{"session_id":"`+long+`"}`))
	require.False(t, id.IsZero())
	id = e.Extract(headers("X-Session-Id", long+"a"), nil)
	require.True(t, id.IsZero())
}

func TestThePatternRuleIsOffAndHasADenyList(t *testing.T) {
	h := headers("X-Newclient-Session-Id", "s-1", "X-Parent-Session-Id", "p", "X-Claude-Remote-Session-Id", "r", "X-Acme-Session-Id", "m")
	id := extract(t, h, "")
	require.True(t, id.IsZero(), "the header is not read by default")
	e := extractor(t, &sessionid.Options{Order: append(sessionid.DefaultOrder(), sessionid.KindPattern), Deny: []string{"x-acme-session-id"}})
	id = e.Extract(h, nil)
	require.Equal(t, sessionid.KindPattern, id.Signal().Kind)
	require.Len(t, id.Names(), 1)
	only := e.Extract(headers("X-Newclient-Session-Id", "s-1"), nil)
	require.Equal(t, only.Primary(), id.Primary())
	for _, name := range []string{"X-Parent-Session-Id", "X-Claude-Remote-Session-Id", "X-Acme-Session-Id", "X--Session-Id2", "X-Mcp-Session-Id"} {
		id = e.Extract(headers(name, "s-1"), nil)
		require.True(t, id.IsZero(), name)
	}
	other := e.Extract(headers("X-Other-Session-Id", "s-1"), nil)
	require.NotEqual(t, only.Primary(), other.Primary(), "equal ids in two headers are different sessions")
	id = e.Extract(headers("X-Session-Id", "known", "X-Newclient-Session-Id", "s-1"), nil)
	require.Equal(t, sessionid.KindGenericHeader, id.Signal().Kind, "a header of the census counts before an own one")
}

func TestSignalsListsEveryPlaceOnce(t *testing.T) {
	all := sessionid.Signals()
	require.Greater(t, len(all), 60)
	seen := map[string]bool{}
	for _, s := range all {
		require.NotEmpty(t, s.Client, s.Name)
		require.NotEqual(t, "unknown", s.Kind.String())
		at := s.Kind.String() + " " + strings.ToLower(s.Name)
		require.False(t, seen[at], at)
		seen[at] = true
		extractor(t, &sessionid.Options{Without: []string{strings.ToLower(s.Name)}})
	}
	all[0].Name = "changed"
	require.NotEqual(t, "changed", sessionid.Signals()[0].Name)
	order := sessionid.DefaultOrder()
	require.True(t, slices.IsSorted(order), "the kinds are declared in their order")
}

// A weak id at an end must not hide a stronger one in the middle. Otherwise a
// session would be known by the strong id while its bodies are small, and by the
// weak one when they are large.
func TestAGrowingBodyKeepsItsSession(t *testing.T) {
	for name, build := range map[string]func(tools string) string{
		"weak in front, strong at the end": func(tools string) string {
			return `{"prompt_cache_key":"` + uuidB + `","messages":[],"tools":[` + tools + `],"session_id":"s"}`
		},
		"strong in the middle, weak at the end": func(tools string) string {
			return `{"messages":[{"role":"user","content":` + tools + `}],"session_id":"s","tools":[` + tools + `],"prompt_cache_key":"` + uuidB + `"}`
		},
		"strong in the middle, weak in front": func(tools string) string {
			return `{"prompt_cache_key":"` + uuidB + `","messages":[{"role":"user","content":` + tools + `}],"session_id":"s","tools":[` + tools + `]}`
		},
	} {
		small, big := extract(t, nil, build(`"x"`)), extract(t, nil, build(quote(strings.Repeat("words ", 3000))))
		require.Equal(t, "session_id", small.Signal().Name, name)
		require.Equal(t, small.Primary(), big.Primary(), name)
	}
}
