package snapshot

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseVersion(t *testing.T) {
	good := map[string]Version{
		"shop/v1.4.0":                         {"shop", 1, 4, 0},
		"shop/v0.0.0":                         {"shop", 0, 0, 0},
		"a/v0.1.0":                            {"a", 0, 1, 0},
		"web-shop-2/v10.20.30":                {"web-shop-2", 10, 20, 30},
		"0/v1.0.0":                            {"0", 1, 0, 0},
		"shop/v999999999.999999999.999999999": {"shop", 999999999, 999999999, 999999999},
	}
	for text, want := range good {
		got, err := ParseVersion(text)
		if err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
		if got.String() != text || got.Ref() != "refs/tags/"+text {
			t.Errorf("%s comes back as %s, %s", text, got, got.Ref())
		}
	}
	for _, text := range []string{
		"", "shop", "v1.4.0", "1.4.0", "shop/1.4.0", "shop/v1.4", "shop/v1.4.0.0", "shop/v1", "shop/v", "/v1.4.0",
		// Two spellings of one version would be two tags.
		"shop/v01.4.0", "shop/v1.04.0", "shop/v1.4.00", "shop/V1.4.0", "Shop/v1.4.0",
		"shop/v1.4.0-hotfix.1", "shop/v1.4.0+build", "shop/v-1.4.0", "shop/v1.4.x", "shop/v+1.4.0", "shop/v1.4.٠",
		"shop/v1000000000.0.0", "shop/v99999999999999999999.0.0",
		" shop/v1.4.0", "shop/v1.4.0 ", "shop/v1.4.0\n", "shop/v1.4.0\x00", "shop /v1.4.0",
		"-shop/v1.4.0", "shop-/v1.4.0", "-/v1.4.0", "sh_op/v1.4.0", "shöp/v1.4.0",
		"../v1.4.0", "a/b/v1.4.0", "refs/tags/shop/v1.4.0", "shop/v1.4.0/who", "shop/v1.4.0^{}", "shop/v1.4.0.lock", "--upload-pack=x/v1.0.0",
	} {
		if v, err := ParseVersion(text); err == nil {
			t.Errorf("%q is taken for %s", text, v)
		} else if !strings.Contains(err.Error(), "shop/v1.4.0") {
			t.Errorf("%q: the error shows no good form: %v", text, err)
		}
	}
}

// versionPattern is the grammar of a version.
var versionPattern = regexp.MustCompile(`^([a-z0-9](?:[a-z0-9-]*[a-z0-9])?)/v(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})$`)

// FuzzParseVersion: what is a version is what the grammar says.
func FuzzParseVersion(f *testing.F) {
	for _, text := range []string{"shop/v1.4.0", "a-/v1.0.0", "a/v/v1.0.0", "a/v1.02.3", "a/v1.2.3.4", "/v0.0.0", "a--b/v1.2.3", "a/v1234567890.0.0", "a/v.1.2"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := ParseVersion(text)
		if (err == nil) != versionPattern.MatchString(text) {
			t.Fatalf("%q: %v, %v", text, v, err)
		}
		if err == nil && v.String() != text {
			t.Fatalf("%q comes back as %s", text, v)
		}
	})
}

func TestParseVersionOf(t *testing.T) {
	for _, test := range []struct{ text, want, says string }{
		{"shop/v1.4.0", "shop/v1.4.0", ""},
		{"v1.4.0", "shop/v1.4.0", ""},
		{"1.4.0", "shop/v1.4.0", ""},
		{"web/v1.4.0", "", `snapshot web/v1.4.0 belongs to pipeline "web", not to "shop"`},
		{"vv1.4.0", "", `"vv1.4.0" is not a snapshot version; write shop/v1.4.0 or v1.4.0`},
		{"", "", `"" is not a snapshot version`},
		{"latest", "", `"latest" is not a snapshot version`},
		{"/v1.4.0", "", `"/v1.4.0" is not a snapshot version`},
	} {
		v, err := ParseVersionOf("shop", test.text)
		if test.says == "" && (err != nil || v.String() != test.want) {
			t.Errorf("%q: %s, %v", test.text, v, err)
		}
		if test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)) {
			t.Errorf("%q: %v; want %s", test.text, err, test.says)
		}
	}
}

func TestVersionOrder(t *testing.T) {
	sorted := []string{"shop/v0.1.0", "shop/v0.1.1", "shop/v0.2.0", "shop/v0.10.0", "shop/v1.0.0", "shop/v1.4.9", "shop/v1.4.10", "shop/v2.0.0", "web/v0.1.0"}
	var versions []Version
	for _, text := range sorted {
		v, err := ParseVersion(text)
		if err != nil {
			t.Fatal(err)
		}
		versions = append(versions, v)
	}
	for i, v := range versions {
		for j, w := range versions {
			if got, want := v.Compare(w), sign(i-j); got != want {
				t.Errorf("%s to %s: %d, want %d", v, w, got, want)
			}
		}
	}
	slices.Reverse(versions)
	slices.SortFunc(versions, Version.Compare)
	var got []string
	for _, v := range versions {
		got = append(got, v.String())
	}
	if diff := cmp.Diff(sorted, got); diff != "" {
		t.Error(diff)
	}
}

func sign(n int) int { return max(-1, min(1, n)) }

func TestVersionNext(t *testing.T) {
	for _, test := range []struct{ from, minor, patch string }{
		{"shop/v1.4.0", "shop/v1.5.0", "shop/v1.4.1"},
		{"shop/v1.4.7", "shop/v1.5.0", "shop/v1.4.8"},
		{"shop/v0.9.9", "shop/v0.10.0", "shop/v0.9.10"},
	} {
		v, err := ParseVersion(test.from)
		if err != nil {
			t.Fatal(err)
		}
		if got := v.NextMinor().String(); got != test.minor {
			t.Errorf("minor after %s: %s", v, got)
		}
		if got := v.NextPatch().String(); got != test.patch {
			t.Errorf("patch after %s: %s", v, got)
		}
		if v.NextMinor().Compare(v.NextPatch()) <= 0 || v.NextPatch().Compare(v) <= 0 {
			t.Errorf("what comes after %s does not sort behind it", v)
		}
	}
}

func TestVersionText(t *testing.T) {
	type document struct {
		Version Version `json:"version"`
	}
	for _, test := range []struct {
		document document
		text     string
	}{
		{document{Version{"shop", 1, 4, 0}}, `{"version":"shop/v1.4.0"}`},
		{document{}, `{"version":""}`},
	} {
		text, err := json.Marshal(test.document)
		if err != nil || string(text) != test.text {
			t.Errorf("%s, %v", text, err)
		}
		back := document{Version{"other", 9, 9, 9}}
		if err := json.Unmarshal(text, &back); err != nil || back != test.document {
			t.Errorf("%v, %v", back, err)
		}
	}
	v := Version{"shop", 1, 4, 0}
	if err := v.UnmarshalText([]byte("v2")); err == nil || v != (Version{"shop", 1, 4, 0}) {
		t.Errorf("a bad text changed the version to %s: %v", v, err)
	}
}
