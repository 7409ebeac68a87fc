package talk

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// Talk is all that is said in a conversation.
type Talk struct {
	Name string
	Said []Message
}

// How many conversations AgentTalks makes: each task is tried so often.
const (
	tasks  = 50
	trials = 4
)

// AgentTalks returns 200 conversations of customers with an agent that has tools. They are made
// up, and are the same in each run. Four conversations each are about one task: the same customer
// wants the same thing. So some messages are in several conversations, and some conversations begin
// alike. As in the data below, the ids of calls are few, and one id is in many conversations.
//
// Their statistics are like those of tau-bench's conversations about flights
// (examples/replay/README.md says where these are from):
//
//	                                                   tau-bench  made up
//	conversations                                            200      200
//	requests after the first ones                           2254     2231
//	requests of a conversation, 1 in 10 has at most            5        5
//	… half of them at most                                    11       11
//	… 9 in 10 at most                                         20       21
//	messages of a conversation, mean                        26.5     26.3
//	bytes of a conversation, mean                          16229    15508
//	conversations whose last message is the customer's       149      119
//	bytes of a customer's text, median                        92       89
//	… 9 in 10 at most                                        165      166
//	bytes of the agent's text, median                        251      233
//	… 9 in 10 at most                                        564      556
//	bytes of a call's arguments, median                       31       28
//	… 9 in 10 at most                                        280      240
//	bytes of a tool's result, median                         667      673
//	… 9 in 10 at most                                        965      859
//	answers with a call                                     1164     1142
//	… and a text                                              90       94
//	first requests that are equal to another one              13       14
//	of a customer's texts, % in another conversation           7      7.1
//	of the agent's texts, % in another conversation          9.2        9
//	of the calls, % in another conversation                  1.8      2.7
//	of the results, % in another conversation               10.6      9.5
//	different ids of calls                                   134      136
//	conversations that have one id, median                     5        6
//	… 9 in 10 ids at most                                     21       19
//	… most                                                    28       32
//
// (go test ./examples/internal/field -run LikeTheRealOnes -v)
func AgentTalks() (all []Talk) {
	ids := newIDs()
	for trial := range trials {
		for t := range tasks {
			all = append(all, newTask(t).talk(trial, ids))
		}
	}
	return all
}

// policy is the system prompt of all conversations.
var policy = Message{Role: "system", Text: "# Policy of the agent\n\n" + prose(rand.New(rand.NewPCG(6155, 1)), 6131)}

// task is what one customer wants.
type task struct {
	number       int
	user         string
	wish         string // how the customer may begin
	profile      string
	reservations []reservation
}

type reservation struct{ id, details string }

// written returns v as JSON.
func written(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps, lists and texts can be marshalled
	}
	return string(b)
}

var (
	firstNames = strings.Fields("Ana Ben Chloe Dev Elif Finn Gita Hugo Ines Jon Kira Leo Mona Nils Olga Per Rosa Sam Tara Uwe")
	lastNames  = strings.Fields("Abel Brandt Cruz Dietz Eder Fuchs Gomez Hahn Ito Jansen Kaya Lang Meyer Novak Ortiz Patel Roth Silva Turan Weber")
	airports   = strings.Fields("AMS BER CDG DUB EDI FRA GVA HAM IST LIS MAD MUC NCE OSL PRG RIX SOF TXL VIE WAW ZRH")
)

func newTask(number int) task {
	rng := rand.New(rand.NewPCG(uint64(number), 0x7461736b))
	first, last := firstNames[rng.IntN(20)], lastNames[rng.IntN(20)]
	t := task{
		number: number,
		user:   fmt.Sprintf("%s_%s_%04d", strings.ToLower(first), strings.ToLower(last), rng.IntN(10000)),
		wish:   "Hello! " + prose(rng, around(rng, 80, 0.4, 30, 200)),
	}
	profile := object{"name": object{"first_name": first, "last_name": last}, "user_id": t.user, "membership": "regular"}
	var known []string
	for range 2 + rng.IntN(3) {
		r := reservation{id: code(rng, 6, 36)}
		known = append(known, r.id)
		details := object{"reservation_id": r.id, "user_id": t.user, "cabin": "economy", "flights": flights(rng, 1+rng.IntN(3))}
		r.details = filled(rng, details, around(rng, 705, 0.1, 500, 1050))
		t.reservations = append(t.reservations, r)
	}
	profile["reservations"] = known
	t.profile = filled(rng, profile, around(rng, 877, 0.2, 560, 1230))
	return t
}

