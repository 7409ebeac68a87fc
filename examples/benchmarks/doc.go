// Package benchmarks measures the library beside what people use instead, and beside the
// least that a pick can cost. README.md has the tables and the commands. The benchmarks are
// in this directory, by subject; package requests makes the requests, package floor is the
// prototype of the least, and package rivals are other caches.
package benchmarks
