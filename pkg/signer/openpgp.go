package signer

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	openpgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// openpgpHashes are those that are accepted of signatures of tags.
var openpgpHashes = []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512}

// openpgpConfig is what the library demands of keys, beyond its defaults: no DSA,
// no MD5.
func openpgpConfig() *packet.Config { return &packet.Config{MinRSABits: minRSABits} }

// readKey decodes one key. What the library remembers in a key depends on the time
// it was asked about, and is not guarded, so each verification reads its own.
func readKey(data []byte) (key *openpgp.Entity, err error) {
	defer contain(&err, errUndecodable)
	keys, err := openpgp.ReadKeyRing(bytes.NewReader(data))
	switch {
	case err != nil:
		return nil, foreign(err)
	case len(keys) != 1:
		return nil, errUndecodable
	}
	return keys[0], nil
}

// openpgpEntry makes an entry of one key, without its principals.
func openpgpEntry(data []byte) (e entry, key *openpgp.Entity, err error) {
	defer contain(&err, errUndecodable)
	if key, err = readKey(data); err != nil {
		return entry{}, nil, err
	}
	e = entry{kind: OpenPGP, key: data, fingerprint: fmt.Sprintf("%X", key.PrimaryKey.Fingerprint), ids: []uint64{key.PrimaryKey.KeyId}}
	understood := len(key.Revocations)
	for _, subkey := range key.Subkeys {
		e.ids = append(e.ids, subkey.PublicKey.KeyId)
		understood += len(subkey.Revocations)
	}
	revocations, err := countRevocations(data)
	switch {
	case err != nil:
		return entry{}, nil, err
	case revocations != understood:
		return entry{}, nil, fmt.Errorf("key %s has a revocation that cannot be read", e.fingerprint)
	}
	return e, key, nil
}

