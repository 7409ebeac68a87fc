// A module of its own, because it measures against what people use instead. Nobody who uses the
// library gets other caches (golang-lru's expirable, otter, ttlcache) with it.
module github.com/llmaffinity/llmaffinity/examples/benchmarks

go 1.25.0

replace github.com/llmaffinity/llmaffinity => ../..

require (
	github.com/cespare/xxhash/v2 v2.3.0
	github.com/hashicorp/golang-lru/v2 v2.0.7
	github.com/jellydator/ttlcache/v3 v3.4.1
	github.com/llmaffinity/llmaffinity v0.1.0
	github.com/maypok86/otter/v2 v2.4.0
	github.com/stretchr/testify v1.12.1
)

require (
	github.com/tidwall/gjson v1.20.1 // indirect
	github.com/tidwall/match v1.1.1 // indirect
	github.com/tidwall/pretty v1.2.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/sync v0.20.0 // indirect
)
