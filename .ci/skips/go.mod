// A tool of the CI. A module of its own, so that `go test ./...` at the top does not build it.
module github.com/llmaffinity/llmaffinity/.ci/skips

go 1.25

require github.com/stretchr/testify v1.12.1

require go.yaml.in/yaml/v3 v3.0.5 // indirect
