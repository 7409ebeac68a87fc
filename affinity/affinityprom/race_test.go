//go:build race

package affinityprom_test

// forged is how many sessions, tenants and models a test makes up: fewer where each takes
// ten times as long.
const forged = 20_000
