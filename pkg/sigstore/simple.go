package sigstore

import (
	"encoding/pem"
	"errors"
	"fmt"
)

// The annotations of a layer with a payload of simple signing (cosign,
// specs/SIGNATURE_SPEC.md).
const (
	annotationSignature   = "dev.cosignproject.cosign/signature"
	annotationCertificate = "dev.sigstore.cosign/certificate"
	annotationBundle      = "dev.sigstore.cosign/bundle"
)

// VerifySimple verifies one layer of an image sha256-<digest>.sig: the payload
// and the annotations of its descriptor. It returns who signed. The name that
// the payload gives the image is no matter, as images are mirrored.
func (p *Policy) VerifySimple(payload []byte, annotations map[string]string, digest string) (string, error) {
	if len(payload) > MaxSize {
		return "", fmt.Errorf("it is larger than %d bytes", MaxSize)
	}
	var said struct {
		Critical struct {
			Image struct {
				Digest string `json:"docker-manifest-digest"`
			} `json:"image"`
		} `json:"critical"`
	}
	if err := decode(payload, &said); err != nil {
		return "", err
	}
	s := signed{content: contentOf(payload)}
	var err error
	if s.signature, err = unbase64(annotations[annotationSignature]); err != nil || len(s.signature) == 0 {
		return "", fmt.Errorf("the annotation %s has no signature", annotationSignature)
	}
	if text := annotations[annotationCertificate]; text != "" {
		block, _ := pem.Decode([]byte(text))
		if block == nil || block.Type != "CERTIFICATE" {
			return "", fmt.Errorf("the annotation %s has no certificate", annotationCertificate)
		}
		s.certificate = block.Bytes
	}
	if text := annotations[annotationBundle]; text != "" && p.root != nil {
		one, err := simpleEntry([]byte(text))
		if err != nil {
			return "", fmt.Errorf("the annotation %s: %w", annotationBundle, err)
		}
		s.entries = []entry{one}
	}
	who, err := p.verify(s)
	if err != nil {
		return "", err
	}
	if said.Critical.Image.Digest != digest {
		return "", errOtherImage
	}
	return who, nil
}

var errOtherImage = errors.New("it is the signature of another image")
