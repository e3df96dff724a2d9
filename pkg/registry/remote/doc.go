// Package remote is the [registry.Registry] of real registries, spoken to over
// HTTP with the credentials machinery of go-containerregistry.
//
// Requests. The registry is asked once how it authenticates, and a token is
// fetched once per repository and kind of access. Each request is repeated by
// itself when repeating can help: refused connections and resets, 408, 429 and
// 5xx, with growing, jittered waits; a Retry-After header holds back every
// request to that registry (bounded by Config.MaxWait). What still fails then is
// ErrUnreachable. 401 and 403 are ErrUnauthorized after one try with fresh
// credentials.
//
// Blobs stream: nothing is buffered beyond a copy buffer. A download that
// breaks is taken up where it broke. An upload is one POST and one PUT with a
// Content-Length; when it breaks it starts again, which is why PutBlob takes a
// function. MountBlob asks with one POST; a registry that answers 202 has opened
// an upload instead, which it discards by itself after a while.
//
// Referrers. A registry that answers a manifest with OCI-Subject, or has the
// referrers API, lists the manifest itself. Otherwise the fallback tag is read,
// extended and written here. Two processes that do so at the same moment can
// overwrite each other, so the tag is read back and the entry added again if it
// got lost.
package remote
