package signer

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/ssh"
)

// maxList bounds a list or keyring; thousands of keys fit.
const maxList = 1 << 20

// openpgpKeyType stands where an SSH key has its type.
const openpgpKeyType = "openpgp"

// ParseAllowed reads a list; its format is in the package comment. The error is of
// type [Faults] and lists everything that is wrong: a line that cannot be read may
// be the one that was meant to restrict a key.
func ParseAllowed(text []byte) (*Allowed, error) {
	if len(text) > maxList {
		return nil, Faults{{Line: 1, Message: fmt.Sprintf("the list has %d bytes; at most %d are read", len(text), maxList)}}
	}
	a := &Allowed{}
	var faults Faults
	number := 0
	for line := range strings.SplitSeq(string(text), "\n") {
		number++
		line = strings.Trim(line, " \t\r")
		if line == "" || line[0] == '#' {
			continue
		}
		e, err := parseLine(line)
		if err != nil {
			faults = append(faults, Fault{Line: number, Message: err.Error()})
			continue
		}
		e.line = number
		a.entries = append(a.entries, e)
	}
	if err := faults.err(); err != nil {
		return nil, err
	}
	return a, nil
}

// printable says whether text is UTF-8 in which everything can be seen.
func printable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return r != '\t' && !unicode.IsPrint(r) })
}

// parseLine reads one line. Fields are principals, options, type, key, comment;
// options and comment can be missing.
func parseLine(line string) (entry, error) {
	if !printable(line) {
		return entry{}, errors.New("has characters that cannot be seen; write it as plain UTF-8 text, without a byte order mark")
	}
	principals, rest, err := field(line)
	if err != nil {
		return entry{}, err
	}
	if quoted, ok := strings.CutPrefix(principals, `"`); ok {
		principals = strings.TrimSuffix(quoted, `"`)
	}
	switch {
	case strings.Contains(principals, `"`):
		return entry{}, errors.New("quotes have to be around all principals")
	case !allowsAnybody(principals):
		return entry{}, fmt.Errorf("principals %s allow nobody; write an e-mail address or a pattern such as *@shop.example", quote(principals))
	}
	var o options
	word, rest, err := field(rest)
	if err != nil {
		return entry{}, err
	}
	if word != "" && !isKeyType(word) {
		if o, err = parseOptions(word); err != nil {
			return entry{}, err
		}
		if word, rest, err = field(rest); err != nil {
			return entry{}, err
		}
	}
	encoded, _, _ := strings.Cut(strings.ReplaceAll(rest, "\t", " "), " ")
	switch {
	case word == "" || encoded == "":
		return entry{}, errors.New("has no key; write principals, options if there are any, type and key, as in lead@shop.example ssh-ed25519 AAAAC3…")
	case o.certAuthority || isCertificate(word):
		return entry{}, errors.New("SSH certificates are not supported; list the keys themselves")
	case word == openpgpKeyType && o.namespaces != "":
		return entry{}, errors.New("an OpenPGP key has no namespaces; leave the option out")
	case !o.before.IsZero() && o.before.Before(o.after):
		return entry{}, errors.New("valid-before is before valid-after, so the key is never valid")
	}
	e, err := parseKey(word, encoded)
	e.principals, e.namespaces, e.after, e.before = principals, o.namespaces, o.after, o.before
	return e, err
}

// field cuts off the text before the next space that is not in quotes.
func field(text string) (word, rest string, err error) {
	quoted := false
	for i, r := range text {
		switch {
		case r == '"':
			quoted = !quoted
		case !quoted && (r == ' ' || r == '\t'):
			return text[:i], strings.TrimLeft(text[i:], " \t"), nil
		}
	}
	if quoted {
		return "", "", errors.New("a quote is not closed")
	}
	return text, "", nil
}

// isKeyType tells key types from options, also those that are refused later.
func isKeyType(word string) bool {
	return word == openpgpKeyType || word == "ssh-dss" || isCertificate(word) || slices.Contains(sshKeyTypes, word)
}

