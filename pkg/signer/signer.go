package signer

import (
	"bytes"
	"fmt"
	"slices"
	"time"
)

// Kind is the kind of a signature.
type Kind string

// The kinds of signatures that are verified.
const (
	SSH     Kind = "ssh"
	OpenPGP Kind = "openpgp"
)

// Signer is who signed.
type Signer struct {
	// Principal is the e-mail address that was asked for, or, when none was, the
	// first field of the line that allows the key.
	Principal string
	// Fingerprint is of the key: SHA256:… as ssh-keygen prints it, or that of an
	// OpenPGP primary key, even when a subkey signed.
	Fingerprint string
	Kind        Kind
}

// Allowed is a list of keys and of the people they belong to. The zero value
// allows nobody. It does not change, and may be used from several goroutines.
type Allowed struct {
	entries []entry
	// now is time.Now when nil.
	now func() time.Time
}

// entry is one line of a list, or one key of a keyring.
type entry struct {
	// line is where it stands.
	line int
	// principals is a pattern list.
	principals string
	// namespaces is a pattern list; empty for all.
	namespaces string
	// after and before are zero where the line does not say.
	after, before time.Time
	kind          Kind
	fingerprint   string
	// key is in SSH's wire format, or OpenPGP packets.
	key []byte
	// ids are those of an OpenPGP key and its subkeys.
	ids []uint64
}

// Join makes one list of several.
func Join(lists ...*Allowed) *Allowed {
	joined := &Allowed{}
	for _, list := range lists {
		if list != nil {
			joined.entries = append(joined.entries, list.entries...)
		}
	}
	return joined
}

// Verify verifies the signature of a tag or commit object, given as its content
// without git's "tag 123\0" before it, by any key on the list. The key must be
// valid at the moment at and at present; a zero at means only at present. See the
// package comment for what time to give and for what is left to check.
//
// Its errors wrap one of [ErrUnsigned], [ErrUnknownKey], [ErrBadSignature],
// [ErrExpired] and [ErrRevoked].
func (a *Allowed) Verify(raw []byte, at time.Time) (Signer, error) {
	return a.verify(raw, at, func(string) bool { return true }, "")
}

// VerifyFor is Verify, but the key must be allowed for an e-mail address, such as
// the tagger's. A key that is allowed only for others is an [ErrWrongPrincipal].
// No key is allowed for an empty address.
func (a *Allowed) VerifyFor(raw []byte, email string, at time.Time) (Signer, error) {
	return a.verify(raw, at, func(principals string) bool {
		return email != "" && matchList(email, principals)
	}, email)
}

// question is what a key is asked about.
type question struct {
	payload []byte
	// earlier and later are the two moments at which the key must be valid, now
	// is one of them.
	earlier, later, now time.Time
	// isFor says whether principals are those that are asked for, and email whom,
	// if anybody.
	isFor func(principals string) bool
	email string
}

func (a *Allowed) verify(raw []byte, at time.Time, isFor func(string) bool, email string) (Signer, error) {
	payload, signature, err := SplitSignature(raw)
	switch {
	case err != nil:
		return Signer{}, err
	case signature == nil:
		return Signer{}, ErrUnsigned
	}
	now := time.Now()
	if a.now != nil {
		now = a.now()
	}
	if at.IsZero() {
		at = now
	}
	q := question{payload: payload, earlier: at, later: now, now: now, isFor: isFor, email: email}
	if now.Before(at) {
		q.earlier, q.later = now, at
	}
	var e entry
	switch {
	case bytes.HasPrefix(signature, markers[0]):
		e, err = a.verifySSH(signature, q)
	case bytes.HasPrefix(signature, markers[1]):
		e, err = a.verifyOpenPGP(signature, q)
	default:
		marker, _, _ := bytes.Cut(signature, []byte("\n"))
		err = bad("only SSH and detached OpenPGP signatures are verified, not %s", quote(string(marker)))
	}
	if err != nil {
		return Signer{}, err
	}
	s := Signer{Principal: email, Fingerprint: e.fingerprint, Kind: e.kind}
	if email == "" {
		s.Principal = e.principals
	}
	return s, nil
}

// choose finds the first line that allows, among those of the key that signed.
// If none does, the error is that of the line that came closest.
func choose(entries []entry, q question) (entry, error) {
	var closest error
	steps := 0
	for _, e := range entries {
		reached, err := e.allows(q)
		if err == nil {
			return e, nil
		}
		if reached > steps {
			steps, closest = reached, err
		}
	}
	return entry{}, closest
}

// allows says what is against a line, and how many steps it passed before.
func (e entry) allows(q question) (steps int, err error) {
	where := fmt.Sprintf("%s of line %d", e.fingerprint, e.line)
	switch {
	case e.namespaces != "" && !matchList(namespace, e.namespaces):
		return 1, fmt.Errorf("%w: %s is only for the namespaces %s", ErrUnknownKey, where, quote(e.namespaces))
	case !q.isFor(e.principals):
		return 2, fmt.Errorf("%w: %s is for %s, not for %s", ErrWrongPrincipal, where, quote(e.principals), quote(q.email))
	}
	if err := checkSpan(where, e.after, e.before, q); err != nil {
		return 3, err
	}
	return 4, nil
}

// checkSpan wants a key to be valid at both moments. Both ends belong to the
// time, which zero leaves open.
func checkSpan(what string, from, until time.Time, q question) error {
	switch {
	case !from.IsZero() && q.earlier.Before(from):
		return fmt.Errorf("%w: %s is not valid before %s, but %s counts", ErrExpired, what, moment(from), moment(q.earlier))
	case !until.IsZero() && q.later.After(until):
		return fmt.Errorf("%w: %s was valid until %s, but %s counts", ErrExpired, what, moment(until), moment(q.later))
	}
	return nil
}

func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// of filters by kind and key.
func (a *Allowed) of(is func(entry) bool) []entry {
	return slices.DeleteFunc(slices.Clone(a.entries), func(e entry) bool { return !is(e) })
}
