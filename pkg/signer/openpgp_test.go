package signer

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// made is when the keys of these tests were made.
var made = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// newKey makes a key as gpg would not.
func newKey(t *testing.T, config packet.Config) *openpgp.Entity {
	t.Helper()
	config.Time = func() time.Time { return made }
	if config.Algorithm == 0 {
		config.Algorithm = packet.PubKeyAlgoEdDSA
	}
	key, err := openpgp.NewEntity("Lead", "", "lead@shop.example", &config)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func addSubkey(t *testing.T, key *openpgp.Entity, lifetime time.Duration, since time.Time) *packet.PrivateKey {
	t.Helper()
	err := key.AddSigningSubkey(&packet.Config{
		Algorithm: packet.PubKeyAlgoEdDSA, KeyLifetimeSecs: uint32(lifetime.Seconds()),
		Time: func() time.Time { return since },
	})
	if err != nil {
		t.Fatal(err)
	}
	return key.Subkeys[len(key.Subkeys)-1].PrivateKey
}

// listed is a list with the public part of a key.
func listed(t *testing.T, key *openpgp.Entity) string {
	t.Helper()
	var b bytes.Buffer
	if err := key.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	return "lead@shop.example openpgp " + base64.StdEncoding.EncodeToString(b.Bytes()) + "\n"
}

// signedTag signs tagText.
func signedTag(t *testing.T, by *packet.PrivateKey, at time.Time, lifetime uint32) []byte {
	t.Helper()
	s := &packet.Signature{
		Version: 4, SigType: packet.SigTypeBinary, PubKeyAlgo: by.PubKeyAlgo, Hash: crypto.SHA256,
		CreationTime: at, IssuerKeyId: &by.KeyId, IssuerFingerprint: by.Fingerprint,
	}
	if lifetime > 0 {
		s.SigLifetimeSecs = &lifetime
	}
	h := crypto.SHA256.New()
	h.Write([]byte(tagText))
	if err := s.Sign(h, by, nil); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := s.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	return []byte(tagText + armorPGP(openpgpArmor, b.Bytes()))
}

// TestOpenPGPKeys is about keys that signed, but should not have.
func TestOpenPGPKeys(t *testing.T) {
	hour := time.Hour
	for _, test := range []struct {
		name string
		make func(t *testing.T) (list string, raw []byte)
		err  error
		says string
	}{
		{"good", func(t *testing.T) (string, []byte) {
			key := newKey(t, packet.Config{})
			return listed(t, key), signedTag(t, key.PrivateKey, made.Add(hour), 0)
		}, nil, ""},
		{"good subkey", func(t *testing.T) (string, []byte) {
			key := newKey(t, packet.Config{})
			by := addSubkey(t, key, 0, made)
			return listed(t, key), signedTag(t, by, made.Add(hour), 0)
		}, nil, ""},
		{"subkey expired", func(t *testing.T) (string, []byte) {
			key := newKey(t, packet.Config{})
			by := addSubkey(t, key, 24*hour, made)
			return listed(t, key), signedTag(t, by, made.Add(hour), 0)
		}, ErrExpired, "was valid until 2026-01-02T00:00:00Z"},
		{"subkey of an expired key", func(t *testing.T) (string, []byte) {
			key := newKey(t, packet.Config{KeyLifetimeSecs: 86400})
			by := addSubkey(t, key, 0, made)
			return listed(t, key), signedTag(t, by, made.Add(hour), 0)
		}, ErrExpired, "was valid until 2026-01-02T00:00:00Z"},
		{"subkey not made yet", func(t *testing.T) (string, []byte) {
			key := newKey(t, packet.Config{})
			by := addSubkey(t, key, 0, seen.Add(hour))
			return listed(t, key), signedTag(t, by, seen.Add(2*hour), 0)
		}, ErrExpired, "is not valid before 2026-06-01T13:00:00Z"},
		{"subkey revoked", func(t *testing.T) (string, []byte) {
			key := newKey(t, packet.Config{})
			by := addSubkey(t, key, 0, made)
			config := &packet.Config{Time: func() time.Time { return seen.Add(hour) }}
			if err := key.Subkeys[len(key.Subkeys)-1].Revoke(packet.KeySuperseded, "", config); err != nil {
				t.Fatal(err)
			}
			return listed(t, key), signedTag(t, by, made.Add(hour), 0)
		}, ErrRevoked, ""},
		{"subkey of another key", func(t *testing.T) (string, []byte) {
			key, thief := newKey(t, packet.Config{}), newKey(t, packet.Config{})
			by := addSubkey(t, thief, 0, made)
			key.Subkeys = thief.Subkeys
			return listed(t, key), signedTag(t, by, made.Add(hour), 0)
		}, ErrBadSignature, "is not bound"},
		{"not for signing", func(t *testing.T) (string, []byte) {
			key := newKey(t, packet.Config{})
			by := addSubkey(t, key, 0, made)
			binding := key.Subkeys[len(key.Subkeys)-1].Bindings[0].Packet
			binding.FlagSign, binding.FlagEncryptCommunications, binding.EmbeddedSignature = false, true, nil
			if err := binding.SignKey(&by.PublicKey, key.PrivateKey, nil); err != nil {
				t.Fatal(err)
			}
			return listed(t, key), signedTag(t, by, made.Add(hour), 0)
		}, ErrBadSignature, "not made for signing"},
		{"dated before the key", func(t *testing.T) (string, []byte) {
			key := newKey(t, packet.Config{})
			return listed(t, key), signedTag(t, key.PrivateKey, made.Add(-hour), 0)
		}, ErrBadSignature, "before the key was made"},
		{"signature still valid", func(t *testing.T) (string, []byte) {
			key := newKey(t, packet.Config{})
			return listed(t, key), signedTag(t, key.PrivateKey, present.Add(-hour), 7200)
		}, nil, ""},
		{"signature expired", func(t *testing.T) (string, []byte) {
			key := newKey(t, packet.Config{})
			return listed(t, key), signedTag(t, key.PrivateKey, present.Add(-hour), 3599)
		}, ErrExpired, "the signature of"},
		{"weak RSA", func(t *testing.T) (string, []byte) {
			key := newKey(t, packet.Config{Algorithm: packet.PubKeyAlgoRSA, RSABits: 1024, MinRSABits: 1024})
			return listed(t, key), signedTag(t, key.PrivateKey, made.Add(hour), 0)
		}, ErrBadSignature, "too weak"},
		{"nobody confirms the user ID", func(t *testing.T) (string, []byte) {
			key, other := newKey(t, packet.Config{}), newKey(t, packet.Config{})
			for name, identity := range key.Identities {
				identity.SelfCertifications[0].Packet.EdDSASigS = other.Identities[name].SelfCertifications[0].Packet.EdDSASigS
			}
			return listed(t, key), signedTag(t, key.PrivateKey, made.Add(hour), 0)
		}, ErrBadSignature, "no valid user ID"},
	} {
		t.Run(test.name, func(t *testing.T) {
			list, raw := test.make(t)
			a := mustParse(t, list)
			if test.err != nil {
				wantNobody(t, a, raw, test.err, test.says)
				return
			}
			if who, err := a.Verify(raw, seen); err != nil || who.Kind != OpenPGP {
				t.Errorf("got %+v, %v", who, err)
			}
		})
	}
	t.Run("a keyring believes no user ID that the key did not sign", func(t *testing.T) {
		key := newKey(t, packet.Config{})
		for _, identity := range key.Identities {
			identity.UserId.Id = strings.Replace(identity.UserId.Id, "lead", "boss", 1)
		}
		wire, err := base64.StdEncoding.DecodeString(strings.Fields(listed(t, key))[2])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseKeyring([]byte(armorPGP(keyArmor, wire))); err == nil || !strings.Contains(err.Error(), "no user ID with an e-mail address") {
			t.Errorf("got %v", err)
		}
	})
}

// TestPackets is about the framing, in all its forms.
func TestPackets(t *testing.T) {
	body := bytes.Repeat([]byte{4}, 300)
	for _, test := range []struct {
		name   string
		header []byte
		length int
		ok     bool
	}{
		{"old, one byte", []byte{0x88, 20}, 20, true},
		{"old, two bytes", []byte{0x89, 1, 44}, 300, true},
		{"old, four bytes", []byte{0x8a, 0, 0, 1, 44}, 300, true},
		{"old, no length", []byte{0x8b}, 300, false},
		{"old, cut off", []byte{0x8a, 0}, 0, false},
		{"new, one byte", []byte{0xc2, 191}, 191, true},
		{"new, two bytes", []byte{0xc2, 192, 108}, 300, true},
		{"new, five bytes", []byte{0xc2, 255, 0, 0, 1, 44}, 300, true},
		{"new, in parts", []byte{0xc2, 224}, 300, false},
		{"new, no length", []byte{0xc2}, 0, false},
		{"new, two bytes cut off", []byte{0xc2, 192}, 0, false},
		{"new, five bytes cut off", []byte{0xc2, 255, 0, 0, 1}, 0, false},
		{"longer than there is", []byte{0xc2, 255, 0, 0, 1, 45}, 300, false},
		{"four gigabytes", []byte{0xc2, 255, 255, 255, 255, 255}, 300, false},
		{"no packet", []byte{0x42}, 300, false},
	} {
		packets, err := splitPackets(append(bytes.Clone(test.header), body[:test.length]...))
		if ok := err == nil && len(packets) == 1 && packets[0].tag == packetSignature && len(packets[0].body) == test.length; ok != test.ok {
			t.Errorf("%s: got %d packets, %v", test.name, len(packets), err)
		}
	}
	for _, subpackets := range [][]byte{{192}, {192, 0}, {255, 0, 0, 0}, {255, 255, 255, 255, 255}, {0}, {2, 9}, {1, 4}, {3, 4, 1, 1}, {2, 32, 4}} {
		if err := checkSubpackets(subpackets, true); err == nil {
			t.Errorf("subpackets %v are accepted", subpackets)
		}
	}
	nines := bytes.Repeat([]byte{9}, 300)
	for _, subpackets := range [][]byte{nil, {2, 4, 1}, {1, 9}, append([]byte{192, 0}, nines[:192]...), append([]byte{255, 0, 0, 1, 44}, nines...)} {
		if err := checkSubpackets(subpackets, true); err != nil {
			t.Errorf("subpackets %v: %v", subpackets, err)
		}
	}
}
