package githost

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// tolerance is how far the time that a host signed may be from ours, both ways.
const tolerance = 5 * time.Minute

// maxSigned bounds the signatures of one request that are compared.
const maxSigned = 8

// proof is what a request offers to be verified by.
type proof struct {
	// body are signatures of the body; all of them must be right.
	body [][]byte
	// signed are signatures of prefix and body, by the keys that a host has at a
	// time; one of them must be right.
	signed [][]byte
	prefix string
	// token is the secret itself. It is empty where there is a better proof.
	token string
}

// bodySignatures are the headers that sign the body alone.
var bodySignatures = []struct {
	name, prefix string
	hosts        []Host // those who must send it, or another one
}{
	{"X-Hub-Signature-256", "sha256=", []Host{GitHub}},
	{"X-Gitea-Signature", "", []Host{Gitea}},
	{"X-Forgejo-Signature", "", []Host{Gitea}},
	{"X-Hub-Signature", "sha256=", []Host{BitbucketCloud, BitbucketServer}},
}

// offered reads the proof from the headers; an error says what is missing.
func offered(host Host, header http.Header, now time.Time) (proof, error) {
	var p proof
	proper := false // there is a proof of the kind that the host uses
	for _, s := range bodySignatures {
		value, err := single(header, s.name)
		if err != nil {
			return proof{}, err
		}
		encoded, ok := strings.CutPrefix(value, s.prefix)
		switch {
		case encoded == "": // Gitea without a secret sends no more than the prefix
			continue
		case !ok && strings.HasPrefix(value, "sha1="): // GitHub's and Gitea's old one, beside the new
			continue
		}
		signature, err := hex.DecodeString(encoded)
		if !ok || err != nil || len(signature) != sha256.Size {
			return proof{}, fmt.Errorf("the header %s is not %s<HMAC-SHA256 in hexadecimal>", s.name, s.prefix)
		}
		p.body = append(p.body, signature)
		proper = proper || slices.Contains(s.hosts, host)
	}
	if len(header.Values("Webhook-Signature")) > 0 {
		if err := p.standard(header, now); err != nil {
			return proof{}, err
		}
		proper = proper || host == GitLab
	}
	if host == GitLab && !proper {
		token, err := single(header, "X-Gitlab-Token")
		if err != nil {
			return proof{}, err
		}
		p.token, proper = token, token != ""
	}
	if !proper {
		return proof{}, fmt.Errorf("the request is not signed: it has no header %s", expected(host))
	}
	return p, nil
}

// expected names the header of a host that was missed.
func expected(host Host) string {
	switch host {
	case GitHub:
		return "X-Hub-Signature-256"
	case Gitea:
		return "X-Gitea-Signature"
	case GitLab:
		return "X-Gitlab-Token or webhook-signature"
	}
	return "X-Hub-Signature with sha256"
}

// single is the value of a header that must not be there twice: it would be
// open which of them counts.
func single(header http.Header, name string) (string, error) {
	if len(header.Values(name)) > 1 {
		return "", fmt.Errorf("the header %s is there more than once", name)
	}
	return header.Get(name), nil
}

// standard reads the headers of Standard Webhooks.
func (p *proof) standard(header http.Header, now time.Time) error {
	var values [3]string
	for i, name := range []string{"webhook-id", "webhook-timestamp", "webhook-signature"} {
		value, err := single(header, name)
		if err != nil {
			return err
		}
		if value == "" {
			return fmt.Errorf("the request is not signed: it has no header %s", name)
		}
		values[i] = value
	}
	seconds, err := strconv.ParseInt(values[1], 10, 64)
	if err != nil {
		return fmt.Errorf("the header webhook-timestamp is not a number of seconds")
	}
	if away := now.Sub(time.Unix(seconds, 0)).Abs(); away > tolerance {
		return fmt.Errorf("the request was signed more than %s away from now: an old request, or the clock of one of us is wrong", tolerance)
	}
	for one := range strings.FieldsSeq(values[2]) {
		encoded, ok := strings.CutPrefix(one, "v1,")
		signature, err := base64.StdEncoding.DecodeString(encoded)
		if ok && err == nil && len(signature) == sha256.Size && len(p.signed) < maxSigned {
			p.signed = append(p.signed, signature) // other versions are for others
		}
	}
	if len(p.signed) == 0 {
		return fmt.Errorf("the header webhook-signature is not v1,<HMAC-SHA256 in base64>")
	}
	p.prefix = values[0] + "." + values[1] + "."
	return nil
}

// check hashes a body with every key that may have signed it.
type check struct {
	proof  proof
	body   []hash.Hash
	signed []hash.Hash
}

func newCheck(p proof, k keys) *check {
	c := &check{proof: p}
	if len(p.body) > 0 {
		for _, key := range k.plain {
			c.body = append(c.body, hmac.New(sha256.New, key))
		}
	}
	if len(p.signed) > 0 {
		// A signing token that does not have the usual form is its own key.
		for _, key := range slices.Concat(k.signing, k.plain) {
			mac := hmac.New(sha256.New, key)
			_, _ = mac.Write([]byte(p.prefix)) // a hash returns no error
			c.signed = append(c.signed, mac)
		}
	}
	return c
}

// Write takes a part of the body. It never fails.
func (c *check) Write(part []byte) (int, error) {
	for _, mac := range c.body {
		_, _ = mac.Write(part)
	}
	for _, mac := range c.signed {
		_, _ = mac.Write(part)
	}
	return len(part), nil
}

// right reports, after the whole body, whether the signatures are.
func (c *check) right() bool {
	for _, signature := range c.proof.body {
		if !made(signature, c.body) {
			return false
		}
	}
	if len(c.proof.signed) == 0 {
		return true
	}
	right := false
	for _, signature := range c.proof.signed {
		right = made(signature, c.signed) || right
	}
	return right
}

// made reports whether one of the keys made a signature. Its time does not
// depend on which.
func made(signature []byte, macs []hash.Hash) bool {
	match := false
	for _, mac := range macs {
		match = hmac.Equal(signature, mac.Sum(nil)) || match
	}
	return match
}
