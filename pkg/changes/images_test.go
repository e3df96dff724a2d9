package changes

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

func TestImages(t *testing.T) {
	t.Parallel()
	const (
		github = "https://github.com/shop/orders"
		old    = "1111111111111111111111111111111111111111"
		now    = "2222222222222222222222222222222222222222"
	)
	repo := gitrepo.NewMemory("memory")
	a := sideOf(t, repo, "v0.1.0", nil,
		image("dev.example/shop/orders:1.0", digest("a"), github, old, "dev/orders", "prod/orders"),
		image("dev.example/shop/web:latest", digest("c"), "", "", "dev/web", "prod/web"),
		image("redis:7", digest("d"), "", "", "prod/web"),
		image("gone:1", digest("e"), "", "", "prod/web"),
		image("dev.example:5000/tool@"+digest("0"), digest("0"), "", "", "prod/web"),
	)
	b := sideOf(t, repo, "v0.2.0", nil,
		image("dev.example/shop/orders:1.0", digest("a"), github, old, "prod/orders"),
		image("dev.example/shop/orders:1.1", digest("b"), github, now, "dev/orders"),
		image("dev.example/shop/web:latest", digest("f"), "", "", "dev/web", "prod/web"),
		image("redis:7", digest("d"), "", "", "prod/web"),
		image("new", digest("9"), "", "", "prod/web", "prod/new"),
		image("dev.example:5000/tool@"+digest("1"), digest("1"), "", "", "prod/web"),
	)
	want := []Image{
		{
			Name: "dev.example/shop/orders", Change: Changed, From: &Build{Tag: "1.0", Digest: digest("a"), Revision: old},
			To: &Build{Tag: "1.1", Digest: digest("b"), Revision: now}, Source: github,
			CompareURL: github + "/compare/" + old + "..." + now, UsedBy: []string{"dev/orders"},
		},
		{
			Name: "dev.example/shop/web", Change: Changed, From: &Build{Tag: "latest", Digest: digest("c")},
			To: &Build{Tag: "latest", Digest: digest("f")}, UsedBy: []string{"dev/web", "prod/web"},
		},
		{
			Name: "dev.example:5000/tool", Change: Changed, From: &Build{Digest: digest("0")}, To: &Build{Digest: digest("1")},
			UsedBy: []string{"prod/web"},
		},
		{Name: "gone", Change: Removed, From: &Build{Tag: "1", Digest: digest("e")}, UsedBy: []string{"prod/web"}},
		{Name: "new", Change: Added, To: &Build{Tag: "latest", Digest: digest("9")}, UsedBy: []string{"prod/new", "prod/web"}},
	}
	ignore := cmpopts.IgnoreUnexported(Build{})
	if diff := cmp.Diff(want, Images(a, b), ignore); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	if got := Images(a, b, "dev"); len(got) != 2 || got[1].UsedBy[0] != "dev/web" || len(got[1].UsedBy) != 1 {
		t.Errorf("limited to dev: %+v", got)
	}
	if got := Images(a, a); len(got) != 0 {
		t.Errorf("a side differs from itself: %+v", got)
	}
	if got := Images(Side{}, b); len(got) != 6 {
		t.Errorf("from nothing: %d images", len(got))
	}
}

func TestCompareURL(t *testing.T) {
	t.Parallel()
	const a, b = "1111111", "2222222"
	for source, want := range map[string]string{
		"https://github.com/shop/orders.git":              "https://github.com/shop/orders/compare/1111111...2222222",
		"git@github.com:shop/orders.git":                  "https://github.com/shop/orders/compare/1111111...2222222",
		"ssh://git@GitHub.example.com:2222/shop/orders":   "https://github.example.com/shop/orders/compare/1111111...2222222",
		"https://gitlab.example.com:8443/a/b/c/":          "https://gitlab.example.com:8443/a/b/c/-/compare/1111111...2222222",
		"http://gitea.local/shop/orders":                  "http://gitea.local/shop/orders/compare/1111111...2222222",
		"https://codeberg.org/shop/orders":                "https://codeberg.org/shop/orders/compare/1111111...2222222",
		"https://bitbucket.org/shop/orders":               "https://bitbucket.org/shop/orders/branches/compare/2222222%0D1111111",
		"https://ada:s3cret@github.com/shop/orders?x=1#y": "https://github.com/shop/orders/compare/1111111...2222222",
		"https://git.example/shop/orders":                 "",
		"https://bitbucket.example/shop/orders":           "",
		"https://github.com":                              "",
		"https://github.com/shop":                         "",
		"https://github.com/shop/../../evil":              "",
		"https://github.com/shop/a)(b":                    "",
		"https://github.com/shop/a b":                     "",
		"javascript://github.com/shop/orders":             "",
		"file:///github.com/shop/orders":                  "",
		"https://github.com@evil.example/shop/orders":     "",
		"https://github.evil%2f.example/shop/orders":      "",
		"": "",
	} {
		if got := CompareURL(source, a, b); got != want {
			t.Errorf("%q: %q, want %q", source, got, want)
		}
	}
	for _, bad := range []string{"", "main", "v1.0", "../../x", "1111111)", "ABCDEF1", a} {
		if got := CompareURL("https://github.com/shop/orders", a, bad); got != "" {
			t.Errorf("revision %q: %q", bad, got)
		}
	}
}
