package field

import "github.com/llmaffinity/llmaffinity/examples/internal/talk"

// Generated returns the conversations of package talk. They are made up, and need no file.
func Generated() (all []Conversation) {
	for _, t := range talk.AgentTalks() {
		all = append(all, Conversation{Session: t.Name, Messages: t.Messages()})
	}
	return all
}
