// A module of its own, because the command needs libraries for its flags, its progress bar
// and its plots. Nobody who needs none of them gets them with the library.
module github.com/llmaffinity/llmaffinity/examples/replay

go 1.25.0

require (
	github.com/cespare/xxhash/v2 v2.3.0
	github.com/llmaffinity/llmaffinity v0.0.0-00010101000000-000000000000
	github.com/spf13/pflag v1.1.0
	github.com/tidwall/gjson v1.20.1
	golang.org/x/sys v0.46.0
)

require (
	github.com/hashicorp/golang-lru/v2 v2.0.7 // indirect
	github.com/tidwall/match v1.1.1 // indirect
	github.com/tidwall/pretty v1.2.0 // indirect
)

replace github.com/llmaffinity/llmaffinity => ../..
