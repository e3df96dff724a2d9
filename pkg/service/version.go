package service

import (
	"runtime"
	"runtime/debug"
	"strings"
)

// Build says which build of the program this is.
type Build struct {
	// Version of the module, or "devel" when it was built from a checkout.
	Version string
	// Revision is the commit, empty when unknown.
	Revision string
	// Modified reports changes on top of Revision.
	Modified bool
	// Go is the compiler's version.
	Go string
}

// Version reads what the Go linker recorded in the program.
func Version() Build {
	b := Build{Version: "devel", Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		b.Version = v
	}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			b.Revision = setting.Value
		case "vcs.modified":
			b.Modified = setting.Value == "true"
		}
	}
	return b
}

// String returns one line: v1.2.0 (3f2a91c04d55, go1.26.0).
func (b Build) String() string {
	details := []string{b.Go}
	if b.Revision != "" {
		revision := b.Revision[:min(len(b.Revision), 12)]
		if b.Modified {
			revision += "+changes"
		}
		details = append([]string{revision}, details...)
	}
	return b.Version + " (" + strings.Join(details, ", ") + ")"
}
