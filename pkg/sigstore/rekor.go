package sigstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// entry is an entry of a transparency log (Rekor) as a signature brings it.
type entry struct {
	// body is the entry itself, in JSON.
	body []byte
	// time is when the log took it, in seconds since 1970.
	time  int64
	index int64
	// log is the log's id.
	log []byte
	// promise is the log's signature of all of that.
	promise []byte
}

// simpleEntry reads an entry as older versions of cosign write it.
func simpleEntry(text []byte) (entry, error) {
	if len(text) > MaxSize {
		return entry{}, fmt.Errorf("it is larger than %d bytes", MaxSize)
	}
	var raw struct {
		Promise encoded `json:"SignedEntryTimestamp"`
		Payload struct {
			Body  encoded `json:"body"`
			Time  int64   `json:"integratedTime"`
			Index int64   `json:"logIndex"`
			Log   string  `json:"logID"`
		} `json:"Payload"`
	}
	if err := decode(text, &raw); err != nil {
		return entry{}, err
	}
	id, err := hex.DecodeString(raw.Payload.Log)
	if err != nil {
		return entry{}, errors.New("its log has no id")
	}
	return entry{body: raw.Payload.Body, time: raw.Payload.Time, index: raw.Payload.Index, log: id, promise: raw.Promise}, nil
}

// signedAt proves when the log took the entry.
func (r *trustedRoot) signedAt(e entry) (time.Time, error) {
	if len(e.promise) == 0 {
		return time.Time{}, errors.New("the log has not signed when it took the entry")
	}
	// The same fields in the order of their names, without blanks (RFC 8785).
	message := fmt.Appendf(nil, `{"body":%q,"integratedTime":%d,"logID":%q,"logIndex":%d}`,
		base64.StdEncoding.EncodeToString(e.body), e.time, hex.EncodeToString(e.log), e.index)
	at := time.Unix(e.time, 0).UTC()
	known := false
	for _, l := range r.logs {
		if !bytes.Equal(l.id, e.log) {
			continue
		}
		known = true
		if l.valid.covers(at) && l.key.verify(contentOf(message), e.promise) == nil {
			return at, nil
		}
	}
	if !known {
		return time.Time{}, fmt.Errorf("the trusted root has no log %.16s", hex.EncodeToString(e.log))
	}
	return time.Time{}, errors.New("the log's signature of its entry is wrong, or of a time when its key was not in use")
}

// digestInLog is a hash in hexadecimal digits.
type digestInLog struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"value"`
}

func (d digestInLog) is(sum [sha256.Size]byte) bool {
	return d.Algorithm == "sha256" && d.Value == hex.EncodeToString(sum[:])
}

// about reports why an entry is not about a signature: its kind, what was
// signed, the signature and the certificate.
func (e entry) about(s signed) error {
	var body struct {
		Kind    string          `json:"kind"`
		Version string          `json:"apiVersion"`
		Spec    json.RawMessage `json:"spec"`
	}
	if err := decode(e.body, &body); err != nil {
		return fmt.Errorf("the log's entry: %w", err)
	}
	same, err := false, error(nil)
	switch body.Kind + " " + body.Version {
	case "hashedrekord 0.0.1":
		same, err = hashedIn(body.Spec, s)
	case "dsse 0.0.1":
		same, err = envelopeIn(body.Spec, s)
	case "intoto 0.0.2":
		same, err = statementIn(body.Spec, s)
	default:
		return fmt.Errorf("the log's entry is a %.40q of version %.20q, which is not supported", body.Kind, body.Version)
	}
	if err != nil {
		return fmt.Errorf("the log's entry: %w", err)
	}
	if !same {
		return errors.New("the log's entry is about another signature")
	}
	return nil
}

func hashedIn(spec json.RawMessage, s signed) (bool, error) {
	var raw struct {
		Data struct {
			Hash digestInLog `json:"hash"`
		} `json:"data"`
		Signature struct {
			Content encoded `json:"content"`
			Key     struct {
				Content encoded `json:"content"`
			} `json:"publicKey"`
		} `json:"signature"`
	}
	err := decode(spec, &raw)
	return raw.Data.Hash.is(s.content.sha256) && s.is(raw.Signature.Content, raw.Signature.Key.Content), err
}

func envelopeIn(spec json.RawMessage, s signed) (bool, error) {
	var raw struct {
		Payload    digestInLog `json:"payloadHash"`
		Signatures []struct {
			Signature encoded `json:"signature"`
			Verifier  encoded `json:"verifier"`
		} `json:"signatures"`
	}
	err := decode(spec, &raw)
	return s.payload != nil && len(raw.Signatures) == 1 && raw.Payload.is(sha256.Sum256(s.payload)) &&
		s.is(raw.Signatures[0].Signature, raw.Signatures[0].Verifier), err
}

func statementIn(spec json.RawMessage, s signed) (bool, error) {
	var raw struct {
		Content struct {
			Envelope struct {
				Signatures []struct {
					// Signature is in base64 twice.
					Signature encoded `json:"sig"`
					Key       encoded `json:"publicKey"`
				} `json:"signatures"`
			} `json:"envelope"`
			Payload digestInLog `json:"payloadHash"`
		} `json:"content"`
	}
	if err := decode(spec, &raw); err != nil {
		return false, err
	}
	signatures := raw.Content.Envelope.Signatures
	if s.payload == nil || len(signatures) != 1 || !raw.Content.Payload.is(sha256.Sum256(s.payload)) {
		return false, nil
	}
	signature, err := unbase64(string(signatures[0].Signature))
	return s.is(signature, signatures[0].Key), err
}

// is reports whether the signature and the certificate, in PEM, are these.
func (s signed) is(signature, certificate []byte) bool {
	block, _ := pem.Decode(certificate)
	return block != nil && len(signature) > 0 && bytes.Equal(signature, s.signature) && bytes.Equal(block.Bytes, s.certificate)
}
