package convert

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// trajectory is an element of a file of tau-bench: a conversation.
type trajectory struct {
	Task     *int              `json:"task_id"`
	Trial    int               `json:"trial"`
	Messages []json.RawMessage `json:"traj"`
}

// tauBench converts a file of historical_trajectories. Each trajectory becomes a line.
func tauBench(w io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	b := bufio.NewWriter(w)
	d := json.NewDecoder(bufio.NewReader(f))
	open, err := d.Token()
	if err == nil && open != json.Delim('[') {
		err = errors.New("the file is not a list of trajectories")
	}
	for i := 0; err == nil && d.More(); i++ {
		var t trajectory
		if err = d.Decode(&t); err != nil {
			break
		}
		if t.Task == nil || len(t.Messages) == 0 {
			err = fmt.Errorf("trajectory %d has no task_id or no traj", i)
			break
		}
		fmt.Fprintf(b, `{"session": "t%d-%d", "messages": [`, *t.Task, t.Trial)
		for j, m := range t.Messages {
			if j > 0 {
				b.WriteString(", ")
			}
			b.Write(inOneLine(m))
		}
		b.WriteString("]}\n")
	}
	if err == nil {
		_, err = d.Token() // the end of the list
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return b.Flush()
}

// inOneLine writes JSON as Python's json.dumps does: a blank after each comma and colon, and no
// other blanks between values. How it is written counts, because the length of a text is the
// number of its tokens.
func inOneLine(v []byte) []byte {
	out := make([]byte, 0, len(v))
	quoted := false
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case quoted && c == '\\':
			out = append(out, c, v[i+1]) // what follows a backslash is in the string
			i++
		case c == '"':
			quoted = !quoted
			out = append(out, c)
		case quoted:
			out = append(out, c)
		case c == ' ', c == '\t', c == '\n', c == '\r':
		case c == ',', c == ':':
			out = append(out, c, ' ')
		default:
			out = append(out, c)
		}
	}
	return out
}
