package gitrepo

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // git's object ids are SHA-1; integrity against an attacker rests on the server's transport
	"encoding/hex"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Type is an object's type as git spells it.
type Type string

// The four types of git objects.
const (
	TypeCommit Type = "commit"
	TypeTree   Type = "tree"
	TypeBlob   Type = "blob"
	TypeTag    Type = "tag"
)

// Object is one git object: its type and its content without git's header
// (https://git-scm.com/book/en/v2/Git-Internals-Git-Objects).
type Object struct {
	Type Type
	Data []byte
}

// ID computes the object's id: SHA-1 over "<type> <size>\0" and the content.
func (o Object) ID() Hash {
	h := sha1.New()                                         //nolint:gosec // see the import
	_, _ = fmt.Fprintf(h, "%s %d\x00", o.Type, len(o.Data)) // a hash never fails
	h.Write(o.Data)
	return Hash(hex.EncodeToString(h.Sum(nil)))
}

// NewBlob makes the blob object of a file's content.
func NewBlob(content []byte) Object { return Object{Type: TypeBlob, Data: content} }

// Mode is a tree entry's mode as git writes it.
type Mode string

// The modes of git trees.
const (
	ModeFile       Mode = "100644"
	ModeExecutable Mode = "100755"
	ModeSymlink    Mode = "120000"
	ModeDir        Mode = "40000"
	ModeSubmodule  Mode = "160000"
)

// Entry is one line of a tree.
type Entry struct {
	Name string
	Mode Mode
	ID   Hash
}

// Tree is a directory: its entries in git's order.
type Tree []Entry

// Find returns the entry of that name.
func (t Tree) Find(name string) (Entry, bool) {
	for _, e := range t {
		if e.Name == name {
			return e, true
		}
	}
	return Entry{}, false
}

// With returns a copy of the tree in which the entry replaces the one of the
// same name, or is added.
func (t Tree) With(entry Entry) Tree {
	out := make(Tree, 0, len(t)+1)
	for _, e := range t {
		if e.Name != entry.Name {
			out = append(out, e)
		}
	}
	return append(out, entry)
}

// NewTree makes the tree object of entries; it sorts them as git does, where a
// directory's name counts as if it ended in a slash.
func NewTree(entries Tree) (Object, error) {
	sorted := append(Tree(nil), entries...)
	seen := make(map[string]bool, len(entries))
	key := func(e Entry) string {
		if e.Mode == ModeDir {
			return e.Name + "/"
		}
		return e.Name
	}
	sort.Slice(sorted, func(i, j int) bool { return key(sorted[i]) < key(sorted[j]) })
	var b bytes.Buffer
	for _, e := range sorted {
		id, err := hex.DecodeString(string(e.ID))
		if err != nil || len(id) != sha1.Size {
			return Object{}, fmt.Errorf("tree entry %q: bad object id %q", e.Name, e.ID)
		}
		if err := checkEntryName(e.Name); err != nil {
			return Object{}, err
		}
		if seen[e.Name] {
			return Object{}, fmt.Errorf("tree entry %q: there twice", e.Name)
		}
		seen[e.Name] = true
		fmt.Fprintf(&b, "%s %s\x00", e.Mode, e.Name)
		b.Write(id)
	}
	return Object{Type: TypeTree, Data: b.Bytes()}, nil
}

// checkEntryName refuses the names that git itself never checks out because
// they would leave the directory or reach into a repository.
func checkEntryName(name string) error {
	switch {
	case name == "", name == ".", name == "..", name == ".git", strings.ContainsAny(name, "/\x00"):
		return fmt.Errorf("tree entry %q: bad name", name)
	}
	return nil
}

// ParseTree decodes a tree object. Entry names are checked, so a path made of
// them stays below the tree's root; modes lose the leading zero that some old
// tools wrote.
func ParseTree(o Object) (Tree, error) {
	if o.Type != TypeTree {
		return nil, fmt.Errorf("object is a %s, not a tree", o.Type)
	}
	var tree Tree
	for data := o.Data; len(data) > 0; {
		header, rest, ok := bytes.Cut(data, []byte{0})
		mode, name, ok2 := strings.Cut(string(header), " ")
		if !ok || !ok2 || len(rest) < sha1.Size {
			return nil, errors.New("malformed tree object")
		}
		if err := checkEntryName(name); err != nil {
			return nil, fmt.Errorf("malformed tree object: %w", err)
		}
		tree = append(tree, Entry{Name: name, Mode: Mode(strings.TrimLeft(mode, "0")), ID: Hash(hex.EncodeToString(rest[:sha1.Size]))})
		data = rest[sha1.Size:]
	}
	return tree, nil
}

// Signature says who did something and when. The time's zone is kept.
type Signature struct {
	Name  string
	Email string
	When  time.Time
}

// signable leaves out what a name or an address cannot hold.
var signable = strings.NewReplacer("<", "", ">", "", "\n", " ", "\x00", "")

func (s Signature) String() string {
	return fmt.Sprintf("%s <%s> %d %s", signable.Replace(s.Name), signable.Replace(s.Email), s.When.Unix(), s.When.Format("-0700"))
}

func parseSignature(line string) (Signature, error) {
	open, end := strings.IndexByte(line, '<'), strings.LastIndexByte(line, '>')
	if open < 0 || end < open {
		return Signature{}, fmt.Errorf("malformed signature line %q", line)
	}
	s := Signature{Name: strings.TrimSpace(line[:open]), Email: line[open+1 : end]}
	fields := strings.Fields(line[end+1:])
	if len(fields) != 2 {
		return Signature{}, fmt.Errorf("malformed signature line %q", line)
	}
	seconds, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return Signature{}, fmt.Errorf("malformed signature line %q", line)
	}
	zone, err := time.Parse("-0700", fields[1])
	if err != nil {
		// Some old commits carry impossible zones; the instant is what counts.
		s.When = time.Unix(seconds, 0).UTC()
		return s, nil //nolint:nilerr // deliberate, see above
	}
	// time.Parse gives the machine's own location where the offset matches it,
	// which would print differently elsewhere.
	_, offset := zone.Zone()
	s.When = time.Unix(seconds, 0).In(time.FixedZone("", offset))
	return s, nil
}

