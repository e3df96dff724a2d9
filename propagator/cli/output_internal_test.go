package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/fleeting-taas/propagator/pkg/mirror"
)

func TestProgress(t *testing.T) {
	var terminal bytes.Buffer
	p := &progress{w: &terminal, width: 60}
	now := mirror.Progress{Manifests: 3, ManifestsTotal: 9, Blobs: 1, BlobsTotal: 12, Bytes: 1536, BytesTotal: 5 << 20}
	p.update("promote shop/v0.1.0 to stage", now)
	p.update("promote shop/v0.1.0 to stage", now) // too soon to be drawn
	p.close()
	p.close()
	want := "\r\x1b[Kpromote shop/v0.1.0 to stage: manifests 3/9, blobs 1/12, 1.\r\x1b[K"
	if got := terminal.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	p.drawn = time.Time{}
	p.update("step", now)
	if !strings.HasSuffix(terminal.String(), "step: manifests 3/9, blobs 1/12, 1.5 KiB of 5.0 MiB") {
		t.Errorf("got %q", terminal.String())
	}
	var silent progress
	silent.update("step", now)
	silent.close()
}

func TestTableIsSafe(t *testing.T) {
	var b strings.Builder
	writeTable(&b, []string{"A", "B"}, [][]string{{"x\x1b[31m\ty", ""}, {"line\nbreak", "z"}})
	want := "A           B\nx [31m y    -\nline break  z\n"
	if b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

func TestPipelineName(t *testing.T) {
	for folder, want := range map[string]string{
		"shop": "shop", "GitOps Shop.git": "gitops-shop-git", "_x_": "x", "": "", strings.Repeat("a", 39) + "-b": strings.Repeat("a", 39),
	} {
		if got := pipelineName(folder); got != want {
			t.Errorf("%q: got %q, want %q", folder, got, want)
		}
	}
}
