package githost

import (
	"bytes"
	"fmt"
)

// Bounds of what is kept of a body.
const (
	// maxKept is enough for the names of some ten thousand refs.
	maxKept = 1 << 20
	// maxKeptDepth bounds how deeply the kept values are nested; hosts need six.
	maxKeptDepth = 32
	// maxKey is longer than every key that is wanted.
	maxKey = 16
)

// wanted are the keys whose values are kept, wherever they are.
var wanted = map[string]bool{
	"ref": true, "refs": true, "refId": true, "event_name": true,
	"push": true, "changes": true, "new": true, "old": true, "type": true, "name": true,
	"repository": true, "project": true, "key": true, "slug": true,
	"links": true, "clone": true, "html": true, "href": true,
	"clone_url": true, "ssh_url": true, "git_url": true, "html_url": true, "svn_url": true,
	"git_http_url": true, "git_ssh_url": true, "http_url": true, "web_url": true, "url": true,
}

// sieve reads a JSON document in parts and keeps it without the values of keys
// that are not wanted, which become null. The result is the document that
// decodes to the same wanted fields. It is valid if the document was; of what is
// left out only the nesting is looked at.
type sieve struct {
	kept []byte
	err  error

	objects   []bool // what the kept containers around this place are: true for {
	beforeKey bool   // the next string is a key
	inString  bool
	escaped   bool
	inKey     bool // the string is a key, and so far it reads key
	key       []byte
	unwanted  bool // the value after the colon is left out
	dropping  bool
	depth     int // of containers inside the value that is left out
}

// Write takes a part of the document. It never fails; err says at the end what
// went wrong.
func (s *sieve) Write(part []byte) (int, error) {
	for rest := part; len(rest) > 0 && s.err == nil; {
		if s.inString {
			rest = s.text(rest)
			continue
		}
		s.structure(rest[0])
		rest = rest[1:]
	}
	return len(part), nil
}

// text takes the part of a string that ends at the next byte with a meaning, and
// returns what follows.
func (s *sieve) text(rest []byte) []byte {
	n := 1
	if !s.escaped {
		n = bytes.IndexAny(rest, `"\`) + 1
		if n == 0 {
			n = len(rest)
		}
	}
	if !s.dropping {
		s.keep(rest[:n]...)
	}
	last := rest[n-1]
	ended := last == '"' && !s.escaped
	if s.inKey && !ended && len(s.key) <= maxKey {
		s.key = append(s.key, rest[:n]...)
	}
	s.escaped = last == '\\' && !s.escaped
	if ended {
		if s.inKey {
			s.key = append(s.key, rest[:n-1]...)
			s.unwanted = !wanted[string(s.key)]
		}
		s.inString, s.inKey = false, false
	}
	return rest[n:]
}

// structure takes a byte outside of strings.
func (s *sieve) structure(c byte) {
	if s.dropping {
		s.drop(c)
		if s.dropping {
			return
		}
	}
	switch c {
	case ' ', '\t', '\r', '\n':
		// One is as good as many, which an indented document has.
		if n := len(s.kept); n > 0 && s.kept[n-1] == ' ' {
			return
		}
		c = ' '
	case '"':
		s.inString, s.inKey, s.beforeKey = true, s.beforeKey, false
		s.key = s.key[:0]
	case '{', '[':
		if len(s.objects) == maxKeptDepth {
			s.err = fmt.Errorf("the values are nested more than %d deep", maxKeptDepth)
			return
		}
		s.objects = append(s.objects, c == '{')
		s.beforeKey = c == '{'
	case '}', ']':
		if len(s.objects) == 0 {
			s.err = fmt.Errorf("unexpected %c", c)
			return
		}
		s.objects = s.objects[:len(s.objects)-1]
		s.beforeKey = false
	case ',':
		s.beforeKey = len(s.objects) > 0 && s.objects[len(s.objects)-1]
	}
	s.keep(c)
	if c == ':' && s.unwanted {
		s.keep([]byte("null")...)
		s.unwanted, s.dropping, s.depth = false, true, 0
	}
}

// drop takes a byte of a value that is left out; the value ends before the comma
// or bracket that is not its own.
func (s *sieve) drop(c byte) {
	switch c {
	case '"':
		s.inString = true
	case '{', '[':
		s.depth++
	case '}', ']':
		if s.depth == 0 {
			s.dropping = false
			return
		}
		s.depth--
	case ',':
		s.dropping = s.depth > 0
	}
}

func (s *sieve) keep(part ...byte) {
	if len(s.kept)+len(part) > maxKept {
		s.err = fmt.Errorf("%w: more than %d bytes of refs and addresses", ErrTooLarge, maxKept)
		return
	}
	s.kept = append(s.kept, part...)
}