// Commit is a commit object, decoded.
type Commit struct {
	Tree      Hash
	Parents   []Hash
	Author    Signature
	Committer Signature
	// GPGSig is the signature block (PGP or SSH) without git's line folding; empty when unsigned.
	GPGSig  string
	Message string
}

// NewCommit makes the commit object. Headers other than those of [Commit] are
// not written, so a decoded foreign commit must not be encoded again.
func NewCommit(c Commit) Object {
	var b bytes.Buffer
	fmt.Fprintf(&b, "tree %s\n", c.Tree)
	for _, p := range c.Parents {
		fmt.Fprintf(&b, "parent %s\n", p)
	}
	fmt.Fprintf(&b, "author %s\ncommitter %s\n", c.Author, c.Committer)
	if c.GPGSig != "" {
		fmt.Fprintf(&b, "gpgsig %s\n", strings.ReplaceAll(strings.TrimSuffix(c.GPGSig, "\n"), "\n", "\n "))
	}
	fmt.Fprintf(&b, "\n%s", c.Message)
	return Object{Type: TypeCommit, Data: b.Bytes()}
}

// Tag is an annotated tag object, decoded.
type Tag struct {
	Object  Hash
	Type    Type
	Name    string
	Tagger  Signature
	Message string
}

// NewTag makes the tag object.
func NewTag(t Tag) Object {
	return Object{Type: TypeTag, Data: fmt.Appendf(nil, "object %s\ntype %s\ntag %s\ntagger %s\n\n%s",
		t.Object, t.Type, t.Name, t.Tagger, t.Message)}
}

// headers splits an object into its header lines, folded lines joined by
// newlines, and its message.
func headers(data []byte, each func(key, value string) error) (message string, err error) {
	head, body, _ := strings.Cut(string(data), "\n\n")
	key, value := "", ""
	flush := func() error {
		if key == "" {
			return nil
		}
		return each(key, value)
	}
	for line := range strings.SplitSeq(head, "\n") {
		if folded, ok := strings.CutPrefix(line, " "); ok {
			value += "\n" + folded
			continue
		}
		if err := flush(); err != nil {
			return "", err
		}
		key, value, _ = strings.Cut(line, " ")
	}
	return body, flush()
}

// ParseCommit decodes a commit object. The ids in it are well-formed.
func ParseCommit(o Object) (Commit, error) {
	var c Commit
	if o.Type != TypeCommit {
		return c, fmt.Errorf("object is a %s, not a commit", o.Type)
	}
	var err error
	c.Message, err = headers(o.Data, func(key, value string) (err error) {
		switch key {
		case "tree":
			c.Tree = Hash(value)
		case "parent":
			c.Parents = append(c.Parents, Hash(value))
		case "author":
			c.Author, err = parseSignature(value)
		case "committer":
			c.Committer, err = parseSignature(value)
		case "gpgsig":
			c.GPGSig = value
		}
		return err
	})
	if err == nil && !c.Tree.Valid() {
		err = fmt.Errorf("malformed commit object: tree %q", c.Tree)
	}
	for _, p := range c.Parents {
		if err == nil && !p.Valid() {
			err = fmt.Errorf("malformed commit object: parent %q", p)
		}
	}
	return c, err
}

// ParseTag decodes an annotated tag object. The id in it is well-formed.
func ParseTag(o Object) (Tag, error) {
	var t Tag
	if o.Type != TypeTag {
		return t, fmt.Errorf("object is a %s, not a tag", o.Type)
	}
	var err error
	t.Message, err = headers(o.Data, func(key, value string) (err error) {
		switch key {
		case "object":
			t.Object = Hash(value)
		case "type":
			t.Type = Type(value)
		case "tag":
			t.Name = value
		case "tagger":
			t.Tagger, err = parseSignature(value)
		}
		return err
	})
	if err == nil && !t.Object.Valid() {
		err = fmt.Errorf("malformed tag object: object %q", t.Object)
	}
	return t, err
}

// ReadCommit reads and decodes a commit that was fetched.
func ReadCommit(r Objects, id Hash) (Commit, error) {
	o, err := r.Object(id)
	if err != nil {
		return Commit{}, err
	}
	return ParseCommit(o)
}

// ReadTree reads and decodes a tree that was fetched.
func ReadTree(r Objects, id Hash) (Tree, error) {
	o, err := r.Object(id)
	if err != nil {
		return nil, err
	}
	return ParseTree(o)
}

// ReadTag reads and decodes an annotated tag that was fetched.
func ReadTag(r Objects, id Hash) (Tag, error) {
	o, err := r.Object(id)
	if err != nil {
		return Tag{}, err
	}
	return ParseTag(o)
}

// With presents a repository together with objects that were built and not
// pushed.
func With(r Objects, objects ...Object) Objects {
	own := make(map[Hash]Object, len(objects))
	for _, o := range objects {
		own[o.ID()] = o
	}
	return overlay{r, own}
}

type overlay struct {
	Objects
	own map[Hash]Object
}

func (o overlay) Object(id Hash) (Object, error) {
	if object, ok := o.own[id]; ok {
		return object, nil
	}
	return o.Objects.Object(id)
}
