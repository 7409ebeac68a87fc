// Package record records the requests of a gateway, so that examples/replay can show what
// affinity would do with them. A recording does not contain what was said.
//
// A text becomes digests, one for each kilobyte. A digest also stands for everything before it
// in the text. So texts that begin alike have digests that begin alike, and lengths stay. An
// id becomes another id of the same form. Roles, types, and the names of an API's members
// stay; all other names, values and headers do not. The digests are keyed with a random key
// that is not in the recording. So nobody can find out by trying whether a text is in it, and
// two recordings cannot be compared.
//
// These things stay visible: when requests were sent, how long they are and how many messages
// they have, which of them begin alike, what their answers have cost, and which API and which
// forms of tools' ids were used.
//
//	rec, err := record.New(file)
//	...
//	err = rec.Record(record.Request{At: begun, Header: r.Header, Body: body, Usage: usage})
//
// Parse reads a line of a recording. The texts that it makes of the digests are as long as the
// original ones, so that package sessionid names the same sessions.
package record
