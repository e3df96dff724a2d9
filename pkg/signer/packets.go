package signer

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The packets of an OpenPGP key or signature are looked at here before the library
// decodes them, because it reads more than we want: it allocates what the length
// fields of version 6 signatures claim, panics over an empty subpacket, and passes
// over what it does not know, which could be a revocation.

// Packet types (RFC 9580, section 5).
const (
	packetSignature     = 2
	packetSecretKey     = 5
	packetPublicKey     = 6
	packetSecretSubkey  = 7
	packetMarker        = 10
	packetTrust         = 12
	packetUserID        = 13
	packetPublicSubkey  = 14
	packetUserAttribute = 17
	packetPadding       = 21
)

// Signature types that revoke (section 5.2.1).
const (
	revokesKey    = 0x20
	revokesSubkey = 0x28
)

// Subpacket types (section 5.2.3.7).
const (
	subpacketExportable = 4
	subpacketEmbedded   = 32
)

// openpgpVersion is of keys and signatures. GnuPG makes no other.
const openpgpVersion = 4

// openpgpPacket is one packet. Raw includes its header.
type openpgpPacket struct {
	tag       byte
	raw, body []byte
}

var errCutOff = errors.New("OpenPGP data is cut off")

// splitPackets reads the framing. Lengths must be given at the beginning, as they
// are in all keys and signatures.
func splitPackets(data []byte) ([]openpgpPacket, error) {
	var packets []openpgpPacket
	for len(data) > 0 {
		tag, header, length, err := packetHeader(data)
		if err != nil {
			return nil, err
		}
		if length > len(data)-header {
			return nil, errCutOff
		}
		packets = append(packets, openpgpPacket{tag: tag, raw: data[:header+length], body: data[header : header+length]})
		data = data[header+length:]
	}
	return packets, nil
}

// packetHeader reads type and length (section 4.2).
func packetHeader(data []byte) (tag byte, header, length int, err error) {
	first := data[0]
	switch {
	case first&0x80 == 0:
		return 0, 0, 0, errors.New("no OpenPGP data")
	case first&0x40 != 0:
		tag = first & 0x3f
		header, length, err = packetLength(data[1:])
		return tag, header + 1, length, err
	case first&3 == 3:
		return 0, 0, 0, errors.New("an OpenPGP packet does not say its length")
	}
	tag, size := first>>2&0xf, 1<<(first&3)
	if len(data) < 1+size {
		return 0, 0, 0, errCutOff
	}
	for _, b := range data[1 : 1+size] {
		length = length<<8 | int(b)
	}
	return tag, 1 + size, length, nil
}

// packetLength reads a length of the newer format.
func packetLength(data []byte) (size, length int, err error) {
	switch {
	case len(data) > 0 && data[0] < 192:
		return 1, int(data[0]), nil
	case len(data) > 1 && data[0] < 224:
		return 2, int(data[0]-192)<<8 + int(data[1]) + 192, nil
	case len(data) > 4 && data[0] == 255:
		return 5, int(binary.BigEndian.Uint32(data[1:])), nil
	case len(data) > 0 && data[0] >= 224 && data[0] < 255:
		return 0, 0, errors.New("an OpenPGP packet does not say its length")
	}
	return 0, 0, errCutOff
}

// checkSignaturePacket accepts version 4 with subpackets that can be decoded. Only
// the signatures in a key may have another one embedded.
func checkSignaturePacket(body []byte, embedded bool) error {
	if len(body) < 6 {
		return errCutOff
	}
	if body[0] != openpgpVersion {
		return fmt.Errorf("OpenPGP signatures of version %d are not supported", body[0])
	}
	rest := body[4:]
	for range 2 {
		if len(rest) < 2 {
			return errCutOff
		}
		length := int(binary.BigEndian.Uint16(rest))
		if rest = rest[2:]; length > len(rest) {
			return errCutOff
		}
		if err := checkSubpackets(rest[:length], embedded); err != nil {
			return err
		}
		rest = rest[length:]
	}
	return nil
}