func flights(rng *rand.Rand, n int) (all []any) {
	for range n {
		all = append(all, object{
			"flight_number": fmt.Sprintf("XY%03d", rng.IntN(400)), "origin": airports[rng.IntN(len(airports))], "destination": airports[rng.IntN(len(airports))],
			"date": fmt.Sprintf("2024-05-%02d", 10+rng.IntN(20)), "price": 50 + rng.IntN(400), "available_seats": object{"economy": rng.IntN(20), "business": rng.IntN(20)},
		})
	}
	return all
}

// filled returns an object as JSON of n bytes, if it is not longer by itself.
func filled(rng *rand.Rand, o object, n int) string {
	if more := n - len(written(o)) - len(`"remarks":"",`); more > 0 {
		o["remarks"] = code(rng, more, len(letters))
	}
	return written(o)
}

// What customers and the agent say in the same words, the most frequent first.
var (
	ends = []string{
		"###STOP###", "Thank you so much for your help! ###STOP###", "Thank you for your help! ###STOP###",
		"Great, thank you! ###STOP###", "Thank you! That is all I needed. ###STOP###",
	}
	yeses = []string{
		"Yes, please go ahead with the cancellation.", "Yes, please go ahead with the cancellation. Thank you!", "Yes.",
		"My plans have changed.", "Yes, please go on.", "Yes, that is right. Please go on.", "No, thank you.",
	}
	asks = []string{
		"I can help you with that. Please tell me your user id and the reservation that you want to change.",
		"I can help you with that. Please tell me your user id, the reservation, and the reason for cancelling it (a change of plans, a flight that the airline has cancelled, or another one).",
		"To book a flight for you I need your user id. Please tell me which one it is.",
		"Your reservation is in basic economy, and such a reservation cannot be changed. If you need more help, I can transfer you to a human agent.",
		"I can help you with that. Please tell me your user id, so that I can look at your booking.",
		"There are no direct flights on that day. If you have other wishes, please tell me about them.",
		"Is there anything else that I can do for you?",
		"Your reservation is cancelled. The refund goes to your original payment method in 5 to 7 business days.",
		"You will be transferred to a human agent who can help you.",
		"Please confirm with yes, and I will cancel the reservation.",
	}
)

// frequent draws one of a list; each is drawn more often than the next one.
func frequent(rng *rand.Rand, list []string) string {
	return list[min(int(rng.ExpFloat64()*float64(len(list))/3), len(list)-1)]
}

// talk returns the conversation of one trial.
func (t task) talk(trial int, ids callIDs) Talk {
	rng := rand.New(rand.NewPCG(uint64(t.number), uint64(trial)))
	out := Talk{Name: fmt.Sprintf("made-up-%d-%d", t.number, trial), Said: []Message{policy}}
	say := func(role, text string) { out.Said = append(out.Said, Message{Role: role, Text: text}) }

	opening := t.wish
	if rng.Float64() > 0.16 {
		opening = "Hi! " + prose(rng, around(rng, 92, 0.45, 20, 300))
	}
	say("user", opening)
	for requests, byTool := around(rng, 11.6, 0.52, 2, 30), false; requests > 0; requests-- {
		// A customer's wish takes some calls, one after another.
		calls := 0.42
		if byTool {
			calls = 0.535
		}
		if rng.Float64() >= calls {
			byTool = false
			say("assistant", t.answer(rng))
			if requests > 1 {
				say("user", t.reply(rng, len(out.Said)))
				continue
			}
			if rng.Float64() < 0.4 {
				say("user", frequent(rng, ends))
			} else {
				say("user", prose(rng, around(rng, 50, 0.4, 20, 150))+" ###STOP###")
			}
			continue
		}
		byTool = true
		name, arguments, result := t.call(rng)
		call := &Call{ID: ids.draw(rng), Name: name, Arguments: arguments}
		if rng.Float64() < 0.13 {
			call.ID = ids.of(name + arguments)
		}
		text := ""
		if rng.Float64() < 0.077 {
			text = prose(rng, around(rng, 150, 0.4, 44, 600))
		}
		out.Said = append(out.Said, Message{Role: "assistant", Text: text, Call: call}, Message{Role: "tool", Text: result, Call: call})
	}
	return out
}

// answer is what the agent says.
func (t task) answer(rng *rand.Rand) string {
	if rng.Float64() < 0.085 {
		return frequent(rng, asks)
	}
	return prose(rng, around(rng, 268, 0.62, 60, 1256))
}

