package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// document is a JSON file that is read strictly. err holds the first thing that is wrong, with
// its line, its column, and its place in the document.
type document struct {
	file string
	text []byte
	err  error
}

// node is a value of the document.
type node struct {
	at      int // where it begins in the text
	value   any // a string, json.Number, bool, nil, json.Delim('{') or json.Delim('[')
	members []member
	items   []*node
}

type member struct {
	name string
	at   int
	*node
}

// fail notes what is wrong at an offset of the text. The message must not contain any of the
// text, except through shown: there may be a key in it.
func (d *document) fail(at int, place, format string, args ...any) {
	if d.err != nil {
		return
	}
	before := d.text[:at]
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	what := fmt.Sprintf(format, args...)
	if place != "" {
		what = place + ": " + what
	}
	d.err = fmt.Errorf("%s:%d:%d: %s", d.file, bytes.Count(before, []byte("\n"))+1, column, what)
}

// parse parses the text. It returns nil if that is not one JSON value.
func (d *document) parse() *node {
	var all json.RawMessage
	if err := json.Unmarshal(d.text, &all); err != nil {
		at, what := len(d.text), err.Error()
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			// "invalid character 'x' after …" counts x in and shows it. The x can be the first
			// character of a key.
			if rest, ok := strings.CutPrefix(what, "invalid character '"); ok && len(rest) > 1 {
				_, after, _ := strings.Cut(rest[1:], "' ")
				at, what = int(syntax.Offset)-1, "invalid character "+after
			}
		}
		d.fail(at, "", "%s", what)
		return nil
	}
	tokens := json.NewDecoder(bytes.NewReader(d.text))
	tokens.UseNumber()
	return d.value(tokens)
}

// next returns the offset of the next token.
func (d *document) next(tokens *json.Decoder) int {
	at := int(tokens.InputOffset())
	for at < len(d.text) && strings.IndexByte(" \t\r\n,:", d.text[at]) >= 0 {
		at++
	}
	return at
}

// value reads a value. The syntax was checked before, so tokens do not fail.
func (d *document) value(tokens *json.Decoder) *node {
	n := &node{at: d.next(tokens)}
	n.value, _ = tokens.Token()
	switch n.value {
	case json.Delim('{'):
		for tokens.More() {
			at := d.next(tokens)
			name, _ := tokens.Token()
			n.members = append(n.members, member{name.(string), at, d.value(tokens)})
		}
		tokens.Token()
	case json.Delim('['):
		for tokens.More() {
			n.items = append(n.items, d.value(tokens))
		}
		tokens.Token()
	}
	return n
}

// object returns the members of an object. Only known members are allowed, each once.
func (d *document) object(n *node, place string, known ...string) map[string]*node {
	members := map[string]*node{}
	if n.value != json.Delim('{') {
		d.fail(n.at, place, "want an object with %s", strings.Join(known, ", "))
	}
	for _, m := range n.members {
		switch {
		case !slices.Contains(known, m.name):
			d.fail(m.at, place, "unknown member %s, want %s", shown(m.name), strings.Join(known, ", "))
		case members[m.name] != nil:
			d.fail(m.at, place, "member %s is given twice", m.name)
		}
		members[m.name] = m.node
	}
	return members
}

// list returns the items of a list.
func (d *document) list(n *node, place string) []*node {
	if n.value != json.Delim('[') {
		d.fail(n.at, place, "want a list")
	}
	return n.items
}

// string returns a string that is not empty. Without a node it is empty.
func (d *document) string(n *node, place string) string {
	if n == nil {
		return ""
	}
	s, ok := n.value.(string)
	if !ok || s == "" {
		d.fail(n.at, place, "want a string that is not empty")
	}
	return s
}

// bool returns a boolean. Without a node it is nil.
func (d *document) bool(n *node, place string) *bool {
	if n == nil {
		return nil
	}
	b, ok := n.value.(bool)
	if !ok {
		d.fail(n.at, place, "want true or false")
	}
	return &b
}

// int returns a whole number. Without a node it is 0.
func (d *document) int(n *node, place string) (i int) {
	if n == nil {
		return 0
	}
	number, ok := n.value.(json.Number)
	if !ok || json.Unmarshal([]byte(number), &i) != nil {
		d.fail(n.at, place, "want a whole number")
	}
	return i
}
