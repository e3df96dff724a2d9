package doctor

import (
	"archive/tar"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/fleeting-taas/propagator/pkg/gitrepo"
)

const (
	// annotationPaths narrows what Argo CD watches, and what it packs if told so.
	annotationPaths = "argocd.argoproj.io/manifest-generate-paths"
	// named is how many of the largest folders are named.
	named = 3
)

// archive is what packing a folder gives.
type archive struct {
	files   int
	size    int64            // compressed, in bytes
	folders map[string]int64 // by the first two elements of paths
}

func checkArchive(ctx context.Context, x *examination, n *notes) {
	settings := tarSettings{exclude: []string{".git"}}
	if x.Cluster != nil {
		var err error
		if settings, err = x.tarSettings(ctx); err != nil {
			n.trouble("Deployment argocd-"+repoServer, err)
			return
		}
	}
	for _, p := range x.repositoriesOrNote(ctx, n) {
		subject := "repository " + p.url
		if p.err != nil || p.tree == "" {
			n.skip(subject, "it cannot be read", "propagator doctor --only git")
			continue
		}
		roots := map[string][]string{".": nil} // folder to Applications
		if settings.byPaths {
			var err error
			if roots, err = x.roots(ctx, p); err != nil {
				n.trouble("Applications", err)
				continue
			}
		}
		for _, root := range slices.Sorted(maps.Keys(roots)) {
			x.checkRoot(ctx, n, subject, p, settings, root, roots[root])
		}
	}
}

// checkRoot measures one folder that is packed.
func (x *examination) checkRoot(ctx context.Context, n *notes, subject string, p *pipeline, settings tarSettings, root string, applications []string) {
	tree := gitrepo.TreeFS(p.repo, p.tree)
	whom := "every Application"
	if len(applications) > 0 {
		whom = strings.Join(applications[:min(len(applications), named)], ", ")
		if more := len(applications) - named; more > 0 {
			whom += fmt.Sprintf(" and %d more", more)
		}
	}
	if root != "." {
		sub, err := fs.Sub(tree, root)
		if err != nil {
			n.fail(subject, err.Error(), "")
			return
		}
		tree, subject = sub, subject+", folder "+root
	}
	packed, err := pack(ctx, tree, settings.exclude)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		n.fail(subject, fmt.Sprintf("branch %s has no such folder; it comes from %s of %s", p.branch, annotationPaths, whom), "correct the annotation")
		return
	case err != nil:
		n.fail(subject, err.Error(), "")
		return
	case packed.files == 0:
		n.fail(subject, "nothing is left to pack, so nothing renders", "correct reposerver.plugin.tar.exclusions in ConfigMap "+paramsMap)
		return
	}
	message := fmt.Sprintf("%s, %s packed for each render of %s", plural(packed.files, "file"), megabytes(packed.size), whom)
	if !slices.Contains(settings.exclude, ".git") {
		message += ", and .git on top of it"
	}
	if packed.size <= x.MaxArchive {
		n.ok(subject, "%s", message)
		return
	}
	var largest []string
	for _, folder := range slices.SortedFunc(maps.Keys(packed.folders), func(a, b string) int {
		return cmp.Or(cmp.Compare(packed.folders[b], packed.folders[a]), strings.Compare(a, b))
	}) {
		largest = append(largest, fmt.Sprintf("%s (%s)", folder, megabytes(packed.folders[folder])))
	}
	largest = largest[:min(len(largest), named)]
	fix := "keep what is not deployed elsewhere, or leave it out of what is packed: reposerver.plugin.tar.exclusions in ConfigMap " + paramsMap + " takes patterns for the top level, separated by semicolons"
	if x.Cluster != nil {
		fix += "\n" + x.kubectl("edit configmap %s", paramsMap)
	}
	n.warn(subject, message+fmt.Sprintf("; more than %s. Largest: %s", megabytes(x.MaxArchive), strings.Join(largest, ", ")), fix)
}

// roots groups the Applications of a repository by the folder at which their
// archive begins.
func (x *examination) roots(ctx context.Context, p *pipeline) (map[string][]string, error) {
	all, err := x.applications(ctx)
	if err != nil {
		return nil, err
	}
	roots := map[string][]string{}
	for _, a := range all {
		for _, from := range a.all() {
			if from.Plugin != nil && (p.config == nil || a.Metadata.Labels[labelPipeline] == p.config.Name) {
				root := commonRoot(from.Path, a.Metadata.Annotations[annotationPaths])
				roots[root] = append(roots[root], a.Metadata.Name)
			}
		}
	}
	if len(roots) == 0 {
		roots["."] = nil
	}
	return roots, nil
}

// commonRoot is the folder that holds the application's own path and all of its
// manifest-generate-paths: absolute ones begin at the repository's root, others
// at the application.
func commonRoot(appPath, annotation string) string {
	if strings.TrimSpace(annotation) == "" {
		return "."
	}
	root := path.Clean(appPath)
	for one := range strings.SplitSeq(annotation, ";") {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		where := path.Join(appPath, one)
		if strings.HasPrefix(one, "/") {
			where = path.Clean(strings.TrimLeft(one, "/"))
		}
		for root != "." && root != where && !strings.HasPrefix(where, root+"/") {
			root = path.Dir(root)
		}
	}
	if !fs.ValidPath(root) {
		return "."
	}
	return root
}

// pack does what repo-server does, and keeps nothing but the size.
func pack(ctx context.Context, root fs.FS, exclude []string) (archive, error) {
	counted := &countingWriter{}
	compressed := gzip.NewWriter(counted)
	writer := tar.NewWriter(compressed)
	a := archive{folders: map[string]int64{}}
	before := int64(0)
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		for _, pattern := range exclude {
			if ok, err := path.Match(pattern, name); err == nil && ok {
				if entry.IsDir() {
					return fs.SkipDir
				}
				return nil
			}
		}
		if entry.Type().IsRegular() {
			a.files++
		}
		if err := packOne(writer, root, name, entry); err != nil {
			return err
		}
		a.folders[folderOf(name)] += counted.n - before
		before = counted.n
		return nil
	})
	if err == nil {
		err = errors.Join(writer.Close(), compressed.Close())
	}
	a.size = counted.n
	return a, err
}

func packOne(writer *tar.Writer, root fs.FS, name string, entry fs.DirEntry) error {
	header := &tar.Header{Name: name, Mode: 0o755, Typeflag: tar.TypeDir}
	var content []byte
	switch kind := entry.Type(); {
	case kind.IsRegular():
		var err error
		if content, err = fs.ReadFile(root, name); err != nil {
			return err
		}
		header.Typeflag, header.Mode, header.Size = tar.TypeReg, 0o644, int64(len(content))
	case kind == fs.ModeSymlink:
		target, err := fs.ReadLink(root, name)
		if err != nil {
			return err
		}
		header.Typeflag, header.Linkname = tar.TypeSymlink, target
	case !kind.IsDir():
		return nil
	}
	if err := writer.WriteHeader(header); err != nil {
		return err
	}
	_, err := writer.Write(content)
	return err
}

// folderOf names where a file belongs, at most two levels deep.
func folderOf(name string) string {
	parts := strings.Split(path.Dir(name), "/")
	return strings.Join(parts[:min(len(parts), 2)], "/")
}

type countingWriter struct{ n int64 }

var _ io.Writer = (*countingWriter)(nil)

func (c *countingWriter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

func megabytes(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}