// emails are the addresses in a key's user IDs that the key itself confirms, fit
// for a pattern list. An address that would be a pattern is none.
func emails(key *openpgp.Entity) (found []string, err error) {
	defer contain(&err, errUndecodable)
	for _, identity := range key.Identities {
		if _, err := identity.Verify(time.Time{}, openpgpConfig()); err != nil {
			continue
		}
		email := identity.UserId.Email
		if !strings.Contains(identity.Name, "<") {
			email = identity.Name
		}
		if strings.Contains(email, "@") && !strings.ContainsAny(email, "*?!,\"<> ") && printable(email) {
			found = append(found, email)
		}
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// verifyOpenPGP returns the line that allows.
func (a *Allowed) verifyOpenPGP(armored []byte, q question) (entry, error) {
	signature, err := parseOpenPGP(armored)
	if err != nil {
		return entry{}, err
	}
	id := *signature.IssuerKeyId
	lines := a.of(func(e entry) bool { return slices.Contains(e.ids, id) })
	if len(lines) == 0 {
		if len(signature.IssuerFingerprint) > 0 {
			return entry{}, fmt.Errorf("%w: %X", ErrUnknownKey, signature.IssuerFingerprint)
		}
		return entry{}, fmt.Errorf("%w: key id %016X", ErrUnknownKey, id)
	}
	// Two keys may have the same id, and two lines the same key: perhaps an old
	// copy that does not know yet that it was revoked, or that it lives longer.
	var genuine []entry
	var forged, refused error
	for _, e := range lines {
		key, by, err := signedBy(e, signature, q.payload)
		if err != nil {
			forged = err
			continue
		}
		switch err := checkKey(key, by, signature, q); {
		case errors.Is(err, ErrRevoked):
			return entry{}, err
		case err != nil:
			refused = err
		default:
			genuine = append(genuine, e)
		}
	}
	switch {
	case len(genuine) > 0:
		return choose(genuine, q)
	case refused != nil:
		return entry{}, refused
	}
	return entry{}, forged
}

// parseOpenPGP decodes a signature and refuses weak ones. It names its key.
func parseOpenPGP(armored []byte) (s *packet.Signature, err error) {
	defer contain(&err, ErrBadSignature)
	body, err := dearmorOne(armored, openpgpArmor)
	if err != nil {
		return nil, err
	}
	packets, err := splitPackets(body)
	switch {
	case err != nil:
		return nil, bad("%w", err)
	case len(packets) != 1 || packets[0].tag != packetSignature:
		return nil, bad("there must be one OpenPGP signature in the armor, and nothing else")
	}
	if err := checkSignaturePacket(packets[0].body, false); err != nil {
		return nil, bad("%w", err)
	}
	decoded, err := packet.Read(bytes.NewReader(packets[0].raw))
	if err != nil {
		return nil, bad("%w", foreign(err))
	}
	s, ok := decoded.(*packet.Signature)
	switch {
	case !ok || s.IssuerKeyId == nil:
		return nil, bad("the OpenPGP signature does not name its key")
	case s.SigType != packet.SigTypeBinary:
		return nil, bad("OpenPGP signatures of type %d are not of tags and commits", s.SigType)
	case !slices.Contains(openpgpHashes, s.Hash):
		return nil, bad("the hash %s is not accepted", s.Hash)
	}
	for _, notation := range s.Notations {
		if notation.IsCritical {
			return nil, bad("it has the critical notation %s, which is not known", quote(notation.Name))
		}
	}
	return s, nil
}

// signedBy finds the key or subkey that made a signature. By is nil when it was
// the primary key.
func signedBy(e entry, s *packet.Signature, payload []byte) (key *openpgp.Entity, by *openpgp.Subkey, err error) {
	defer contain(&err, ErrBadSignature)
	if key, err = readKey(e.key); err != nil {
		return nil, nil, bad("%w", err)
	}
	err = bad("key %s did not sign this", e.fingerprint)
	try := func(pub *packet.PublicKey) bool {
		if pub.KeyId != *s.IssuerKeyId {
			return false
		}
		h := s.Hash.New()
		h.Write(payload)
		return pub.VerifySignature(h, s) == nil
	}
	if try(key.PrimaryKey) {
		return key, nil, nil
	}
	for i := range key.Subkeys {
		if try(key.Subkeys[i].PublicKey) {
			return key, &key.Subkeys[i], nil
		}
	}
	return nil, nil, err
}

// checkKey judges a key, and the subkey that signed if there is one, at both
// moments, and the dates in the signature itself.
func checkKey(key *openpgp.Entity, by *openpgp.Subkey, s *packet.Signature, q question) (err error) {
	defer contain(&err, ErrBadSignature)
	name, config := fmt.Sprintf("%X", key.PrimaryKey.Fingerprint), openpgpConfig()
	// A revocation that cannot be verified may come from somebody whom the key
	// appointed; it counts as well.
	if len(key.Revocations) > 0 || by != nil && len(by.Revocations) > 0 {
		return fmt.Errorf("%w: %s", ErrRevoked, name)
	}
	pub := key.PrimaryKey
	if err := checkSpan(name, pub.CreationTime, time.Time{}, q); err != nil {
		return err
	}
	self, err := key.VerifyPrimaryKey(q.later, config)
	switch {
	case self != nil && errors.Is(err, openpgperrors.ErrKeyExpired):
		if err := checkSpan(name, time.Time{}, expiry(pub, self), q); err != nil {
			return err
		}
		return fmt.Errorf("%w: %s has expired at %s", ErrExpired, name, moment(q.later))
	case err != nil:
		return bad("%s has no valid user ID at %s: %w", name, moment(q.later), foreign(err))
	}
	if by != nil {
		pub = by.PublicKey
		name = fmt.Sprintf("subkey %X of %s", pub.Fingerprint, name)
		if err := checkSpan(name, pub.CreationTime, time.Time{}, q); err != nil {
			return err
		}
		binding, err := by.LatestValidBindingSignature(q.later, config)
		if err != nil {
			return bad("%s is not bound to it at %s: %w", name, moment(q.later), foreign(err))
		}
		if err := checkSpan(name, time.Time{}, expiry(pub, binding), q); err != nil {
			return err
		}
	}
	if used, ok := key.SigningKeyById(q.later, pub.KeyId, config); !ok || used.PublicKey != pub {
		return bad("%s is not made for signing, or too weak", name)
	}
	made := "the signature of " + name
	switch {
	case s.CreationTime.After(q.now):
		return fmt.Errorf("%w: %s is dated %s, which is in the future; is a clock wrong?", ErrExpired, made, moment(s.CreationTime))
	case s.CreationTime.Before(pub.CreationTime):
		return bad("%s is dated %s, before the key was made", made, moment(s.CreationTime))
	case s.SigLifetimeSecs != nil && *s.SigLifetimeSecs > 0:
		return checkSpan(made, time.Time{}, s.CreationTime.Add(seconds(*s.SigLifetimeSecs)), q)
	}
	return nil
}

// expiry is zero for a key without one.
func expiry(pub *packet.PublicKey, self *packet.Signature) time.Time {
	if self.KeyLifetimeSecs == nil || *self.KeyLifetimeSecs == 0 {
		return time.Time{}
	}
	return pub.CreationTime.Add(seconds(*self.KeyLifetimeSecs))
}

func seconds(n uint32) time.Duration { return time.Duration(n) * time.Second }
