// A module of its own, so that only users of Redis get its client (rueidis).
module github.com/llmaffinity/llmaffinity/cache/rediscache

go 1.25.0

require (
	github.com/hashicorp/golang-lru/v2 v2.0.7
	github.com/llmaffinity/llmaffinity v0.1.0
	github.com/redis/rueidis v1.0.79
	github.com/redis/rueidis/mock v1.0.79
	github.com/stretchr/testify v1.12.1
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/tidwall/gjson v1.20.1 // indirect
	github.com/tidwall/match v1.1.1 // indirect
	github.com/tidwall/pretty v1.2.0 // indirect
	go.uber.org/mock v0.6.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/sys v0.47.0 // indirect
)

replace github.com/llmaffinity/llmaffinity => ../..
