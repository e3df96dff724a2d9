package registry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"sync"
)

// Memory is a registry in memory that behaves like a strict real one: content
// is checked, a manifest needs its blobs and children, and blobs are visible
// per repository. It is for tests and dry runs.
type Memory struct {
	name string

	mu           sync.Mutex // guards the rest
	repositories map[string]*memoryRepository
	noReferrers  bool
	noMounts     bool
}

type memoryRepository struct {
	manifests map[string]Manifest
	blobs     map[string][]byte
	tags      map[string]string
}

var (
	_ Registry      = (*Memory)(nil)
	_ ReferrersAPI  = (*Memory)(nil)
	_ SourceMounter = (*Memory)(nil)
)

// NewMemory returns an empty registry whose Name is name.
func NewMemory(name string) *Memory {
	return &Memory{name: name, repositories: map[string]*memoryRepository{}}
}

// SetReferrersAPI says whether the registry has the referrers API (it has by
// default). Without it, manifests with a subject are listed under the fallback
// tag, which shows among the tags.
func (m *Memory) SetReferrersAPI(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.noReferrers = !on
}

// SetMounts says whether MountBlob works (it does by default).
func (m *Memory) SetMounts(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.noMounts = !on
}

// DeleteBlob loses a blob, as a disk or an eager clean-up would.
func (m *Memory) DeleteBlob(repo, digest string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.repository(repo).blobs, digest)
}

// DeleteManifest loses a manifest and the tags on it.
func (m *Memory) DeleteManifest(repo, digest string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.repository(repo)
	delete(r.manifests, digest)
	maps.DeleteFunc(r.tags, func(_, d string) bool { return d == digest })
}

// DeleteTag removes a tag; the manifest stays.
func (m *Memory) DeleteTag(repo, tag string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.repository(repo).tags, tag)
}

// ReplaceBlob serves other bytes under a digest, as a registry that lies
// would. Readers notice.
func (m *Memory) ReplaceBlob(repo, digest string, content []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.repository(repo).blobs[digest] = content
}

// ReplaceManifest serves other bytes under a digest, as a registry that lies
// would. Readers notice.
func (m *Memory) ReplaceManifest(repo, digest string, manifest Manifest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.repository(repo).manifests[digest] = manifest
}

// Repositories lists the names of the repositories with content, sorted.
func (m *Memory) Repositories() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := []string{}
	for name, r := range m.repositories {
		if len(r.manifests)+len(r.blobs) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Name implements [Reader].
func (m *Memory) Name() string { return m.name }

// Resolve implements [Reader].
func (m *Memory) Resolve(ctx context.Context, repo, reference string) (Descriptor, error) {
	r, unlock, err := m.begin(ctx, repo)
	if err != nil {
		return Descriptor{}, err
	}
	defer unlock()
	digest := reference
	if !IsDigest(reference) {
		digest = r.tags[reference]
	}
	manifest, ok := r.manifests[digest]
	if !ok {
		return Descriptor{}, m.fail(repo, "manifest "+reference, ErrNotFound)
	}
	return Descriptor{MediaType: manifest.MediaType, Digest: digest, Size: int64(len(manifest.Raw))}, nil
}

// Manifest implements [Reader].
func (m *Memory) Manifest(ctx context.Context, repo, digest string) (Manifest, error) {
	r, unlock, err := m.begin(ctx, repo)
	if err != nil {
		return Manifest{}, err
	}
	defer unlock()
	manifest, ok := r.manifests[digest]
	if !ok {
		return Manifest{}, m.fail(repo, "manifest "+digest, ErrNotFound)
	}
	if manifest.Digest() != digest {
		return Manifest{}, m.fail(repo, "manifest "+digest, fmt.Errorf("%w: content hashes to %s", ErrDigestMismatch, manifest.Digest()))
	}
	manifest.Raw = bytes.Clone(manifest.Raw)
	return manifest, nil
}

// Blob implements [Reader].
func (m *Memory) Blob(ctx context.Context, repo, digest string) (io.ReadCloser, error) {
	r, unlock, err := m.begin(ctx, repo)
	if err != nil {
		return nil, err
	}
	defer unlock()
	content, ok := r.blobs[digest]
	if !ok {
		return nil, m.fail(repo, "blob "+digest, ErrNotFound)
	}
	return Verify(io.NopCloser(bytes.NewReader(content)), digest, int64(len(content))), nil
}

// HasBlob implements [Reader].
func (m *Memory) HasBlob(ctx context.Context, repo, digest string) (bool, error) {
	r, unlock, err := m.begin(ctx, repo)
	if err != nil {
		return false, err
	}
	defer unlock()
	_, ok := r.blobs[digest]
	return ok, nil
}

// LacksReferrersAPI implements [ReferrersAPI].
func (m *Memory) LacksReferrersAPI(string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.noReferrers
}

// Referrers implements [Reader].
func (m *Memory) Referrers(ctx context.Context, repo, digest string) ([]Descriptor, error) {
	r, unlock, err := m.begin(ctx, repo)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if m.noReferrers {
		list, ok := r.manifests[r.tags[ReferrersTag(digest)]]
		if !ok {
			return nil, nil
		}
		parts, err := list.Parse()
		if err != nil {
			return nil, m.fail(repo, "referrers of "+digest, err)
		}
		return parts.Children, nil
	}
	var found []Descriptor
	for _, d := range slices.Sorted(maps.Keys(r.manifests)) {
		if parts, err := r.manifests[d].Parse(); err == nil && parts.Subject != nil && parts.Subject.Digest == digest {
			found = append(found, r.manifests[d].Referrer(parts))
		}
	}
	return found, nil
}

// Tags implements [Reader].
func (m *Memory) Tags(ctx context.Context, repo string) ([]string, error) {
	r, unlock, err := m.begin(ctx, repo)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return slices.Sorted(maps.Keys(r.tags)), nil
}

// PutBlob implements [Writer].
func (m *Memory) PutBlob(ctx context.Context, repo string, blob Descriptor, open func() (io.ReadCloser, error)) error {
	if has, err := m.HasBlob(ctx, repo, blob.Digest); has || err != nil {
		return err
	}
	if !IsDigest(blob.Digest) {
		return m.fail(repo, fmt.Sprintf("blob %q", blob.Digest), fmt.Errorf("%w: not a sha256 digest", ErrDigestMismatch))
	}
	// The content comes from elsewhere and may be slow: no lock is held.
	content, err := open()
	if err != nil {
		return m.fail(repo, "blob "+blob.Digest, err)
	}
	data, err := io.ReadAll(Verify(content, blob.Digest, blob.Size))
	if closeErr := content.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return m.fail(repo, "blob "+blob.Digest, err)
	}
	r, unlock, err := m.begin(ctx, repo)
	if err != nil {
		return err
	}
	defer unlock()
	r.blobs[blob.Digest] = data
	return nil
}

