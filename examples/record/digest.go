package record

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/llmaffinity/llmaffinity/sessionid"
)

// digester makes digests with a key.
type digester struct {
	key [32]byte
}

// sum returns the keyed digest of data of some kind, chained to an earlier digest.
func (d *digester) sum(kind byte, before, text []byte) [sha256.Size]byte {
	h := hmac.New(sha256.New, d.key[:])
	h.Write([]byte{kind, byte(len(before))})
	h.Write(before)
	h.Write(text)
	return [sha256.Size]byte(h.Sum(nil))
}

// The kinds of data.
const (
	ofText = iota
	ofRun
	ofNumber
)

// header returns the headers that name a session, with other ids.
func (d *digester) header(h http.Header) http.Header {
	out := http.Header{}
	for name, values := range h {
		name = http.CanonicalHeaderKey(name)
		switch {
		case headers[name], strings.HasPrefix(name, "X-") && strings.HasSuffix(name, "-Session-Id") && !hidden(name):
			for _, v := range values {
				out.Add(name, d.place(v))
			}
		case name == "User-Agent":
			for _, v := range values {
				for _, agent := range agents {
					if strings.HasPrefix(v, agent) {
						out.Add(name, agent+"0")
					}
				}
			}
		}
	}
	return out
}

// hidden reports whether a header's name is so long that it may contain text.
func hidden(name string) bool { return len(name) > 40 }

// path returns a path with other ids, and without its query.
func (d *digester) path(path string) string {
	path, _, _ = strings.Cut(path, "?")
	parts := strings.Split(path, "/")
	for i, part := range parts {
		name, verb, ok := strings.Cut(part, ":")
		if !pathWords[name] {
			name = d.id(name)
		}
		if ok {
			if !pathWords[verb] {
				verb = d.id(verb)
			}
			name += ":" + verb
		}
		parts[i] = name
	}
	return strings.Join(parts, "/")
}

// body returns a body that is a JSON object with digests in place of its texts, or nil for
// other bodies.
func (d *digester) body(body []byte) []byte {
	if !json.Valid(body) { // not gjson's check, which has no limit of depth
		return nil
	}
	v := gjson.ParseBytes(body)
	if !v.IsObject() {
		return nil
	}
	return d.value(make([]byte, 0, len(body)/16+512), "", v, 0)
}

// maxDepth is how deep a body is taken apart. Anything deeper is handled as a text, because
// each level costs a look at everything inside it.
const maxDepth = 40

// value appends a value of the member that is called name.
func (d *digester) value(buf []byte, name string, v gjson.Result, depth int) []byte {
	switch {
	case depth == maxDepth:
		return quote(buf, d.text(v.Raw))
	case v.IsObject():
		buf = append(buf, '{')
		begun := len(buf)
		v.ForEach(func(k, v gjson.Result) bool {
			if len(buf) > begun {
				buf = append(buf, ',')
			}
			member := k.String()
			if members[member] {
				buf = quote(buf, member)
			} else {
				buf = quote(buf, d.id(member))
			}
			buf = append(buf, ':')
			buf = d.value(buf, member, v, depth+1)
			return true
		})
		return append(buf, '}')
	case v.IsArray():
		buf = append(buf, '[')
		begun := len(buf)
		v.ForEach(func(_, v gjson.Result) bool {
			if len(buf) > begun {
				buf = append(buf, ',')
			}
			buf = d.value(buf, name, v, depth+1)
			return true
		})
		return append(buf, ']')
	case v.Type == gjson.Number:
		return append(buf, d.number(v.Raw)...)
	case v.Type != gjson.String:
		return append(buf, v.Raw...) // null, true, false
	}
	s := v.String()
	switch {
	case wordMembers[name] && apiWords[s]:
		return quote(buf, s)
	case idMembers[name]:
		return quote(buf, d.place(s))
	}
	return quote(buf, d.text(s))
}

// quote appends a JSON string in its shortest spelling.
func quote(buf []byte, s string) []byte {
	text, err := marshal(s)
	if err != nil {
		return append(buf, `""`...) // cannot happen: a string can always be marshalled
	}
	return append(buf, bytes.TrimSuffix(text, []byte{'\n'})...)
}

// number returns another number of the same form.
func (d *digester) number(raw string) string {
	out := []byte(raw)
	random := d.sum(ofNumber, nil, out)
	for i, c := range out {
		if c == 'e' || c == 'E' {
			break // an exponent stays, so that the number exists
		}
		r := random[i%len(random)]
		switch {
		case c < '1' || c > '9': // a zero stays: no digit may follow one at the beginning
		default:
			out[i] = '1' + r%9
		}
	}
	return string(out)
}

// place returns the value for a member that may name a session.
func (d *digester) place(v string) string {
	switch {
	case strings.HasPrefix(v, "{") && json.Valid([]byte(v)): // JSON inside a string
		return string(d.value(nil, "", gjson.Parse(v), 0))
	case strings.Trim(v, " \t") == "":
		return ""
	case sessionid.OwnerKey("id", v) == sessionid.Key{}:
		return "null" // it is not an id, and must not become one
	}
	return d.id(v)
}

// id returns another id of the same form: digits stay digits, letters of a case stay of that
// case, and hex digits stay hex digits. Parts that are equal in two ids stay equal.
func (d *digester) id(v string) string {
	out := make([]byte, 0, len(v))
	for i := 0; i < len(v); {
		if !isAlnum(v[i]) {
			if v[i] <= ' ' || v[i] >= 0x7f {
				return d.digest(v) // it is longer than an id
			}
			out = append(out, v[i])
			i++
			continue
		}
		from := i
		for i < len(v) && isAlnum(v[i]) {
			i++
		}
		out = d.run(out, v[from:i])
	}
	return string(out)
}