func checkSubpackets(data []byte, embedded bool) error {
	for len(data) > 0 {
		size, length, err := subpacketLength(data)
		if err != nil {
			return err
		}
		if length < 1 || length > len(data)-size {
			return errCutOff
		}
		kind, content := data[size]&0x7f, data[size+1:size+length]
		data = data[size+length:]
		switch {
		case kind == subpacketExportable && len(content) != 1:
			return errCutOff
		case kind == subpacketEmbedded && !embedded:
			return errors.New("an OpenPGP signature has another one in it")
		case kind == subpacketEmbedded:
			if err := checkSignaturePacket(content, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// subpacketLength differs from packetLength in that nothing is partial.
func subpacketLength(data []byte) (size, length int, err error) {
	switch {
	case data[0] < 192:
		return 1, int(data[0]), nil
	case data[0] < 255 && len(data) > 1:
		return 2, int(data[0]-192)<<8 + int(data[1]) + 192, nil
	case data[0] == 255 && len(data) > 4:
		return 5, int(binary.BigEndian.Uint32(data[1:])), nil
	}
	return 0, 0, errCutOff
}

// splitKeys cuts a keyring into keys, and leaves out what no key needs.
func splitKeys(data []byte) ([][]byte, error) {
	packets, err := splitPackets(data)
	if err != nil {
		return nil, err
	}
	var keys [][]byte
	// last is the type of packet that signatures are about.
	last := byte(0)
	for _, p := range packets {
		switch p.tag {
		case packetMarker, packetTrust, packetPadding:
			continue
		case packetSecretKey, packetSecretSubkey:
			return nil, errors.New("holds a private key; give the public one (gpg --export), and replace this one, as others may have read it")
		case packetPublicKey, packetPublicSubkey:
			if len(p.body) == 0 || p.body[0] != openpgpVersion {
				return nil, errors.New("only OpenPGP keys of version 4 are supported")
			}
		case packetUserID, packetUserAttribute, packetSignature:
		default:
			return nil, fmt.Errorf("is no public key: has an OpenPGP packet of type %d", p.tag)
		}
		switch {
		case p.tag == packetPublicKey:
			keys = append(keys, nil)
		case len(keys) == 0:
			return nil, errors.New("does not begin with a key; if it is a revocation, import it and export the key")
		}
		if p.tag != packetSignature {
			last = p.tag
		} else if drop, err := checkKeySignature(p.body, last); err != nil {
			return nil, err
		} else if drop {
			continue
		}
		keys[len(keys)-1] = append(keys[len(keys)-1], p.raw...)
	}
	return keys, nil
}

// checkKeySignature drops what people said about each other's keys in formats of
// former times. A revocation is never dropped, and has to stand where the library
// looks for it.
func checkKeySignature(body []byte, last byte) (drop bool, err error) {
	if len(body) < 3 {
		return false, errCutOff
	}
	kind := body[1]
	if body[0] < openpgpVersion {
		// Version 3 has the length of what is hashed in between.
		kind = body[2]
	}
	misplaced := kind == revokesKey && last != packetPublicKey || kind == revokesSubkey && last != packetPublicSubkey
	switch {
	case misplaced:
		return false, errors.New("has a revocation in the wrong place; import the key and export it again")
	case body[0] < openpgpVersion && kind != revokesKey && kind != revokesSubkey:
		return true, nil
	}
	return false, checkSignaturePacket(body, true)
}

// countRevocations is of keys and subkeys, verified or not.
func countRevocations(key []byte) (int, error) {
	packets, err := splitPackets(key)
	count := 0
	for _, p := range packets {
		if p.tag == packetSignature && (p.body[1] == revokesKey || p.body[1] == revokesSubkey) {
			count++
		}
	}
	return count, err
}
