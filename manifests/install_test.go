package manifests

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestInstallPage: the page names folders that exist and Secrets that are
// mounted, and its commands need nothing that it has not asked for. That they
// work is for the end-to-end suite, which runs them.
func TestInstallPage(t *testing.T) {
	raw, err := os.ReadFile("../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(raw)
	for _, match := range regexp.MustCompile(`(?:\.\./|\$INSTALL/|propagator/)manifests/([a-z0-9./-]+)`).FindAllStringSubmatch(page, -1) {
		folder := match[1]
		if folder == "overlays/argocd-" { // followed by $ARGOCD_VERSION
			continue
		}
		if _, err := os.Stat(filepath.FromSlash(folder)); err != nil {
			t.Errorf("the page names manifests/%s: %v", folder, err)
		}
	}
	allowed := map[string]bool{
		"export": true, "kubectl": true, "propagator": true, "test": true, "openssl": true, "unset": true,
		"mkdir": true, "rm": true, "cp": true, "cat": true, "sed": true,
		// The shell's own.
		".": true, "for": true, "while": true, "do": true, "done": true, "case": true, "found=0": true, "printf": true, "{": true, "}": true,
	}
	blocks := regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(page, -1)
	if len(blocks) == 0 {
		t.Fatal("no commands")
	}
	heredoc := regexp.MustCompile(`(?ms)<<END\n.*?^END$`)
	for _, block := range blocks {
		script := strings.ReplaceAll(heredoc.ReplaceAllString(block[1], ""), "\\\n", " ")
		for line := range strings.Lines(script) {
			word, _, _ := strings.Cut(strings.TrimSpace(line), " ")
			if strings.HasPrefix(word, "token=$(openssl") || strings.HasPrefix(word, "versions=$(propagator") || word == "" {
				continue
			}
			if !allowed[word] {
				t.Errorf("not a command that the page has asked for: %s", line)
			}
		}
	}
	for _, name := range []string{"propagator-token", "propagator-git", "propagator-git-read", "propagator-registries", "propagator-settings", "propagator-pipeline"} {
		if !strings.Contains(page, name) {
			t.Errorf("nothing makes %s", name)
		}
	}
	// Every image is the operator's.
	for name := range programs(t) {
		if !strings.Contains(page, "name: ghcr.io/fleeting-taas/propagator/"+name+", newName: $IMAGES/"+name) {
			t.Errorf("the image of %s cannot be chosen", name)
		}
	}
}
