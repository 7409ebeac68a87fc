// Breaks the library on purpose, one place at a time, and fails if no test fails. A module of its
// own, so that no user of the library gets it.
module github.com/llmaffinity/llmaffinity/.ci/mutants

go 1.25

require github.com/stretchr/testify v1.12.1

require go.yaml.in/yaml/v3 v3.0.5 // indirect
