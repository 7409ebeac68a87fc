package simulator

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// event is one event of a stream.
type event struct {
	name string // "": none is sent
	data any    // a string is sent as it is
}

// send streams the answer, or as much of it as the fault allows. It calls served before the
// events that show the client that the answer is complete, so that the client's next request
// finds its results.
func (d *dialect) send(w http.ResponseWriter, r *http.Request, a *answer, fault Fault, served func()) {
	flush := http.NewResponseController(w)
	sse := d != &gemini || r.URL.Query().Get("alt") == "sse"
	if sse {
		w.Header().Set("Content-Type", "text/event-stream")
	} else {
		w.Header().Set("Content-Type", "application/json")
	}
	events := d.events(a)
	broken := fault.EventError > 0 && fault.EventError < len(events)
	if broken {
		events = append(events[:fault.EventError:fault.EventError], d.broken(a, fault.EventError))
	}
	broken = broken || fault.HangUp && fault.HangUpAfter < len(events)
	for i, e := range events {
		if fault.HangUp && i == fault.HangUpAfter {
			panic(http.ErrAbortHandler)
		}
		if !broken && i == max(0, len(events)-2) {
			served()
		}
		data, raw := e.data.(string)
		if !raw {
			text, err := json.Marshal(e.data)
			if err != nil {
				panic(err) // maps, strings and numbers: cannot fail
			}
			data = string(text)
		}
		switch {
		case !sse:
			fmt.Fprintf(w, "%c%s\n", "[,"[min(i, 1)], data)
		case e.name != "":
			fmt.Fprintf(w, "event: %s\ndata: %s\n\n", e.name, data)
		default:
			fmt.Fprintf(w, "data: %s\n\n", data)
		}
		if flush.Flush() != nil || r.Context().Err() != nil {
			return
		}
	}
	if !sse {
		fmt.Fprint(w, "]\n")
	}
}

// overloaded returns what an API says when it ends a stream early.
var overloaded = &refusal{status: http.StatusServiceUnavailable, message: "The server is overloaded. Please try again later."}
