package signer

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// ParseKeyring reads armored OpenPGP public keys, one block or several, with any
// text around them, as gpg --export --armor writes them. A key is allowed for the
// e-mail addresses in its user IDs, literally, as far as the key itself signed
// them and did not revoke them.
//
// Nobody but the owner of a key vouches for those addresses: with each key that is
// taken into the keyring, look at them. A list can say more ([ParseAllowed]). The
// error is of type [Faults].
func ParseKeyring(text []byte) (*Allowed, error) {
	if len(text) > maxList {
		return nil, Faults{{Line: 1, Message: fmt.Sprintf("the keyring has %d bytes; at most %d are read", len(text), maxList)}}
	}
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	a := &Allowed{}
	var faults Faults
	blocks, line := 0, 1
	for len(text) > 0 {
		if !bytes.HasPrefix(text, []byte("-----BEGIN ")) {
			_, text, _ = bytes.Cut(text, []byte("\n"))
			line++
			continue
		}
		blocks++
		entries, rest, err := parseBlock(text)
		if err != nil {
			faults = append(faults, Fault{Line: line, Message: err.Error()})
			_, rest, _ = bytes.Cut(text, []byte("\n"))
		}
		for _, e := range entries {
			e.line = line
			a.entries = append(a.entries, e)
		}
		line += bytes.Count(text[:len(text)-len(rest)], []byte("\n"))
		text = rest
	}
	if blocks == 0 {
		faults = append(faults, Fault{Line: 1, Message: "no armored OpenPGP public key; write what gpg --export --armor prints"})
	}
	if err := faults.err(); err != nil {
		return nil, err
	}
	return a, nil
}

// parseBlock reads the keys of the block that text begins with.
func parseBlock(text []byte) (entries []entry, rest []byte, err error) {
	body, rest, err := dearmor(text, keyArmor)
	if err != nil {
		return nil, nil, fmt.Errorf("no OpenPGP public key: %w", err)
	}
	keys, err := splitKeys(body)
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("the block %w", err)
	case len(keys) == 0:
		return nil, nil, errors.New("the block is empty")
	}
	for _, data := range keys {
		e, key, err := openpgpEntry(data)
		if err != nil {
			return nil, nil, fmt.Errorf("key %d of the block cannot be used: %w", len(entries)+1, err)
		}
		found, err := emails(key)
		switch {
		case err != nil:
			return nil, nil, fmt.Errorf("key %s cannot be used: %w", e.fingerprint, err)
		case len(found) == 0:
			return nil, nil, fmt.Errorf("key %s has no user ID with an e-mail address that it signed itself; put it on a list instead", e.fingerprint)
		}
		e.principals = strings.Join(found, ",")
		entries = append(entries, e)
	}
	return entries, rest, nil
}