func parseKey(keyType, encoded string) (entry, error) {
	wire, err := base64.StdEncoding.DecodeString(encoded)
	switch {
	case err != nil && keyType == openpgpKeyType:
		return entry{}, errors.New("the OpenPGP key is not base64; write what gpg --export … | base64 -w0 prints, neither armor nor a path")
	case err != nil:
		return entry{}, errors.New("the key is not base64; copy the line of the file that ends in .pub")
	case keyType == openpgpKeyType:
		return parseOpenPGPKey(wire)
	}
	key, err := parseSSHKey(wire)
	switch {
	case err != nil:
		return entry{}, fmt.Errorf("the key cannot be used: %w", err)
	case key.Type() != keyType:
		return entry{}, fmt.Errorf("the key is of type %s, but %s is written before it", key.Type(), keyType)
	}
	return entry{kind: SSH, key: key.Marshal(), fingerprint: ssh.FingerprintSHA256(key)}, nil
}

func parseOpenPGPKey(wire []byte) (entry, error) {
	keys, err := splitKeys(wire)
	switch {
	case err != nil:
		return entry{}, fmt.Errorf("the OpenPGP key %w", err)
	case len(keys) != 1:
		return entry{}, fmt.Errorf("has %d OpenPGP keys; write one a line", len(keys))
	}
	e, _, err := openpgpEntry(keys[0])
	if err != nil {
		return entry{}, fmt.Errorf("the OpenPGP key cannot be used: %w", err)
	}
	return e, nil
}

// options are those of one line.
type options struct {
	certAuthority bool
	namespaces    string
	after, before time.Time
}

// parseOptions reads options that are divided by commas, except in quotes. Their
// names are written in any case.
func parseOptions(text string) (options, error) {
	var o options
	seen := map[string]bool{}
	for _, option := range splitUnquoted(text) {
		name, value, hasValue := strings.Cut(option, "=")
		name = strings.ToLower(name)
		if seen[name] {
			return options{}, fmt.Errorf("the option %s is there twice", quote(name))
		}
		seen[name] = true
		unquoted := strings.TrimSuffix(strings.TrimPrefix(value, `"`), `"`)
		isQuoted := len(value) >= 2 && value == `"`+unquoted+`"` && !strings.Contains(unquoted, `"`)
		var err error
		switch name {
		case "cert-authority":
			o.certAuthority = true
			if hasValue {
				return options{}, errors.New("the option cert-authority takes no value")
			}
			continue
		case "namespaces":
			o.namespaces = unquoted
			if unquoted == "" {
				err = errors.New(`names none; write for instance namespaces="git"`)
			}
		case "valid-after":
			o.after, err = parseTimestamp(unquoted)
		case "valid-before":
			o.before, err = parseTimestamp(unquoted)
		default:
			return options{}, fmt.Errorf("%s is neither an option nor a type of key that is supported; options are namespaces, valid-after, valid-before", quote(option))
		}
		if !isQuoted {
			err = fmt.Errorf(`needs its value in double quotes: %s="…"`, name)
		}
		if err != nil {
			return options{}, fmt.Errorf("the option %s %w", name, err)
		}
	}
	return o, nil
}

func splitUnquoted(text string) []string {
	quoted := false
	var parts []string
	begin := 0
	for i, r := range text {
		switch {
		case r == '"':
			quoted = !quoted
		case r == ',' && !quoted:
			parts = append(parts, text[begin:i])
			begin = i + 1
		}
	}
	return append(parts, text[begin:])
}

// parseTimestamp is always of UTC, see the package comment.
func parseTimestamp(text string) (time.Time, error) {
	digits := strings.TrimSuffix(text, "Z")
	for _, layout := range []string{"20060102", "200601021504", "20060102150405"} {
		if len(digits) != len(layout) || strings.Trim(digits, "0123456789") != "" {
			continue
		}
		if t, err := time.Parse(layout, digits); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("has no time in %s; write YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS, in UTC", quote(text))
}
