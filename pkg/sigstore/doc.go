// Package sigstore verifies signatures of images as cosign makes them, with what
// it is handed and nothing else: it makes no connection and reads no file.
//
//	policy, err := sigstore.Keys(pem)
//	…
//	who, err := policy.VerifyBundle(bundle, digest)
//
// # What is understood
//
// A signature is either a layer of an image sha256-<digest>.sig, which is a
// payload of "simple signing" with the signature in an annotation
// ([Policy.VerifySimple]), or a bundle of Sigstore, a referrer of the type
// [BundleType] ([Policy.VerifyBundle]). In a bundle it is a statement of in-toto
// with the predicate https://sigstore.dev/cosign/sign/v1, or a signature of the
// image's manifest itself. Any other statement, such as a list of contents or how
// something was built, is no signature of the image, even by the same key.
//
// # Whose signatures count
//
// With [Keys] those of a public key: ECDSA on P-256, P-384 or P-521, RSA of at
// least 2048 bits with PKCS #1 v1.5, Ed25519. Whether a log knows of them is not
// asked.
//
// With [Keyless] those of a certificate that was issued to an identity. What is
// verified then: that the signature is of the certificate's key; that the
// certificate leads to a certificate authority of the trusted root, as of the
// time of signing; that issuer and subject are wanted; and that time, by an entry
// in a transparency log whose key the trusted root has and which is about this
// signature and certificate. Time and entry are proven by the log's signature of
// them (the signed entry timestamp of Rekor v1).
//
// What is not verified: the certificate's own entry in a certificate transparency
// log (SCT), and that the entry is included in a tree that others see. Both tell
// whether a log or an authority cheats, which somebody has to watch all the same.
// Signatures whose only proof of time is a time-stamp of RFC 3161, as with Rekor
// v2, are refused.
package sigstore

import "errors"

// Bounds of what strangers may hand over.
const (
	// MaxSize of a bundle or payload, in bytes. A bundle with a chain of
	// certificates and an entry of a log has about ten thousand.
	MaxSize = 1 << 20

	maxKeyFile    = 64 << 10
	maxKeys       = 64
	maxRootFile   = 4 << 20
	maxEntries    = 8
	maxSubjects   = 64
	maxIdentities = 64
)

// The types of artifacts that are signatures.
const (
	// BundleType begins the artifact type of bundles; versions follow.
	BundleType = "application/vnd.dev.sigstore.bundle"
	// SimpleType is the media type of a layer with a payload of simple signing.
	SimpleType = "application/vnd.dev.cosign.simplesigning.v1+json"
	// SimpleArtifactType is the artifact type of an image with such layers, when
	// it is a referrer.
	SimpleArtifactType = "application/vnd.dev.cosign.artifact.sig.v1+json"
)

// ErrNotSignature: it is something else about the image, and says nothing about
// whether the image is signed.
var ErrNotSignature = errors.New("no signature of the image")
