package sessionid

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// bodyRows are the rows of the census that stand in a body.
func bodyRows() (rows []row) {
	for _, r := range census {
		if !r.standsInHeader() {
			rows = append(rows, r)
		}
	}
	return rows
}

// standsInHeader reports whether a row's place is a header.
func (r *row) standsInHeader() bool {
	switch r.kind {
	case KindLane, KindParent, KindOwnerHeader, KindSide:
		return true
	}
	return r.kind.inHeader() || r.terms != nil && r.terms.isCacheKey
}

// idFor is a value that a row takes for an id, or, for some n, one that it does
// not take.
func idFor(r *row, n int) string {
	const uuid = "8a218e62-bb55-446a-bc6c-b288fc65f5b"
	switch {
	case n%7 == 6:
		return `7`
	case n%7 == 5:
		return `""`
	case r.read == claudeUserID && n%2 == 0:
		return fmt.Sprintf(`"{\"session_id\":\"%s%x\"}"`, uuid, n%16)
	case r.read == claudeUserID:
		return fmt.Sprintf(`"user_a_account__session_%s%x"`, uuid, n%16)
	case r.read == bareUUID, r.read == cacheKey && n%2 == 0, r.read == copilotCacheKey && n%2 == 0:
		return fmt.Sprintf(`"%s%x"`, uuid, n%16)
	case r.read == openAIConversation && n%2 == 0:
		return fmt.Sprintf(`"conv_%d"`, n)
	}
	return fmt.Sprintf(`"id-%d"`, n)
}

// memberFor spells the member of a row.
func memberFor(r *row, n int) string {
	value := idFor(r, n)
	path := strings.Split(r.name, ".")
	for i := len(path) - 1; i > 0; i-- {
		value = fmt.Sprintf(`{"x":[1],%q:%s}`, path[i], value)
	}
	return fmt.Sprintf(`%q:%s`, path[0], value)
}

// shape builds bodies with the same members that name something, in the same
// order, and with different padding. Each byte pair of the input is one member and
// its place: 0 before the first list, 1 between the lists, 2 behind the last one.
type shape struct {
	parts  [3][]string
	header http.Header
}

func shapeOf(data []byte) (s shape) {
	rows := bodyRows()
	generic := headersOf(KindGenericHeader)
	s.header = http.Header{}
	for i := 0; i+2 < len(data) && i < 30; i += 3 {
		which, at, n := int(data[i]), int(data[i+1]), int(data[i+2])
		switch at % 8 {
		case 6:
			s.header.Set(generic[which%len(generic)], fmt.Sprintf("h-%d", n))
		case 7:
			s.header.Set("User-Agent", []string{"KimiCLI/1", "GitHubCopilotChat/1"}[which%2])
		default:
			s.parts[at%3] = append(s.parts[at%3], memberFor(&rows[which%len(rows)], n))
		}
	}
	return s
}

func headersOf(kind Kind) (names []string) {
	for _, r := range census {
		if r.kind == kind {
			names = append(names, r.name)
		}
	}
	return names
}

// body returns the shape with n bytes of padding at one of its places: unknown
// members before the first list, between the lists and behind them, white space
// between all tokens at the top, and text in messages and tools. Nothing that is
// added is a list at the top, because the last of these counts.
func (s *shape) body(where string, n int) string {
	junk := `"x-pad":{"a":["` + strings.Repeat(`y]}\"{[\\`, n/9+1) + `",{"session_id":"no"}]},"x-text":"` + strings.Repeat("z", n) + `"`
	space, word := "", "hello"
	switch where {
	case "white space":
		space = strings.Repeat(" \n\t", n/30)
	case "messages":
		word = strings.Repeat(`some \"words\" \\`, n/16)
	}
	var all []string
	for i, part := range s.parts {
		if where == fmt.Sprint("members ", i) {
			all = append(all, junk)
		}
		all = append(all, part...)
		if where == fmt.Sprint("members behind ", i) {
			all = append(all, junk)
		}
		switch i {
		case 0:
			all = append(all, `"messages":[{"role":"user","content":"`+word+`"},{"role":"assistant","content":"yes"}]`)
		case 1:
			tool := `{"name":"t","session_id":"no"}`
			if where == "tools" {
				tool += `,"` + strings.Repeat(`t]}`, n/3) + `"`
			}
			all = append(all, `"tools":[`+tool+`]`)
		}
	}
	for i, m := range all {
		name, value, _ := strings.Cut(m, ":")
		all[i] = space + name + space + ":" + space + value + space
	}
	return space + "{" + strings.Join(all, ",") + "}" + space
}

// FuzzSize shows that what a body names does not depend on its size, and not on
// how much of it is read.
func FuzzSize(f *testing.F) {
	rows := bodyRows()
	for i := range rows {
		for at := range byte(3) {
			f.Add([]byte{byte(i), at, 0})
			f.Add([]byte{byte(i), at, 0, byte(i), 2 - at, 1, byte(i), 2 - at, 6})
			f.Add([]byte{byte(i), at, 0, byte(i + 1), 2 - at, 1, 0, 6, 1})
		}
	}
	f.Add([]byte{0, 2, 0, 0, 1, 0, 0, 6, 1, 1, 6, 2})
	f.Fuzz(func(t *testing.T, data []byte) {
		s := shapeOf(data)
		type answer struct {
			says    says
			leading int
		}
		ask := func(e *Extractor, body string) answer {
			id := e.Extract(s.header, []byte(body))
			return answer{saysOf(id), id.Leading()}
		}
		want, all := ask(standard, s.body("", 0)), ask(everything, s.body("", 0))
		same := want
		same.says.Owners = all.says.Owners
		if all.says.Signal != "user metadata.user_id" {
			require.Equal(t, same, all, "%s %v", s.body("", 0), s.header)
		}
		for _, where := range []string{
			"white space", "messages", "tools", "members 0", "members 1", "members 2", "members behind 0", "members behind 1", "members behind 2",
		} {
			for _, n := range []int{700, 5000, 9000, 70000} {
				body := s.body(where, n)
				got, gotAll := ask(standard, body), ask(everything, body)
				if where == "messages" {
					got.says.forgetContent(&want.says)
					gotAll.says.forgetContent(&all.says)
				}
				require.Equal(t, want, got, "%s, %d more: %s %v", where, n, s.body("", 0), s.header)
				require.Equal(t, all, gotAll, "everything, %s, %d more: %s %v", where, n, s.body("", 0), s.header)
			}
		}
	})
}

// forgetContent takes over from other what depends on the messages.
func (s *says) forgetContent(other *says) {
	if s.End != "" && other.End != "" {
		s.Primary, s.End, s.Tail, s.Fallbacks = other.Primary, other.End, other.Tail, other.Fallbacks
	}
}