// reply is what the customer says then.
func (t task) reply(rng *rand.Rand, so int) string {
	switch {
	case so <= 4 && rng.Float64() < 0.3:
		return "Sure, my user id is " + t.user + "." // many say it in the same words
	case rng.Float64() < 0.035:
		return frequent(rng, yeses)
	}
	return prose(rng, around(rng, 97, 0.45, 10, 318))
}

// call returns a call of the agent, and its result. Which tools are called how often, and how
// long their results are, is as in the data.
func (t task) call(rng *rand.Rand) (name, arguments, result string) {
	r := t.reservations[rng.IntN(len(t.reservations))]
	changed := func() string {
		if rng.Float64() < 0.45 {
			return "Error: " + prose(rng, around(rng, 45, 0.3, 24, 70))
		}
		return filled(rng, object{"reservation_id": r.id, "user_id": t.user, "flights": flights(rng, 2)}, around(rng, 740, 0.12, 600, 1020))
	}
	switch p := rng.IntN(1164); {
	case p < 377:
		return "get_reservation_details", written(object{"reservation_id": r.id}), r.details
	case p < 377+120:
		return "get_user_details", written(object{"user_id": t.user}), t.profile
	case p < 377+120+179:
		name, n := "search_direct_flight", rng.IntN(8)
		if p >= 377+120+141 {
			name, n = "search_onestop_flight", rng.IntN(50)
		}
		from, to := airports[rng.IntN(len(airports))], airports[rng.IntN(len(airports))]
		found := "[]"
		if n > 0 {
			found = written(flights(rng, n))
		}
		return name, written(object{"origin": from, "destination": to, "date": fmt.Sprintf("2024-05-%02d", 10+rng.IntN(20))}), found
	case p < 377+120+179+118:
		change := object{"reservation_id": r.id, "cabin": "economy", "payment_id": "credit_card_" + code(rng, 7, 10), "flights": flights(rng, 1)}
		return "update_reservation_flights", written(change), changed()
	case p < 377+120+179+118+96:
		a, b := 20+rng.IntN(500), 20+rng.IntN(500)
		return "calculate", written(object{"expression": fmt.Sprintf("%d + %d", a, b)}), fmt.Sprintf("%d.0", a+b)
	case p < 377+120+179+118+96+92:
		return "think", written(object{"thought": prose(rng, around(rng, 200, 0.4, 80, 700))}), ""
	case p < 377+120+179+118+96+92+69:
		return "cancel_reservation", written(object{"reservation_id": r.id}), strings.Replace(r.details, `"remarks":"`, `"status":"cancelled","remarks":"`, 1)
	case p < 377+120+179+118+96+92+69+61:
		book := object{"user_id": t.user, "cabin": "economy", "flights": flights(rng, 1+rng.IntN(3)), "insurance": "no", "passengers": code(rng, around(rng, 120, 0.4, 60, 400), 62)}
		return "book_reservation", written(book), changed()
	}
	return "transfer_to_human_agents", written(object{"summary": prose(rng, around(rng, 230, 0.3, 100, 500))}), "Transfer successful"
}

// callIDs are the ids of calls, and how often each is drawn: up to its number.
type callIDs struct {
	ids  []string
	upTo []float64
}

// callIDsMade is how many ids there are. Some are never drawn.
const callIDsMade = 142

func newIDs() (c callIDs) {
	rng := rand.New(rand.NewPCG(134, 28))
	sum := 0.0
	for i := range callIDsMade {
		c.ids = append(c.ids, "call_"+code(rng, 24, len(letters)))
		// Half of the ids are in a few conversations.
		sum += min(max(math.Pow(-math.Log((float64(i)+0.5)/callIDsMade), 1.3), 0.07), 3.1)
		c.upTo = append(c.upTo, sum)
	}
	return c
}

func (c callIDs) draw(rng *rand.Rand) string {
	at, i := rng.Float64()*c.upTo[len(c.upTo)-1], 0
	for c.upTo[i] < at {
		i++
	}
	return c.ids[i]
}

// of returns the id of some call. The same call has it in all conversations.
func (c callIDs) of(call string) string { return c.ids[xxhash.Sum64String(call)%callIDsMade] }

// Messages returns what is said, each message as one of the chat API.
func (t Talk) Messages() (out []json.RawMessage) {
	for _, m := range t.Said {
		for _, item := range chatItems(m) {
			out = append(out, json.RawMessage(written(item)))
		}
	}
	return out
}
