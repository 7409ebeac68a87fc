// Package content makes the identity of a conversation from its messages. It
// reads the messages of every API through package jsontext and returns digests.
//
//   - One message becomes one sum of what it says (message.go).
//   - A [Chain] hashes the sums one behind the other. The hash after a message
//     is a boundary: it stands for all messages up to there.
//   - A tail is the hash of the last few messages, whatever stood before them
//     (tail.go).
//   - [History] holds the boundaries and the tails of one request.
//
// The digests are kept in stores. A change to any of them loses every session
// that a running store holds.
package content
