// A module of its own, so that no user of the library gets a checker of concurrent histories
// (porcupine).
module github.com/llmaffinity/llmaffinity/cache/internal/proving

go 1.25

require (
	github.com/anishathalye/porcupine v1.3.1
	github.com/llmaffinity/llmaffinity v0.1.0
)

replace github.com/llmaffinity/llmaffinity => ../../..
