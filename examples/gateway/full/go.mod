// A module of its own, because packages rediscache, affinityprom and affinityws are: only its users get
// clients of Redis (rueidis) and Prometheus (client_golang), and a library for WebSocket frames.
module github.com/llmaffinity/llmaffinity/examples/gateway/full

go 1.25.0

require (
	github.com/chromedp/cdproto v0.0.0-20250724212937-08a3db8b4327
	github.com/chromedp/chromedp v0.14.2
	github.com/coder/websocket v1.8.15
	github.com/llmaffinity/llmaffinity v0.1.0
	github.com/llmaffinity/llmaffinity/affinity/affinityprom v0.1.0
	github.com/llmaffinity/llmaffinity/affinity/affinityws v0.1.0
	github.com/llmaffinity/llmaffinity/cache/rediscache v0.1.0
	github.com/prometheus/client_golang v1.23.2
	github.com/prometheus/common v0.66.1
	github.com/stretchr/testify v1.12.1
	github.com/tidwall/gjson v1.20.1
)

require (
	github.com/beorn7/perks v1.0.1 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/chromedp/sysutil v1.1.0 // indirect
	github.com/go-json-experiment/json v0.0.0-20250725192818-e39067aee2d2 // indirect
	github.com/gobwas/httphead v0.1.0 // indirect
	github.com/gobwas/pool v0.2.1 // indirect
	github.com/gobwas/ws v1.4.0 // indirect
	github.com/hashicorp/golang-lru/v2 v2.0.7 // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/prometheus/client_model v0.6.2 // indirect
	github.com/prometheus/procfs v0.16.1 // indirect
	github.com/redis/rueidis v1.0.79 // indirect
	github.com/tidwall/match v1.1.1 // indirect
	github.com/tidwall/pretty v1.2.0 // indirect
	go.yaml.in/yaml/v2 v2.4.2 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/sys v0.47.0 // indirect
	google.golang.org/protobuf v1.36.8 // indirect
)

replace (
	github.com/llmaffinity/llmaffinity => ../../..
	github.com/llmaffinity/llmaffinity/affinity/affinityprom => ../../../affinity/affinityprom
	github.com/llmaffinity/llmaffinity/affinity/affinityws => ../../../affinity/affinityws
	github.com/llmaffinity/llmaffinity/cache/rediscache => ../../../cache/rediscache
)
