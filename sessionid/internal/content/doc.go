// Package content makes the identity of a conversation from its messages. It
// reads the messages of every API through package jsontext and returns digests.
//
//   - One message becomes one sum of what it says (message.go).
//   - A [Chain] hashes the sums one after the other. The hash after a message
//     is a boundary: it stands for all messages up to that one.
//   - A tail is the hash of the last few messages, whatever stood before them
//     (tail.go).
//   - [History] holds the boundaries and the tails of one request.
//
// Stores keep the digests. If a digest changes, every session that a running store
// holds is lost.
package content
