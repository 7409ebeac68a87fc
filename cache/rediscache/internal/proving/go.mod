// A module of its own, so that users of rediscache do not get another client, which it is
// compared with (go-redis; 9.23 needs go 1.26), and a checker of concurrent histories (porcupine).
module github.com/llmaffinity/llmaffinity/cache/rediscache/internal/proving

go 1.25.0

require (
	github.com/llmaffinity/llmaffinity v0.1.0
	github.com/llmaffinity/llmaffinity/cache/internal/proving v0.0.0
	github.com/llmaffinity/llmaffinity/cache/rediscache v0.1.0
	github.com/redis/go-redis/v9 v9.22.0
	github.com/redis/rueidis v1.0.79
	github.com/stretchr/testify v1.12.1
)

require (
	github.com/anishathalye/porcupine v1.3.1 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/hashicorp/golang-lru/v2 v2.0.7 // indirect
	go.uber.org/atomic v1.12.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/sys v0.47.0 // indirect
)

replace (
	github.com/llmaffinity/llmaffinity => ../../../..
	github.com/llmaffinity/llmaffinity/cache/internal/proving => ../../../internal/proving
	github.com/llmaffinity/llmaffinity/cache/rediscache => ../..
)
