package trace

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/tidwall/gjson"
)

// ReadFile reads a trace from a file, which may be compressed with gzip.
func ReadFile(path string) (*Trace, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	name := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(path), ".gz"), ".jsonl")
	t, err := Read(name, f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// Read reads a trace: JSON objects, one on a line, all of one kind. A line has
//
//	session, timestamp, input_length, output_length, hash_ids     a prompt's blocks (without session, too)
//	session, messages                                             a conversation
//	timestamp, headers, body                                      a recorded request, see package record
func Read(name string, r io.Reader) (*Trace, error) {
	b := bufio.NewReaderSize(r, 1<<20)
	if head, _ := b.Peek(2); bytes.Equal(head, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, err
		}
		b = bufio.NewReaderSize(z, 1<<20)
	}
	var lines [][]byte
	for {
		line, err := b.ReadBytes('\n')
		if line = bytes.TrimSpace(line); len(line) > 0 {
			lines = append(lines, line)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	if len(lines) == 0 {
		return nil, errors.New("there are no requests")
	}
	switch first := gjson.ParseBytes(lines[0]); {
	case first.Get("hash_ids").IsArray():
		all, err := decode[blockRequest](lines)
		if err != nil {
			return nil, err
		}
		for i := range all {
			if err := all[i].check(); err != nil {
				return nil, fmt.Errorf("line %d: %w", i+1, err)
			}
		}
		return ofBlocks(name, all), nil
	case first.Get("messages").IsArray():
		all, err := decode[conversation](lines)
		if err != nil {
			return nil, err
		}
		return ofConversations(name, all)
	case first.Get("headers").Exists(), first.Get("body").Exists():
		return ofRecording(name, lines)
	}
	return nil, errors.New("the first line has neither hash_ids, nor messages, nor headers with a body: the format is unknown")
}

func decode[T any](lines [][]byte) ([]T, error) {
	out := make([]T, len(lines))
	for i, line := range lines {
		if err := json.Unmarshal(line, &out[i]); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return out, nil
}
