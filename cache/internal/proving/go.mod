// A module of its own, so that nobody who uses the library gets these: other
// caches to measure against (otter, ttlcache), and a checker of concurrent
// histories (porcupine).
module github.com/llmaffinity/llmaffinity/cache/internal/proving

go 1.25

require (
	github.com/anishathalye/porcupine v1.3.1
	github.com/hashicorp/golang-lru/v2 v2.0.7
	github.com/jellydator/ttlcache/v3 v3.4.1
	github.com/llmaffinity/llmaffinity v0.1.0
	github.com/maypok86/otter/v2 v2.4.0
)

require golang.org/x/sync v0.16.0 // indirect

replace github.com/llmaffinity/llmaffinity => ../../..
