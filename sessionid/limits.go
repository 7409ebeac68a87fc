package sessionid

import "github.com/llmaffinity/llmaffinity/sessionid/internal/content"

const (
	// MaxIDBytes is the longest id that is taken, unless Options.MaxIDBytes says
	// otherwise. A longer one is no id: cutting it would merge sessions.
	// (OpenRouter documents 256 for its session_id.)
	MaxIDBytes = 256

	// MaxBoundaries is how many boundaries of a conversation an ID carries: its
	// end, the latest ones before that, and the first 8.
	MaxBoundaries = content.MaxBoundaries // 128

	// DefaultMaxBody is how many bytes of a body FromRequest holds in memory,
	// unless HTTPOptions.MaxBody says otherwise: 32 MiB. (Even long prompts of coding
	// agents are far below.)
	DefaultMaxBody = 32 << 20
)

const (
	// longestMaxID bounds Options.MaxIDBytes, because ids are read on the stack.
	longestMaxID = 1 << 10
	// maxOwners is how many owners one request's body can name. Further ones are ignored.
	maxOwners = 3
	// maxOwnerBytes is the longest id of an owner. Servers make those ids, and
	// some ids hold the state itself.
	maxOwnerBytes = 4 << 10
	// maxNames is how many explicit ids one request can carry.
	maxNames = 4
	// maxTopLevel is how many members a request may have. Requests of any API have
	// some twenty.
	maxTopLevel = 1000
)
