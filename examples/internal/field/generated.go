package field

import "github.com/llmaffinity/llmaffinity/examples/internal/talk"

// Generated returns the conversations of package talk. They are made up, and need no file.
func Generated() (all []Conversation) {
	for _, t := range talk.AgentTalks() {
		all = append(all, Conversation{Session: t.Name, Messages: t.Messages()})
	}
	return all
}

// GeneratedRequests returns the requests of package talk's clients, in the form of a capture.
// They are made up, and need no file.
func GeneratedRequests() (all []Request) {
	for _, r := range talk.Twins() {
		all = append(all, Request{
			Client: r.Client, Session: r.Session, Turn: r.Turn, Path: r.Path, Headers: r.Header, Body: r.Body, Side: r.Side, Main: !r.Side,
		})
	}
	return all
}
