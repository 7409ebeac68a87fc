package content

import "bytes"

// moves reports whether a text is one that a client is known to move from message
// to message: Qwen Code 0.24 puts a reminder of the date into the newest message of
// the user, and takes it out of the one before (captured). A date does not
// tell conversations apart. Other reminders are a part of the question; they count.
func moves(raw []byte) bool {
	return bytes.HasPrefix(raw, dateReminder) && raw[len(raw)-1] == '"' && bytes.HasSuffix(bytes.TrimRight(raw[:len(raw)-1], `\n`), []byte(">"))
}

var dateReminder = []byte(`"<system-reminder>\nThe current date is`)
