package requests

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
)

// Conversation returns the bodies of the turns of one conversation without an id. Each body begins
// with all messages of the one before. The last one has about size bytes. Set makes another
// conversation of a body, in which all words of the user differ.
func Conversation(format string, turns, size int) []*Body {
	return conversation(format, turns, size, 0, "")
}

// conversation is like Conversation, with back behind the last member. If window is not 0, each
// body has only that many messages, the last ones.
func conversation(format string, turns, size, window int, back string) []*Body {
	rng := rand.New(rand.NewPCG(uint64(size), 7))
	list := tools(rng, "prose", size*3/10)
	var messages []string
	var bodies []*Body
	for i := range turns {
		say := begin(said(rng, "prose", min(size/20+10, 50+rng.IntN(500))))
		more := turn(format, i, say, said(rng, "code", 80), said(rng, "code", max(size*6/10/turns-500, 50)))
		shown := append(messages[:len(messages):len(messages)], more[0])
		if window > 0 {
			shown = shown[max(0, len(shown)-window):]
		}
		bodies = append(bodies, holed(body(format, shown, list, back)))
		messages = append(messages, more...)
	}
	return bodies
}

// Airline returns a chat body of about size bytes that is like a customer's talk with an agent that
// has tools: many short messages, and results that are JSON inside a string.
func Airline(size int) []byte {
	rng := rand.New(rand.NewPCG(uint64(size), 5))
	words := strings.Fields("I would like to change the reservation please flight on May 20th, thanks! ok.\n")
	say := func(n int) string {
		var b strings.Builder
		for b.Len() < n {
			b.WriteString(words[rng.IntN(len(words))] + " ")
		}
		return quoted(b.String())
	}
	var b strings.Builder
	b.WriteString(`{"model":"m","messages":[{"role":"system","content":` + say(6000) + `}`)
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, `,{"role":"user","content":%s}`, say(80+rng.IntN(100)))
		if i%4 != 0 {
			id := rng.Uint64()
			args := quoted(fmt.Sprintf(`{"reservation_id": "R%06d", "cabin": "economy"}`, rng.IntN(1e6)))
			fmt.Fprintf(&b, `,{"role":"assistant","content":null,"tool_calls":[{"id":"call_%016x","type":"function","function":{"name":"update_reservation","arguments":%s}}]}`, id, args)
			var flights []string
			for range 4 + rng.IntN(10) {
				flights = append(flights, fmt.Sprintf(`{"flight_number": "HAT%03d", "date": "2024-05-20", "price": %d, "origin": "SFO", "destination": "JFK"}`, rng.IntN(400), rng.IntN(900)))
			}
			result := quoted(`{"status": "ok", "flights": [` + strings.Join(flights, ", ") + `]}`)
			fmt.Fprintf(&b, `,{"role":"tool","tool_call_id":"call_%016x","name":"update_reservation","content":%s}`, id, result)
		}
		fmt.Fprintf(&b, `,{"role":"assistant","content":%s}`, say(150+rng.IntN(400)))
	}
	b.WriteString(`],"tools":[{"type":"function","function":{"name":"update_reservation","description":` + say(2000) + `}}],"stream":true}`)
	return []byte(b.String())
}

func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string can be marshalled
	}
	return string(b)
}
