package merge_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fleeting-taas/propagator/pkg/merge"
)

func TestMovedFiles(t *testing.T) {
	t.Parallel()
	one, two := strings.Replace(ten, "1\n", "one\n", 1), strings.Replace(ten, "9\n", "nine\n", 1)
	both := strings.Replace(one, "9\n", "nine\n", 1)
	service := func(name, port string) string {
		return "apiVersion: v1\nkind: Service\nmetadata:\n  name: " + name + "\nspec:\n  ports:\n  - port: " + port + "\n  selector:\n    app: shop\n"
	}
	start := files{"old/a.txt": ten, "k": "k\n", "svc.yaml": service("pay", "80")}
	tests := map[string]struct {
		ours, theirs, want files // on top of start
		changes            []string
		conflicts          []string
	}{
		"moved by ours": {
			ours: files{"old/a.txt": "-", "new/a.txt": ten}, theirs: files{"old/a.txt": two},
			want: files{"old/a.txt": "-", "new/a.txt": two}, changes: []string{"modified new/a.txt (was old/a.txt)"},
		},
		"moved and changed by ours": {
			ours: files{"old/a.txt": "-", "new/b.txt": one}, theirs: files{"old/a.txt": "[x]" + two},
			want: files{"old/a.txt": "-", "new/b.txt": "[x]" + both}, changes: []string{"modified new/b.txt (was old/a.txt)"},
		},
		"moved by theirs": {
			ours: files{"old/a.txt": one}, theirs: files{"old/a.txt": "-", "a.txt": ten},
			want: files{"old/a.txt": "-", "a.txt": one}, changes: []string{"renamed old/a.txt to a.txt (was old/a.txt)"},
		},
		"moved and changed by theirs": {
			ours: files{"old/a.txt": one}, theirs: files{"old/a.txt": "-", "z/a.txt": two},
			want: files{"old/a.txt": "-", "z/a.txt": both}, changes: []string{"removed old/a.txt", "added z/a.txt (was old/a.txt)"},
		},
		"moved by ours, the same lines changed": {
			ours: files{"old/a.txt": "-", "new/a.txt": one}, theirs: files{"old/a.txt": strings.Replace(ten, "1\n", "uno\n", 1)},
			want:      files{"old/a.txt": "-", "new/a.txt": one},
			conflicts: []string{`new/a.txt: both sides changed the same place: ours, line 1: "one"; theirs, old/a.txt, line 1: "uno"`},
		},
		"two like it": {
			ours: files{"old/a.txt": "-", "x.txt": ten, "y.txt": ten}, theirs: files{"old/a.txt": two},
			want:      files{"old/a.txt": "-", "x.txt": ten, "y.txt": ten},
			conflicts: []string{"old/a.txt: ours removed it, theirs changed it; it may have moved to x.txt or to y.txt"},
		},
		"two like it, one of the same name": {
			ours: files{"old/a.txt": "-", "x.txt": ten, "y/a.txt": ten}, theirs: files{"old/a.txt": two},
			want: files{"old/a.txt": "-", "x.txt": ten, "y/a.txt": two}, changes: []string{"modified y/a.txt (was old/a.txt)"},
		},
		"one more like it": {
			ours: files{"old/a.txt": "-", "x.txt": ten + "x\ny\n", "y.txt": ten + "x\n"}, theirs: files{"old/a.txt": two},
			want: files{"old/a.txt": "-", "x.txt": ten + "x\ny\n", "y.txt": two + "x\n"}, changes: []string{"modified y.txt (was old/a.txt)"},
		},
		"none like it": {
			ours: files{"old/a.txt": "-", "x.txt": "1\n2\n3\n4\n5\na\nb\nc\nd\ne\n"}, theirs: files{"old/a.txt": two},
			want:      files{"old/a.txt": "-", "x.txt": "1\n2\n3\n4\n5\na\nb\nc\nd\ne\n"},
			conflicts: []string{"old/a.txt: ours removed it, theirs changed it"},
		},
		"a manifest moved": {
			ours: files{"svc.yaml": "-", "pay/svc.yaml": service("pay", "81")}, theirs: files{"svc.yaml": strings.Replace(service("pay", "80"), "app: shop", "app: web", 1)},
			want:    files{"svc.yaml": "-", "pay/svc.yaml": strings.Replace(service("pay", "81"), "app: shop", "app: web", 1)},
			changes: []string{"modified pay/svc.yaml (was svc.yaml)"},
		},
		"a manifest of another object": {
			ours: files{"svc.yaml": "-", "cart.yaml": service("cart", "80")}, theirs: files{"svc.yaml": service("pay", "81")},
			want:      files{"svc.yaml": "-", "cart.yaml": service("cart", "80")},
			conflicts: []string{"svc.yaml: ours removed it, theirs changed it"},
		},
		"a directory moved by theirs": {
			ours: files{"old/a.txt": one}, theirs: files{"old/a.txt": "-", "z/deep/a.txt": ten, "z/deep/b.txt": "b\n"},
			want:    files{"old/a.txt": "-", "z/deep/a.txt": one, "z/deep/b.txt": "b\n"},
			changes: []string{"renamed old/a.txt to z/deep/a.txt (was old/a.txt)", "added z/deep/b.txt"},
		},
		"moved by theirs to where ours has something": {
			ours: files{"old/a.txt": one, "z": "z\n"}, theirs: files{"old/a.txt": "-", "z/a.txt": ten},
			want: files{"old/a.txt": one, "z": "z\n"},
			conflicts: []string{
				"old/a.txt: theirs moved it to z/a.txt, where ours has a file; ours changed it",
				"z: ours has a file here, theirs has a directory",
			},
		},
		"moved by both to one place": {
			ours: files{"old/a.txt": "-", "a.txt": one}, theirs: files{"old/a.txt": "-", "a.txt": two},
			want: files{"old/a.txt": "-", "a.txt": both}, changes: []string{"modified a.txt"},
		},
		"moved by both to two places": {
			ours: files{"old/a.txt": "-", "a.txt": one}, theirs: files{"old/a.txt": "-", "dir/b.txt": two, "dir/c": "c\n"},
			want: files{"old/a.txt": "-", "a.txt": one, "dir/c": "c\n"}, changes: []string{"added dir/c"},
			conflicts: []string{"dir/b.txt: ours moved old/a.txt to a.txt, theirs moved it here"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore()
			r := s.merged(t, s.tree(t, start), s.tree(t, with(start, tt.ours)), s.tree(t, with(start, tt.theirs)), merge.Options{})
			if diff := cmp.Diff(with(start, tt.want), s.read(t, r.Tree)); diff != "" {
				t.Errorf("merged tree (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.changes, stringsOf(r.Changes)); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.conflicts, stringsOf(r.Conflicts)); diff != "" {
				t.Errorf("conflicts (-want +got):\n%s", diff)
			}
		})
	}
}

// The search for a moved file is bounded: with too many candidates only an
// exact match counts.
func TestMovedFilesBound(t *testing.T) {
	t.Parallel()
	s := newStore()
	base := files{"a": ten, "b": ten + "b\n"}
	ours := files{"moved/b": ten + "b\n"}
	for i := range 201 {
		ours[fmt.Sprintf("n%d", i)] = fmt.Sprintf("%sn%d\n", ten, i)
	}
	r := s.merged(t, s.tree(t, base), s.tree(t, ours), s.tree(t, files{"a": "0\n" + ten, "b": "0\n" + ten + "b\n"}), merge.Options{})
	if diff := cmp.Diff([]string{"a: ours removed it, theirs changed it"}, stringsOf(r.Conflicts)); diff != "" {
		t.Errorf("conflicts (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"modified moved/b (was b)"}, stringsOf(r.Changes)); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
}
