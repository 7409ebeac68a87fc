package trace

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"io"
	"slices"
)

// sampleFile is what WriteSample writes, compressed.
//
//go:generate go run ../makesample sample.jsonl.gz
//go:embed sample.jsonl.gz
var sampleFile []byte

// Sample is the small trace that is part of the command. It is made up.
func Sample() (*Trace, error) { return Read("sample", bytes.NewReader(sampleFile)) }

// WriteSample writes the small trace, in the format that Read reads.
func WriteSample(w io.Writer) error {
	lines := sample().lines
	slices.SortStableFunc(lines, func(a, b blockRequest) int { return cmp.Compare(a.Millis, b.Millis) })
	e := json.NewEncoder(w)
	for _, l := range lines {
		if err := e.Encode(l); err != nil {
			return err
		}
	}
	return nil
}
