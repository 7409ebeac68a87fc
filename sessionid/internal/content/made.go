package content

import "unsafe"

// IsMade reports whether an id looks like one that a machine has made to be unique: a
// uuid, or digits and letters in random order (toolu_01A2b3…, hex). Words, numbers, dates
// and counters (call_0, functions.bash:1, run_shell_command_<ms>_0) do not look like that.
//
// IsMade counts the places where a digit stands beside a letter, or an upper-case letter
// beside a lower-case one. Words with a version have one or two such places; 16 hex digits
// have seven on average.
func IsMade(id string) bool {
	if len(id) < 9 {
		return false
	}
	digits, cases, hex, last := 0, 0, 0, uint8(other)
	for i := 0; i < len(id); i++ {
		c := classes[id[i]]
		is := c &^ inUUID
		if is != last && is != other && last != other {
			if is == digit || last == digit {
				digits++
			} else {
				cases++
			}
			if digits >= 3 && digits+cases >= 5 {
				return true
			}
		}
		if hex++; c&inUUID == 0 {
			hex = 0
		}
		if hex >= 36 && isUUID(id[i-35:i+1]) {
			return true // a few uuids have too few such places
		}
		last = is
	}
	return false
}

// Classes of bytes.
const (
	other = iota
	digit
	lower
	upper
	inUUID = 4 // a flag
)

var classes = func() (table [256]uint8) {
	for c := range table {
		switch {
		case '0' <= c && c <= '9':
			table[c] = digit
		case 'a' <= c && c <= 'z':
			table[c] = lower
		case 'A' <= c && c <= 'Z':
			table[c] = upper
		}
		if c == '-' || isHex(byte(c)) {
			table[c] |= inUUID
		}
	}
	return table
}()

// isUUID reports whether 36 hex digits and dashes have the shape 8-4-4-4-12.
func isUUID(s string) bool {
	for i := 0; i < len(s); i++ {
		if (s[i] == '-') != (i == 8 || i == 13 || i == 18 || i == 23) {
			return false
		}
	}
	return true
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// made says how an id was made. The first call of isMade finds it out, for all later
// calls.
type made uint8

const (
	notAsked made = iota
	byMachine
	otherwise
)

func (d *id) isMade() bool {
	if d.made == notAsked {
		d.made = otherwise
		if IsMade(unsafe.String(&d.raw[1], len(d.raw)-2)) {
			d.made = byMachine
		}
	}
	return d.made == byMachine
}
