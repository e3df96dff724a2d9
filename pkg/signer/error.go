package signer

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The errors of verification. They are wrapped with what was found; the text is
// one line and safe to show, whatever the object holds.
var (
	// ErrUnsigned is of an object without a signature.
	ErrUnsigned = errors.New("not signed")
	// ErrUnknownKey is of a signature by a key that is not on the list. Its text
	// holds the fingerprint that the signature claims; nothing was verified.
	ErrUnknownKey = errors.New("signed by a key that is not allowed")
	// ErrBadSignature is of everything that is no proof: signatures of something
	// else, damaged, weak, or of a kind that is not supported.
	ErrBadSignature = errors.New("bad signature")
	// ErrExpired is of a good signature at a time at which the key, or an OpenPGP
	// signature itself, is not valid: no longer or not yet.
	ErrExpired = errors.New("not valid at this time")
	// ErrRevoked is of a good signature by an OpenPGP key that was revoked.
	ErrRevoked = errors.New("signed by a revoked key")
	// ErrWrongPrincipal is of a good signature by a key that is allowed, but to
	// somebody else.
	ErrWrongPrincipal = errors.New("signed by the key of somebody else")
)

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrBadSignature, fmt.Errorf(format, args...))
}

// maxQuoted bounds what is repeated of foreign text.
const maxQuoted = 80

// quote makes foreign text fit for an error.
func quote(text string) string {
	if len(text) > maxQuoted {
		cut := maxQuoted
		for cut > maxQuoted-utf8.UTFMax && !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut] + "…"
	}
	return strconv.Quote(text)
}

// foreign keeps the text of an error that a library made of foreign bytes to one
// short line.
func foreign(err error) error {
	quoted := quote(err.Error())
	return errors.New(quoted[1 : len(quoted)-1])
}

// errUndecodable is of a key that cannot be read.
var errUndecodable = errors.New("cannot be decoded")

// contain turns a panic over foreign bytes into an error of a kind. None is known
// to be reachable; the libraries below are large.
func contain(err *error, kind error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%w: %w", kind, foreign(fmt.Errorf("%v", r)))
	}
}

// Fault is one thing that is wrong in a list or keyring.
type Fault struct {
	// Line counts from 1.
	Line int
	// Message says what is wrong and what to write instead.
	Message string
}

// String returns the fault as one line: line 12: ….
func (f Fault) String() string { return fmt.Sprintf("line %d: %s", f.Line, f.Message) }

// Faults is everything that is wrong in a list or keyring, in the order of its
// lines. It is the type of the errors of [ParseAllowed] and [ParseKeyring].
type Faults []Fault

// maxPrinted bounds the text of an error; nobody repairs more at once.
const maxPrinted = 100

// Error prints one fault a line.
func (f Faults) Error() string {
	lines := make([]string, 0, min(len(f), maxPrinted)+1)
	for _, fault := range f[:min(len(f), maxPrinted)] {
		lines = append(lines, fault.String())
	}
	if more := len(f) - maxPrinted; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more faults", more))
	}
	return strings.Join(lines, "\n")
}

// err is nil without faults; a nil Faults in an error would not be.
func (f Faults) err() error {
	if len(f) == 0 {
		return nil
	}
	return f
}
