// Package githost receives the webhooks of git hosts: GitHub, GitLab, Gitea
// and Forgejo, Bitbucket Cloud, Bitbucket Server and Data Center.
//
// A webhook is a request that a host sends after a push. A [Verifier] tells who
// sent it, whether it knows the shared secret, and which refs of which
// repository were pushed; all of this is a [Delivery]. A [Memory] tells whether
// a delivery came before.
//
// What a delivery says is a hint: that it is time to look. Nobody may take
// more from it, because hosts sign the body only, and some not even that.
//
// # What is verified
//
// GitHub, Gitea, Forgejo and both Bitbuckets sign the body with HMAC-SHA256.
// GitLab signs id, time and body where the webhook has a signing token (Standard
// Webhooks), and otherwise sends the secret itself. Every signature that a
// request carries must be right, and one of them must be of the kind that the
// host uses. GitLab's token counts only for a request that has no event of a
// host that signs, and no signature of GitLab: nobody gets in by a weaker proof
// than the one that is expected. SHA-1 is not looked at.
//
// # Memory
//
// A body has up to 25 MiB and must be read to its end before its signature can
// be told. It is not kept: it runs through the hashes and through a sieve that
// keeps the few fields that are decoded, at most 1 MiB. So a sender without the
// secret costs little memory. What was kept is decoded when the signature has
// proved right, and not before.
package githost