// MountBlob implements [Writer].
func (m *Memory) MountBlob(ctx context.Context, repo, from, digest string) (bool, error) {
	r, unlock, err := m.begin(ctx, repo)
	if err != nil {
		return false, err
	}
	defer unlock()
	content, ok := m.repository(from).blobs[digest]
	if m.noMounts || !ok {
		return false, nil
	}
	r.blobs[digest] = content
	return true, nil
}

// MountSource implements [SourceMounter] for a source that is this registry.
func (m *Memory) MountSource(ctx context.Context, repo string, source Reader, sourceRepo, digest string) (bool, error) {
	if same, ok := source.(*Memory); !ok || same != m {
		return false, ctx.Err()
	}
	return m.MountBlob(ctx, repo, sourceRepo, digest)
}

// PutManifest implements [Writer].
func (m *Memory) PutManifest(ctx context.Context, repo string, manifest Manifest, tags ...string) error {
	r, unlock, err := m.begin(ctx, repo)
	if err != nil {
		return err
	}
	defer unlock()
	digest := manifest.Digest()
	what := "manifest " + digest
	if len(manifest.Raw) > MaxManifestSize {
		return m.fail(repo, what, fmt.Errorf("larger than %d bytes", MaxManifestSize))
	}
	parts, err := manifest.Parse()
	if err != nil {
		return m.fail(repo, what, err)
	}
	for _, child := range parts.Children {
		if _, ok := r.manifests[child.Digest]; !ok {
			return m.fail(repo, what, fmt.Errorf("its child %s: %w", child.Digest, ErrNotFound))
		}
	}
	for _, blob := range parts.Blobs {
		if _, ok := r.blobs[blob.Digest]; !ok && len(blob.URLs) == 0 {
			return m.fail(repo, what, fmt.Errorf("its blob %s: %w", blob.Digest, ErrNotFound))
		}
	}
	for _, tag := range tags {
		if !tagPattern.MatchString(tag) {
			return m.fail(repo, what, fmt.Errorf("%q cannot be a tag", tag))
		}
	}
	stored := Manifest{MediaType: manifest.MediaType, Raw: bytes.Clone(manifest.Raw)}
	r.manifests[digest] = stored
	if parts.Subject != nil && m.noReferrers {
		fallback := ReferrersTag(parts.Subject.Digest)
		list, changed, err := AddReferrer(r.manifests[r.tags[fallback]], stored.Referrer(parts))
		if err != nil {
			return m.fail(repo, what, err)
		}
		if changed {
			r.manifests[list.Digest()] = list
			r.tags[fallback] = list.Digest()
		}
	}
	for _, tag := range tags {
		r.tags[tag] = digest
	}
	return nil
}

var tagPattern = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)

// begin locks the registry and returns a repository.
func (m *Memory) begin(ctx context.Context, repo string) (*memoryRepository, func(), error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, m.fail(repo, "request", err)
	}
	m.mu.Lock()
	return m.repository(repo), m.mu.Unlock, nil
}

// repository returns a repository, which exists once it is named. m.mu is held.
func (m *Memory) repository(name string) *memoryRepository {
	r, ok := m.repositories[name]
	if !ok {
		r = &memoryRepository{manifests: map[string]Manifest{}, blobs: map[string][]byte{}, tags: map[string]string{}}
		m.repositories[name] = r
	}
	return r
}

func (m *Memory) fail(repo, what string, err error) error {
	return fmt.Errorf("registry %s: repository %s: %s: %w", m.name, repo, what, err)
}
