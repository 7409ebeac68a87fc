// A module of its own, so that only gateways with WebSockets depend on the library for
// WebSocket frames.
module github.com/llmaffinity/llmaffinity/affinity/affinityws

go 1.25.0

require (
	github.com/coder/websocket v1.8.15
	github.com/llmaffinity/llmaffinity v0.1.0
	github.com/stretchr/testify v1.12.1
	github.com/tidwall/gjson v1.20.1
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/hashicorp/golang-lru/v2 v2.0.7 // indirect
	github.com/tidwall/match v1.1.1 // indirect
	github.com/tidwall/pretty v1.2.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
)

replace github.com/llmaffinity/llmaffinity => ../..
