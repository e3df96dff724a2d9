package remote

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/storer"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

// staging receives the objects of one pack. Nothing reaches the store before
// the whole pack has been read. It implements the storer that go-git's parser
// and encoder want, as far as they use it.
type staging struct {
	base    *gitrepo.Store // answers for deltas against objects outside the pack
	left    int64          // bytes that may still be unpacked
	objects map[plumbing.Hash]gitrepo.Object
}

var _ storer.EncodedObjectStorer = (*staging)(nil)

// unpack reads a pack and returns its objects. Both its size on the wire and
// the sum of its unpacked objects are bounded by maxBytes. A panic of the
// parser, which reads foreign bytes, is an error of this fetch alone.
func unpack(r io.Reader, base *gitrepo.Store, maxBytes int64) (objects []gitrepo.Object, err error) {
	defer func() {
		if p := recover(); p != nil {
			objects, err = nil, fmt.Errorf("unreadable pack: %v", p)
		}
	}()
	s := &staging{base: base, left: maxBytes, objects: map[plumbing.Hash]gitrepo.Object{}}
	parser, err := packfile.NewParserWithStorage(packfile.NewScanner(limit(r, maxBytes)), s)
	if err != nil {
		return nil, err
	}
	if _, err := parser.Parse(); err != nil {
		return nil, err
	}
	objects = make([]gitrepo.Object, 0, len(s.objects))
	for _, o := range s.objects {
		objects = append(objects, o)
	}
	return objects, nil
}

// pack encodes objects without deltas: a push of ours is small, and packing
// must not depend on what go-git finds similar.
func pack(objects []gitrepo.Object) ([]byte, error) {
	s := &staging{objects: map[plumbing.Hash]gitrepo.Object{}}
	var ids []plumbing.Hash
	for _, o := range objects {
		id := plumbing.NewHash(string(o.ID()))
		if _, ok := s.objects[id]; !ok {
			s.objects[id] = o
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b plumbing.Hash) int { return bytes.Compare(a[:], b[:]) })
	var b bytes.Buffer
	if _, err := packfile.NewEncoder(&b, s, false).Encode(ids, 0); err != nil {
		return nil, fmt.Errorf("pack %d objects: %w", len(ids), err)
	}
	return b.Bytes(), nil
}

func (s *staging) NewEncodedObject() plumbing.EncodedObject { return &plumbing.MemoryObject{} }

func (s *staging) SetEncodedObject(o plumbing.EncodedObject) (plumbing.Hash, error) {
	if s.left -= o.Size(); s.left < 0 {
		return plumbing.ZeroHash, errTooLarge
	}
	r, err := o.Reader()
	if err != nil {
		return plumbing.ZeroHash, err
	}
	data := make([]byte, o.Size()) // it is kept, so not a byte more
	if _, err := io.ReadFull(r, data); err != nil {
		return plumbing.ZeroHash, err
	}
	object := gitrepo.Object{Type: gitrepo.Type(o.Type().String()), Data: data}
	id := plumbing.NewHash(string(object.ID()))
	s.objects[id] = object
	return id, nil
}

func (s *staging) EncodedObject(want plumbing.ObjectType, id plumbing.Hash) (plumbing.EncodedObject, error) {
	object, ok := s.objects[id]
	if !ok && s.base != nil {
		var err error
		object, err = s.base.Object(gitrepo.Hash(id.String()))
		ok = err == nil
	}
	if !ok {
		return nil, plumbing.ErrObjectNotFound
	}
	kind, err := plumbing.ParseObjectType(string(object.Type))
	if err != nil {
		return nil, err
	}
	if want != plumbing.AnyObject && want != kind {
		return nil, plumbing.ErrObjectNotFound
	}
	o := &plumbing.MemoryObject{}
	o.SetType(kind)
	_, err = o.Write(object.Data)
	return o, err
}

func (s *staging) HasEncodedObject(id plumbing.Hash) error {
	_, err := s.EncodedObject(plumbing.AnyObject, id)
	return err
}

func (s *staging) EncodedObjectSize(id plumbing.Hash) (int64, error) {
	o, err := s.EncodedObject(plumbing.AnyObject, id)
	if err != nil {
		return 0, err
	}
	return o.Size(), nil
}

func (s *staging) IterEncodedObjects(plumbing.ObjectType) (storer.EncodedObjectIter, error) {
	return nil, errors.ErrUnsupported
}

func (s *staging) AddAlternate(string) error { return errors.ErrUnsupported }
