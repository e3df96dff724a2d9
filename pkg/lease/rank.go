package lease

import (
	"bytes"
	"crypto/sha256"
)

// outranks reports whether a member comes before another one for a key. All
// members must agree, those of other versions too: ranks are part of the
// protocol, and a change of them needs another name for the groups.
func outranks(member, other, key string) bool {
	a, b := rank(member, key), rank(other, key)
	if c := bytes.Compare(a[:], b[:]); c != 0 {
		return c > 0
	}
	return member > other
}

// rank is as good as random, and the same everywhere. A zero byte is in no name
// of an object.
func rank(member, key string) [sha256.Size]byte {
	return sha256.Sum256([]byte(member + "\x00" + key))
}
