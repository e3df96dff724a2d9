package remote

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

func FuzzUnpack(f *testing.F) {
	blob := gitrepo.NewBlob([]byte("content"))
	packed, err := pack([]gitrepo.Object{blob, gitrepo.NewBlob(nil)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packed)
	f.Add(packed[:len(packed)-8])
	f.Add([]byte("PACK\x00\x00\x00\x02\xff\xff\xff\xff"))
	// A delta (type 7) against an object outside the pack.
	f.Add(append([]byte("PACK\x00\x00\x00\x02\x00\x00\x00\x01\x73"), bytes.Repeat([]byte{1}, 40)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		const most = 1 << 20
		objects, err := unpack(bytes.NewReader(data), gitrepo.NewStore(), most)
		if err != nil {
			return
		}
		total := 0
		for _, o := range objects {
			total += len(o.Data)
		}
		if total > most {
			t.Errorf("%d bytes unpacked", total)
		}
	})
}

func FuzzAdvertisement(f *testing.F) {
	f.Add([]byte("001e# service=git-upload-pack\n0000004895dcfa3633004da0049d3d0fa03f80589cbcaf31 refs/heads/maint\x00multi_ack\n0000"))
	f.Add([]byte("0000"))
	f.Fuzz(func(t *testing.T, data []byte) {
		adv, err := readAdvertisement(bytes.NewReader(data))
		if err != nil {
			return
		}
		for name, id := range refsOf(adv) {
			if !id.Valid() {
				t.Errorf("%s has id %q", name, id)
			}
		}
	})
}

func FuzzRefs(f *testing.F) {
	f.Add([]byte("003d95dcfa3633004da0049d3d0fa03f80589cbcaf31 refs/heads/main\n0000"))
	f.Add([]byte("00" + "5e" + "95dcfa3633004da0049d3d0fa03f80589cbcaf31 HEAD symref-target:refs/heads/main peeled:0\n0000"))
	f.Add([]byte("0010ERR who's this"))
	f.Fuzz(func(t *testing.T, data []byte) {
		refs, err := readRefs(bytes.NewReader(data), nil)
		if err != nil && refs != nil {
			t.Error("refs beside an error")
		}
		for name, id := range refs {
			if !id.Valid() || !strings.HasPrefix(name, "refs/") {
				t.Errorf("%q has id %q", name, id)
			}
		}
	})
}

func FuzzAnswers(f *testing.F) {
	f.Add([]byte("0034shallow 95dcfa3633004da0049d3d0fa03f80589cbcaf3100000008NAK\n"))
	f.Add([]byte("000eunpack ok\n0018ok refs/heads/main\n0000"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		fetch := packp.NewUploadPackRequest()
		fetch.Depth = packp.DepthCommits(1)
		push := packp.NewReferenceUpdateRequest()
		_, _, _ = readReport(bytes.NewReader(data), push)
		_ = fetch.Capabilities.Set(capability.Sideband64k)
		_ = push.Capabilities.Set(capability.Sideband64k)
		_, _, _ = readReport(bytes.NewReader(data), push)
		_, _ = readFetch(io.NopCloser(bytes.NewReader(data)), fetch, &Repo{store: gitrepo.NewStore(), maxFetch: 1 << 20})
	})
}
