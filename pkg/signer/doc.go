// Package signer tells who signed a git tag or commit, and whether that person
// is on a list. It needs neither git, ssh-keygen nor gpg, and no network.
//
//	allowed, err := signer.ParseAllowed(text)
//	…
//	who, err := allowed.VerifyFor(object.Data, tag.Tagger.Email, seen)
//
// # The list
//
// The list is a file in the format of OpenSSH's allowed signers (ssh-keygen(1)),
// one key a line:
//
//	# people who may approve
//	lead@shop.example namespaces="git" ssh-ed25519 AAAAC3… laptop
//	*@ops.example,!intern@ops.example valid-before="20270101Z" ssh-rsa AAAAB3…
//	qa@shop.example openpgp mDMEaVW5gBYJKwYBBAHaRw8BAQdA…
//
// The first field is a list of patterns with * and ?, an exclamation mark takes
// away. Options stand between it and the key: namespaces, valid-after and
// valid-before, their values in double quotes. A timestamp is YYYYMMDD,
// YYYYMMDDHHMM or YYYYMMDDHHMMSS, and always UTC, with or without a Z: OpenSSH
// takes the local time zone without it, and a list must not mean something else
// on each machine. A date is the beginning of that day. A key may stand on
// several lines; one line that allows is enough.
//
// The key type openpgp is ours. Behind it stands the public key as gpg exports
// it, in base64 without line breaks:
//
//	gpg --export --export-options export-minimal qa@shop.example | base64 -w0
//
// It has no namespaces, as OpenPGP has none. OpenSSH warns of such a line and
// reads on, so one file serves both. Paths of files are not accepted: who may
// write the list must not choose what is read. An armored keyring can be given
// on its own, see [ParseKeyring].
//
// SSH certificates are refused, on the list (cert-authority) and in signatures.
//
// # What is accepted
//
// SSH signatures in the namespace git, with SHA-256 or SHA-512, by Ed25519, ECDSA
// and RSA keys of at least 2048 bits, and by security keys that were touched.
// OpenPGP signatures of version 4 over the bytes as they are, with SHA-2 of at
// least 256 bits, by Ed25519, Ed448, ECDSA and RSA keys of at least 2048 bits
// that are made for signing. An object with two signatures is refused, so nobody
// has to guess which of them counts.
//
// # Which time counts
//
// Nothing in a signature proves when it was made. The tagger's date and the
// creation time in an OpenPGP signature are the claims of whoever has the key;
// with a stolen key they are the claims of a thief. So a key has to be valid at
// two moments: the one that the caller names, at best when the tag was first
// seen, and the present. An expired key signs nothing any more, whatever
// date it writes, and valid-before can be used to switch a key off. The price is
// that old tags cease to be accepted when their key expires: decide once, and
// record the decision. A revoked key is refused for all times, as no date tells
// which of its signatures were made before it got lost.
//
// # What is left to the caller
//
// A signature covers the content of the object: the id and the name in it, the
// message, the tagger. It does not cover the ref. Whoever may push can let the
// ref of another tag name a signed tag object, so compare the name in the object
// with the ref, and the id in it with what it is to be about.
package signer
