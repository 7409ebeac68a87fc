package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// mutation is one block of a list. The fields are those of the block, see main.go.
type mutation struct {
	file, name, survives string
	by                   string
	old, new             []string
	at                   string // the list and the line of the block
}

// read returns the blocks of a list.
func read(path string) (out []mutation, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var m mutation
	line := 0
	flush := func() error {
		defer func() { m = mutation{} }()
		switch {
		case m.file == "" && len(m.old) == 0:
			return nil
		case m.file == "" || m.name == "" || len(m.old) == 0:
			return fmt.Errorf("%s:%d: a block needs file:, name:, and lines that begin with -", path, line)
		}
		out = append(out, m)
		return nil
	}
	for l := range strings.Lines(string(text)) {
		line++
		l = strings.TrimSuffix(l, "\n")
		switch {
		case l == "":
			if err := flush(); err != nil {
				return nil, err
			}
		case strings.HasPrefix(l, "#"):
		case strings.HasPrefix(l, "file: "):
			m.file, m.at = l[len("file: "):], fmt.Sprintf("%s:%d", path, line)
		case strings.HasPrefix(l, "name: "):
			m.name = l[len("name: "):]
		case strings.HasPrefix(l, "by: "):
			m.by = l[len("by: "):]
		case strings.HasPrefix(l, "survives: "):
			m.survives = l[len("survives: "):]
		case l[0] == '-':
			m.old = append(m.old, l[1:])
		case l[0] == '+':
			m.new = append(m.new, l[1:])
		default:
			return nil, fmt.Errorf("%s:%d: a block cannot have the line %q", path, line, l)
		}
	}
	return out, flush()
}

// change reads the file of a mutation, and returns its text and the change to it.
func (m *mutation) change(root string) (text string, c change, err error) {
	b, err := os.ReadFile(filepath.Join(root, m.file))
	if err != nil {
		return "", change{}, err
	}
	text = string(b)
	old := strings.Join(m.old, "\n")
	if n := strings.Count(text, old); n != 1 {
		return "", change{}, fmt.Errorf("%s: the file has the old text %d times, want once", m.at, n)
	}
	from := strings.Index(text, old)
	return text, change{from, from + len(old), strings.Join(m.new, "\n")}, nil
}

// change replaces the bytes text[from:to] by new.
type change struct {
	from, to int
	new      string
}

func (c change) in(text string) string { return text[:c.from] + c.new + text[c.to:] }

// least returns the same change without the common prefix and suffix of the old and the new text.
func (c change) least(text string) change {
	for c.from < c.to && c.new != "" && text[c.from] == c.new[0] {
		c.from++
		c.new = c.new[1:]
	}
	for c.from < c.to && c.new != "" && text[c.to-1] == c.new[len(c.new)-1] {
		c.to--
		c.new = c.new[:len(c.new)-1]
	}
	return c
}
