// Package cmpwire speaks the wire contract of Argo CD's config management plugins,
// version 2, on both sides.
//
// Per render, repo-server opens a stream to the plugin's unix socket and sends
// [Metadata], then the checked-out repository as a gzipped tar archive in
// chunks, then waits for one answer. [Receive] is the plugin's half: it turns
// the stream into a [Tree], a read-only file system in memory, without
// touching a disk. [Generate] and [Send] are repo-server's half, for tests and
// for a demonstration without Argo CD. Package pluginpb has the messages.
//
// What arrives is foreign: Receive verifies the checksum, bounds everything
// ([Limits]) and refuses whatever could lead out of the tree. It always reads
// the stream to its end, also when it has nothing but an error to return:
// repo-server reports a peer that answers early as a broken pipe, and the
// message would be lost.
package cmpwire