// digest returns a word for a text that has no form.
func (d *digester) digest(v string) string {
	sum := d.sum(ofRun, nil, []byte(v))
	return string(letters(nil, sum[:8]))
}

// run appends another run of letters and digits of the same form.
func (d *digester) run(out []byte, run string) []byte {
	if idWords[run] || len(run) < 3 && strings.Trim(run, "0123456789") == "" { // a counter tells nothing
		return append(out, run...)
	}
	hex := strings.Trim(run, "0123456789abcdefABCDEF") == ""
	random := d.sum(ofRun, nil, []byte(strings.ToLower(run)))
	for i := range len(run) {
		if i > 0 && i%len(random) == 0 {
			random = d.sum(ofRun, random[:], nil)
		}
		r, c := random[i%len(random)], run[i]
		switch {
		case c >= '0' && c <= '9':
			c = '0' + r%10
		case hex:
			c = c&0x20 | 'A' + r%6
		default:
			c = c&0x20 | consonants[r%byte(len(consonants))]&^0x20
		}
		out = append(out, c)
	}
	return out
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// consonants make no words. Sixteen of them stand for the values of four bits.
const consonants = "bcdfghjkmnpqrtvw"

// letters appends two letters for each byte.
func letters(buf, sum []byte) []byte {
	for _, b := range sum {
		buf = append(buf, consonants[b>>4], consonants[b&15])
	}
	return buf
}

const (
	// pieceBytes is how many bytes of a text have one digest.
	pieceBytes = 1024
	// leastPiece is the least length of the text that is made of a digest, so that different
	// short texts stay different.
	leastPiece = 8
	// sumBytes is how many bytes of a digest are kept.
	sumBytes = 8
)

// text returns digests in place of a text: for each piece, "~" with a digest, "." and a
// length. Blanks around the text stay, because they do not matter.
func (d *digester) text(s string) string {
	const blanks = " \n\r\t"
	core := strings.TrimLeft(s, blanks)
	out := append([]byte(nil), s[:len(s)-len(core)]...)
	trimmed := strings.TrimRight(core, blanks)
	tail := core[len(trimmed):]
	switch {
	case strings.HasPrefix(trimmed, dateReminder) && strings.HasSuffix(trimmed, ">") && len(trimmed) > len(dateReminder):
		out = append(out, dateReminder...)
		trimmed, tail = trimmed[len(dateReminder):len(trimmed)-1], ">"+tail
	default:
		for _, o := range openings {
			if strings.HasPrefix(trimmed, o) {
				out = append(out, o...)
				trimmed = trimmed[len(o):]
				break
			}
		}
	}
	var before []byte
	for len(trimmed) > 0 {
		piece := trimmed[:min(pieceBytes, len(trimmed))]
		trimmed = trimmed[len(piece):]
		sum := d.sum(ofText, before, []byte(piece))
		before = sum[:]
		out = append(out, '~')
		out = letters(out, sum[:sumBytes])
		out = append(out, '.')
		out = strconv.AppendInt(out, int64(max(jsonLen(piece), leastPiece)), 10)
	}
	return string(append(out, tail...))
}

// jsonLen returns the length of a text in JSON, in the shortest spelling.
func jsonLen(s string) (n int) {
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"', c == '\\', c == '\n', c == '\r', c == '\t', c == '\b', c == '\f':
			n += 2
		case c < 0x20:
			n += 6
		default:
			n++
		}
	}
	return n
}

// Expand appends a body to buf, with texts in place of the digests. Equal digests give equal
// texts.
func Expand(buf, body []byte) []byte {
	if body == nil {
		return buf
	}
	out := slices.Grow(buf, len(body))
	for {
		i := bytes.IndexByte(body, '~')
		if i < 0 {
			return append(out, body...)
		}
		out = append(out, body[:i]...)
		body = body[i:]
		sum, n, rest, ok := piece(body)
		if !ok {
			out = append(out, '~')
			body = body[1:]
			continue
		}
		out = fill(out, sum, n)
		body = rest
	}
}

// maxPiece bounds the text of a digest in a recording that was tampered with.
const maxPiece = 6 * pieceBytes

// piece reads the digest that a text begins with.
func piece(text []byte) (sum []byte, n int, rest []byte, ok bool) {
	const to = 1 + 2*sumBytes
	if len(text) < to+2 || text[to] != '.' {
		return nil, 0, nil, false
	}
	for _, c := range text[1:to] {
		if strings.IndexByte(consonants, c) < 0 {
			return nil, 0, nil, false
		}
	}
	end := to + 1
	for end < len(text) && end < to+6 && text[end] >= '0' && text[end] <= '9' {
		end++
	}
	n, err := strconv.Atoi(string(text[to+1 : end]))
	if err != nil || n > maxPiece {
		return nil, 0, nil, false
	}
	return text[1:to], n, text[end:], true
}

// fill appends a text of n bytes that is made from a digest.
func fill(out, sum []byte, n int) []byte {
	var state uint64
	for _, c := range sum {
		state = state<<4 | uint64(strings.IndexByte(consonants, c))
	}
	var random [8]byte
	for n > 0 {
		// SplitMix64: each digest has a sequence of its own.
		state += 0x9e3779b97f4a7c15
		z := state
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		binary.LittleEndian.PutUint64(random[:], z^z>>31)
		for _, r := range random[:min(len(random), n)] {
			out = append(out, consonants[r&15])
		}
		n -= min(len(random), n)
	}
	return out
}
