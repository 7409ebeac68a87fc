// A tool of the CI. A module of its own, so that `go test ./...` at the top does not build it.
module github.com/llmaffinity/llmaffinity/.ci/crossings

go 1.25
