//go:build race

package affinityprom_test

// forged is how many sessions, tenants and models a test makes up. It is smaller with the race
// detector, because each takes ten times as long.
const forged = 20_000
