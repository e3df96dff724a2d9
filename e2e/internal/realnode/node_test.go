package realnode

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestImagesOfVersionsDiffer: another version is another digest, the same one
// is the same, and the program is what runs.
func TestImagesOfVersionsDiffer(t *testing.T) {
	digests := map[string]string{}
	for _, version := range []string{"1", "2", "1"} {
		built, err := Image([]byte("program"), version, nil)
		if err != nil {
			t.Fatal(err)
		}
		if before, ok := digests[version]; ok && before != built.Digest() {
			t.Errorf("version %s is %s and %s", version, before, built.Digest())
		}
		digests[version] = built.Digest()
		if len(built.Children) != 2 {
			t.Errorf("%d platforms", len(built.Children))
		}
	}
	if digests["1"] == digests["2"] {
		t.Errorf("two versions have one digest: %v", cmp.Diff(digests["1"], digests["2"]))
	}
}

// TestMissingTellsWhatToType: on a machine that cannot run a node the reason is
// for people; where it can, there is none.
func TestMissingTellsWhatToType(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	missing := Missing()
	if missing == "" || !strings.Contains(missing, "root") && !strings.Contains(missing, "Linux") && !strings.Contains(missing, "apt-get install") {
		t.Errorf("without any programs: %q", missing)
	}
}
