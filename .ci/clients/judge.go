package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"maps"
	"os"
	"slices"
	"strings"
)

// expected describes the sessions that a client had.
type expected struct {
	sessions, turns int
	helps           int // the turn that starts a subagent in each session, 0 if none does
}

// verdict is what the requests of a client show.
type verdict struct {
	stays, spreads, resumes, helpers string // yes or no; helpers can also be own
	why                              []string
	notes                            []string
}

// judge is the command judge. It prints the columns of the table: stays, spreads and resumes, or
// with -helps the one for subagents. Reasons and further findings go to the notes.
func judge(args []string) {
	f := flag.NewFlagSet("judge", flag.ExitOnError)
	requests := f.String("requests", "", "requests.jsonl, the `file` that the recorder writes")
	notes := f.String("notes", "", "write further findings to this `file`")
	var e expected
	f.IntVar(&e.sessions, "sessions", 0, "`number` of sessions")
	f.IntVar(&e.turns, "turns", 0, "`number` of turns of each session")
	f.IntVar(&e.helps, "helps", 0, "the `turn` that starts a subagent in each session")
	if err := f.Parse(args); err != nil {
		log.Fatal(err)
	}
	all, err := readRequests(*requests)
	if err != nil {
		log.Fatal(err)
	}
	v := e.of(all)
	text := ""
	for _, note := range slices.Concat(v.notes, v.why) {
		text += "  " + note + "\n"
	}
	appendTo(*notes, text)
	row := []string{v.stays, v.spreads, v.resumes}
	if e.helps > 0 {
		if slices.Contains(row, "no") { // the session's own requests have failed
			v.helpers = "no"
		}
		row = []string{v.helpers}
	}
	fmt.Println(strings.Join(row, " "))
	if slices.Contains(row, "no") {
		os.Exit(1)
	}
}

func appendTo(name, text string) {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = io.WriteString(f, text)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		log.Fatal(err)
	}
}

func readRequests(name string) (all []*request, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		q := &request{}
		if err := json.Unmarshal(lines.Bytes(), q); err != nil {
			return nil, err
		}
		all = append(all, q)
	}
	slices.SortFunc(all, func(a, b *request) int { return cmp.Compare(a.Number, b.Number) })
	return all, lines.Err()
}

// kind returns the purpose of a request. A side request is beside the conversation, such as one
// for a title: it offers no tools. A subagent's request contains the words that the subagent was
// given, and not the first words of the session. All other requests are the conversation's.
func (q *request) kind() string {
	switch {
	case q.Model == "" && q.Tools == 0 || q.Status != 200:
		return "other"
	case q.Tools == 0:
		return "side"
	case q.Helper && !q.Opened:
		return "subagent"
	}
	return "main"
}

func (e expected) of(all []*request) *verdict {
	v := &verdict{stays: "yes", spreads: "yes", resumes: "yes", helpers: "yes"}
	homes := map[string]bool{}
	signals, outcomes, models := map[string]int{}, map[string]int{}, map[string]int{}
	side, other := map[string]int{}, map[string]int{}
	renamed, results, sideAway := 0, 0, 0
	helped := map[string]int{}
	for session := 1; session <= e.sessions; session++ {
		home := ""
		names, opened := map[string]bool{}, map[int]int{}
		for _, q := range all {
			if q.Session != session || q.kind() != "main" {
				continue
			}
			signals[q.Signal]++
			outcomes[q.Outcome]++
			models[q.Model]++
			names[q.Name] = true
			if q.Opened {
				opened[q.Turn]++
			}
			if q.Result {
				results++
			}
			switch {
			case q.Auth == "":
				v.stays = "no"
				v.why = append(v.why, fmt.Sprintf("FAILED: request %d of session %d: its auth is not known", q.Number, session))
			case home == "":
				home = q.Auth
			case q.Auth != home:
				v.stays = "no"
				if q.Turn > 1 {
					v.resumes = "no"
				}
				v.why = append(v.why, fmt.Sprintf("FAILED: request %d of session %d, turn %d: it went to %s, but the session is at %s (%s, %s)", q.Number, session, q.Turn, q.Auth, home, q.Outcome, q.Signal))
			}
		}
		homes[home] = true
		for turn := 1; turn <= e.turns; turn++ {
			if opened[turn] > 0 {
				continue
			}
			v.why = append(v.why, fmt.Sprintf("FAILED: session %d, turn %d: no request contains the first words of the session", session, turn))
			if v.stays = "no"; turn > 1 {
				v.resumes = "no"
			}
		}
		if len(names) > 1 {
			renamed++
		}
		ofHelper := map[string]int{}
		for _, q := range all {
			if q.Session != session {
				continue
			}
			switch q.kind() {
			case "side":
				side[q.Model]++
				if q.Auth != home {
					sideAway++
				}
			case "other":
				other[fmt.Sprintf("%s %s: %d", q.Method, q.Path, q.Status)]++
			case "subagent":
				helped[q.Signal]++
				ofHelper[q.Auth]++
				if q.Auth != home && q.Signal != "content" {
					v.helpers = "no"
					v.why = append(v.why, fmt.Sprintf("FAILED: request %d of a subagent of session %d: it went to %s, but the session is at %s (%s, %s)", q.Number, session, q.Auth, home, q.Outcome, q.Signal))
				}
			}
		}
		switch {
		case e.helps == 0:
		case len(ofHelper) == 0:
			v.helpers = "no"
			v.why = append(v.why, fmt.Sprintf("FAILED: no request of a subagent of session %d was seen", session))
		case len(ofHelper) > 1:
			v.helpers = "no"
			v.why = append(v.why, fmt.Sprintf("FAILED: the requests of the subagent of session %d went to several auths: %s", session, counts(ofHelper)))
		case ofHelper[home] == 0 && v.helpers == "yes":
			v.helpers = "own" // all were recognised by content: otherwise helpers is "no" already
		}
	}
	if len(homes) < 2 {
		v.spreads = "no"
		v.why = append(v.why, "FAILED: all sessions have the same auth")
	}
	if results == 0 {
		v.stays = "no"
		v.why = append(v.why, "FAILED: no tool was called")
	}
	note := func(format string, args ...any) { v.notes = append(v.notes, fmt.Sprintf(format, args...)) }
	if e.helps > 0 {
		note("its subagents' requests were recognised by %s", counts(helped))
		return v
	}
	note("%d sessions at %d auths; recognised by %s; outcomes %s", e.sessions, len(homes), counts(signals), counts(outcomes))
	if len(models) > 1 {
		note("models of its conversations: %s", counts(models))
	}
	if len(side) > 0 {
		note("side requests without tools: %s, %d of them went to another auth than the session's", counts(side), sideAway)
	}
	if len(other) > 0 {
		note("other requests: %s", counts(other))
	}
	if renamed > 0 {
		note("the gateway had several names for %d of its sessions", renamed)
	}
	return v
}

// counts returns a text such as "content ×12, native-header ×3".
func counts(of map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		parts = append(parts, fmt.Sprintf("%s ×%d", cmp.Or(name, "nothing"), of[name]))
	}
	return strings.Join(parts, ", ")
}
