package sessionid

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// leadingExtractors returns Extractors that have the native headers at different places of
// their Order.
var leadingExtractors = func() map[string]*Extractor {
	all := map[string]*Extractor{"standard": standard, "everything": everything, "content": byContentAlone}
	for name, o := range map[string]*Options{
		"apart":           {LanesApart: true},
		"own header":      {Own: []Place{{Header: "X-Own"}}},
		"own path":        {Own: []Place{{Path: "own.path.id"}}},
		"generic first":   {Order: []Kind{KindGenericHeader, KindNativeHeader, KindNativeBody, KindContent}},
		"cache key first": {Order: []Kind{KindCacheKey, KindNativeHeader, KindGenericHeader}},
		"content first":   {Order: []Kind{KindContent, KindGenericHeader, KindNativeHeader}},
		"pattern":         {Order: []Kind{KindNativeHeader, KindPattern, KindGenericHeader, KindBody}},
		"no strong rows":  {Without: []string{"X-Claude-Code-Session-Id", "Session-Id"}},
		"nothing":         {Order: []Kind{KindContent}, Without: []string{"content"}},
	} {
		e, err := NewExtractor(o)
		if err != nil {
			panic(err)
		}
		all[name] = e
	}
	return all
}()

// leadsAlone compares ExtractLeading with Extract. It also compares both with themselves, with
// so many other names in the header that none is found by a walk.
func leadsAlone(t *testing.T, header http.Header, body []byte) {
	t.Helper()
	crowded := crowd(header)
	for name, e := range leadingExtractors {
		want, got := e.Extract(header, body), e.ExtractLeading(header, body)
		require.Equal(t, want, e.Extract(crowded, body), "%s, many headers: %v %.300s", name, header, body)
		require.Equal(t, got, e.ExtractLeading(crowded, body), "%s, many headers, leading: %v %.300s", name, header, body)
		what := fmt.Sprintf("%s: %v %.300s", name, header, body)
		require.Equal(t, want.Names()[:want.Leading()], got.Names(), what)
		require.Equal(t, want.Leading(), got.Leading(), what)
		require.Equal(t, want.Primary(), got.Primary(), what)
		want.names, want.n = got.names, got.n
		require.Equal(t, want, got, what)
	}
	want, got := standard.ExtractLeading(header, body), ExtractLeading(header, body)
	require.Equal(t, want, got)
}

// crowd returns the header with names that nobody reads.
func crowd(header http.Header) http.Header {
	out := http.Header{}
	for name, v := range header {
		out[name] = v
	}
	for i := range manyHeaders + 1 {
		out[fmt.Sprintf("X-Other-%d", i)] = []string{"x"}
	}
	return out
}

// headerValues are values that rows take for an id, and some that they do not take.
var headerValues = []string{
	"8a218e62-bb55-446a-bc6c-b288fc65f5b5", "8a218e62-bb55-446a-bc6c-b288fc65f5b6", "null", "", "a-1", "{{x}}", "123456789abc",
	`{"session_id":"8a218e62-bb55-446a-bc6c-b288fc65f5b5","forked_from_thread_id":"f-1","request_kind":"compaction"}`,
}

// headerFor returns a header with the rows that the bytes say, two bytes for each.
func headerFor(data []byte) http.Header {
	h := http.Header{}
	var rows []string
	for i := range census {
		if r := &census[i]; r.standsInHeader() {
			rows = append(rows, http.CanonicalHeaderKey(r.name))
		}
	}
	rows = append(rows, "X-Own", "X-Any-Session-Id", "User-Agent", "Accept")
	for i := 0; i+1 < len(data) && i < 40; i += 2 {
		name := rows[int(data[i])%len(rows)]
		h[name] = append(h[name], headerValues[int(data[i+1])%len(headerValues)])
	}
	return h
}

func TestExtractLeadingLeavesOutNamesAndNothingElse(t *testing.T) {
	leadsAlone(t, nil, nil)
	uuid := headerValues[0]
	for i := range census { // each row beside each of the others
		for j := range census {
			header, members := http.Header{}, []string{`"messages":[{"role":"user","content":"x"}]`}
			for n, r := range []*row{&census[i], &census[j]} {
				if r.standsInHeader() {
					header[http.CanonicalHeaderKey(r.name)] = []string{"", uuid}
				} else {
					members = append(members, memberFor(r, 2*n))
				}
			}
			leadsAlone(t, header, []byte("{"+strings.Join(members, ",")+"}"))
		}
	}
	many := http.Header{"X-Claude-Code-Session-Id": {uuid}, "X-Session-Id": {"a"}}
	for i := range 60 {
		many[fmt.Sprintf("X-Other-%d", i)] = []string{"x"}
	}
	leadsAlone(t, many, nil)
}

// A member before the part that the walk from the end can read may belong to the list, or be
// before the list.
func TestExtractLeadingReadsALongEnd(t *testing.T) {
	long := `"instructions":"` + strings.Repeat("a long text ", 16<<10) + `"`
	id := `"metadata":{"user_id":"{\"session_id\":\"` + headerValues[0] + `\"}"}`
	codex := `"client_metadata":{"session_id":"` + headerValues[1] + `"}`
	list := `"messages":[{"role":"user","content":"x"}]`
	for _, header := range []http.Header{nil, {"X-Session-Id": {"s"}}, {"X-Task-Id": {"t"}}} {
		for _, members := range [][]string{
			{list, long, id}, {list, id, long}, {id, list, long}, {id, list, long, codex}, {list, codex, long, id}, {long, list, id}, {long, id},
			{list, `"container":"c"`, long, id},
		} {
			leadsAlone(t, header, []byte("{"+strings.Join(members, ",")+"}"))
		}
		leadsAlone(t, header, []byte(`{"messages":[{"role" "user"}],`+id+`}`)) // small, and no JSON
	}
}

// FuzzLeading is TestExtractLeadingLeavesOutNamesAndNothingElse for any number of rows.
func FuzzLeading(f *testing.F) {
	for i, s := range seeds {
		f.Add([]byte{byte(i), 0, byte(i + 1), 1, 17, 3}, []byte(s))
	}
	for i := range byte(60) {
		f.Add([]byte{i, 0, i, 7, i + 1, 7, 16, 4, 32, 4}, []byte{i, 2, 0, i + 1, 0, 1})
	}
	f.Fuzz(func(t *testing.T, names, data []byte) {
		header := headerFor(names)
		leadsAlone(t, header, data)
		s := shapeOf(data)
		leadsAlone(t, header, []byte(s.body("", 0)))
		for name, v := range s.header {
			header[name] = v
		}
		leadsAlone(t, header, []byte(s.body("", 0)))
	})
}
