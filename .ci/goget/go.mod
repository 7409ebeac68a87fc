// Gets the library as a user does. A module of its own, so that no user of the library gets its
// dependency x/mod, which makes the files of a Go proxy.
module github.com/llmaffinity/llmaffinity/.ci/goget

go 1.26.0

require (
	github.com/stretchr/testify v1.12.1
	golang.org/x/mod v0.42.0
)

require go.yaml.in/yaml/v3 v3.0.5 // indirect
