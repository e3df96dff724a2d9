package signer

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// Bounds of an object and of the signature in it, far above what people sign.
const (
	maxObject    = 1 << 20
	maxSignature = 64 << 10
)

// What armor is of.
const (
	sshArmor     = "SSH SIGNATURE"
	openpgpArmor = "PGP SIGNATURE"
	keyArmor     = "PGP PUBLIC KEY BLOCK"
)

// markers begin the signature of a tag where they begin a line. Git knows the
// other two as well; we do not verify those.
var markers = [][]byte{
	[]byte("-----BEGIN " + sshArmor + "-----"),
	[]byte("-----BEGIN " + openpgpArmor + "-----"),
	[]byte("-----BEGIN PGP MESSAGE-----"),
	[]byte("-----BEGIN SIGNED MESSAGE-----"),
}

// SplitSignature splits the content of a tag or commit object, without git's
// "tag 123\0" before it, into what was signed and the armored signature. The
// signature is nil when there is none. It verifies nothing. Objects that are
// malformed, too large or have several signatures are an [ErrBadSignature].
func SplitSignature(raw []byte) (payload, signature []byte, err error) {
	if len(raw) > maxObject {
		return nil, nil, bad("the object has %d bytes; more than %d are not verified", len(raw), maxObject)
	}
	switch {
	case bytes.HasPrefix(raw, []byte("object ")):
		payload, signature, err = splitTag(raw)
	case bytes.HasPrefix(raw, []byte("tree ")):
		payload, signature, err = splitCommit(raw)
	default:
		return nil, nil, bad("neither a tag nor a commit object")
	}
	switch {
	case err != nil:
		return nil, nil, err
	case len(signature) > maxSignature:
		return nil, nil, bad("the signature has %d bytes; more than %d are not verified", len(signature), maxSignature)
	case !bytes.Contains(payload, []byte("\n\n")):
		return nil, nil, bad("the object has no message, so its headers have no end")
	}
	return payload, signature, nil
}

// splitTag cuts where a line begins a signature: it ends the message.
func splitTag(raw []byte) (payload, signature []byte, err error) {
	begin := -1
	for offset := 0; offset < len(raw); {
		line, _, _ := bytes.Cut(raw[offset:], []byte("\n"))
		for _, marker := range markers {
			if !bytes.HasPrefix(line, marker) {
				continue
			}
			if begin >= 0 {
				return nil, nil, bad("the tag has more than one signature; tag again, without the old signature in the message")
			}
			begin = offset
		}
		offset += len(line) + 1
	}
	if begin < 0 {
		return raw, nil, nil
	}
	return raw[:begin], raw[begin:], nil
}

// splitCommit takes the header gpgsig away, which holds the signature with every
// further line indented by a space.
func splitCommit(raw []byte) (payload, signature []byte, err error) {
	payload = make([]byte, 0, len(raw))
	inside, seen := false, false
	for offset := 0; offset < len(raw); {
		line, _, _ := bytes.Cut(raw[offset:], []byte("\n"))
		line = raw[offset:min(len(raw), offset+len(line)+1)]
		offset += len(line)
		first, isSignature := bytes.CutPrefix(line, []byte("gpgsig "))
		switch {
		case line[0] == '\n':
			// The message, with whatever is in it.
			return append(payload, raw[offset-1:]...), signature, nil
		case inside && line[0] == ' ':
			signature = append(signature, line[1:]...)
		case isSignature && !seen:
			signature, inside, seen = append(signature, first...), true, true
		case bytes.HasPrefix(line, []byte("gpgsig")):
			// Git leaves such headers out of what it verifies, so they would come
			// in unsigned.
			return nil, nil, bad("the commit has more than one signature, or one of a kind that is not supported")
		default:
			payload, inside = append(payload, line...), false
		}
	}
	return payload, signature, nil
}

// dearmor decodes the block at the beginning of text, which must be of a kind,
// and returns what follows it. Lines end in \n. The checksum at the end of OpenPGP
// armor is not looked at: it protects nothing.
func dearmor(text []byte, kind string) (body, rest []byte, err error) {
	first, after, _ := bytes.Cut(text, []byte("\n"))
	if string(first) != "-----BEGIN "+kind+"-----" {
		return nil, nil, fmt.Errorf("begins with %s", quote(string(first)))
	}
	var encoded strings.Builder
	headers, checksum := kind != sshArmor, false
	length := 0
	for raw := range bytes.SplitAfterSeq(after, []byte("\n")) {
		if len(raw) == 0 {
			break
		}
		length += len(raw)
		line := strings.TrimSuffix(string(raw), "\n")
		switch {
		case line == "-----END "+kind+"-----":
			body, err := base64.StdEncoding.Strict().DecodeString(encoded.String())
			if err != nil {
				return nil, nil, fmt.Errorf("the armor is damaged: %w", err)
			}
			return body, after[length:], nil
		case headers && (line == "" || strings.Contains(line, ": ")):
			headers = line != ""
		case checksum, line == "", strings.Trim(line, base64Letters) != "":
			return nil, nil, fmt.Errorf("the armor is damaged: odd line %s", quote(line))
		case kind != sshArmor && len(line) == 5 && line[0] == '=':
			checksum = true
		default:
			headers = false
			encoded.WriteString(line)
		}
	}
	return nil, nil, errors.New("the armor is cut off: no end")
}

const base64Letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="

// dearmorOne is of a signature, which nothing may follow but empty lines.
func dearmorOne(text []byte, kind string) ([]byte, error) {
	body, rest, err := dearmor(text, kind)
	switch {
	case err != nil:
		return nil, bad("%w", err)
	case len(bytes.Trim(rest, "\n")) > 0:
		return nil, bad("something follows the signature")
	}
	return body, nil
}
