package cmpwire

import (
	"cmp"
	"errors"
)

// Why a repository was not accepted; the errors of Receive and ReadArchive
// wrap one of them, unless the stream itself broke.
var (
	// ErrTooLarge: a limit was exceeded.
	ErrTooLarge = errors.New("the repository is too large")
	// ErrUnsafe: an entry would leave the tree, or is of a kind that has no
	// business in a repository.
	ErrUnsafe = errors.New("unsafe archive")
	// ErrMalformed: not a gzipped tar archive, or a broken one.
	ErrMalformed = errors.New("malformed archive")
	// ErrChecksum: what arrived is not what the metadata announced.
	ErrChecksum = errors.New("checksum mismatch")
)

// Limits bound what a received repository may cost. Zero fields mean the
// defaults.
type Limits struct {
	// Compressed bounds the archive as it travels, in bytes. Default: 512 MiB.
	Compressed int64
	// Extracted bounds the archive after decompression, in bytes, including
	// what is not kept: .git travels too unless repo-server excludes it.
	// Default: 4 GiB.
	Extracted int64
	// Kept bounds the memory of the tree, in bytes. Default: 256 MiB.
	Kept int64
	// Entries bounds files, directories and links, including those that are
	// not kept. Default: 500 000.
	Entries int
	// PathLength bounds the path of an entry, in bytes. Default: 1024.
	PathLength int
	// Keep says which paths the tree needs, nil means all. It sees clean
	// relative paths of files and links; .git is left out anyway.
	Keep func(path string) bool
}

const mib = 1 << 20

// withDefaults fills in the zero fields.
func (l Limits) withDefaults() Limits {
	l.Compressed = cmp.Or(l.Compressed, 512*mib)
	l.Extracted = cmp.Or(l.Extracted, 4096*mib)
	l.Kept = cmp.Or(l.Kept, 256*mib)
	l.Entries = cmp.Or(l.Entries, 500_000)
	l.PathLength = cmp.Or(l.PathLength, 1024)
	return l
}
