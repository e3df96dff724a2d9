package doctor

import (
	"context"
	"fmt"
	"path"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
)

// tarVariable is how repo-server is told.
const tarVariable = "ARGOCD_REPO_SERVER_PLUGIN_TAR_EXCLUSIONS"

// tarSettings is what repo-server leaves out of the archives that it sends to
// plugins.
type tarSettings struct {
	deployment *appsv1.Deployment
	exclude    []string
	// byPaths: archives begin at the common folder of an Application's
	// manifest-generate-paths.
	byPaths bool
}

// tarSettings reads them from repo-server's Deployment.
func (x *examination) tarSettings(ctx context.Context) (tarSettings, error) {
	d, err := x.deployment(ctx, repoServer)
	if err != nil {
		return tarSettings{}, err
	}
	settings := tarSettings{deployment: d}
	c := repoServerContainer(d)
	if c == nil {
		return settings, nil
	}
	env, err := x.environment(ctx, c)
	if err != nil {
		return settings, err
	}
	settings.exclude = flagValues(c, "plugin-tar-exclude")
	if len(settings.exclude) == 0 {
		for pattern := range strings.SplitSeq(env[tarVariable], ";") {
			if pattern != "" {
				settings.exclude = append(settings.exclude, pattern)
			}
		}
	}
	on := flagValues(c, "plugin-use-manifest-generate-paths")
	settings.byPaths = env["ARGOCD_REPO_SERVER_PLUGIN_USE_MANIFEST_GENERATE_PATHS"] == "true" || len(on) > 0 && on[len(on)-1] == "true"
	return settings, nil
}

func checkTarExclusions(ctx context.Context, x *examination, n *notes) {
	settings, err := x.tarSettings(ctx)
	if err != nil {
		n.trouble("Deployment argocd-"+repoServer, err)
		return
	}
	subject := "Deployment " + settings.deployment.Name
	set := func(value string) string {
		if value == ".git" && len(settings.exclude) == 0 {
			return applyOverlay(settings.deployment)
		}
		fix := x.setParam(settings.deployment, "reposerver.plugin.tar.exclusions", value)
		if value != ".git" && argoManager(settings.deployment) == "" {
			fix += "\nand leave that key out of $INSTALL/argocd, where it would be a conflict from now on (docs/install.md, troubleshooting)"
		}
		return fix
	}
	without := false
	for _, pattern := range settings.exclude {
		if _, err := path.Match(pattern, "x"); err != nil {
			n.fail(subject, fmt.Sprintf("the exclusion %q is malformed, so no Application of any plugin renders", pattern), set(".git"))
			continue
		}
		if pattern == ".git" {
			without = true
			continue
		}
		for _, needed := range []string{".", "propagator.yaml", ".propagator", ".propagator/snapshot.yaml"} {
			if ok, _ := path.Match(pattern, needed); ok { // checked above
				n.fail(subject, fmt.Sprintf("the exclusion %q leaves out %s, without which no snapshot renders", pattern, name(needed)), set(".git"))
				break
			}
		}
		if ok, _ := path.Match(pattern, ".git"); ok {
			without = true
		}
	}
	switch {
	case !without:
		n.warn(subject, "it sends .git, the whole history, to the plugin with every render", set(strings.Join(append([]string{".git"}, settings.exclude...), ";")))
	case !n.faults() && x.checkTarRead(ctx, n, settings.deployment):
		n.ok(subject, "leaves out %s", strings.Join(settings.exclude, ", "))
	}
}

// checkTarRead wants the exclusions to be those that repo-server runs with.
func (x *examination) checkTarRead(ctx context.Context, n *notes, d *appsv1.Deployment) bool {
	c := repoServerContainer(d)
	return c == nil || x.checkRead(ctx, n, d, c, tarVariable)
}

func name(path string) string {
	if path == "." {
		return "everything"
	}
	return path
}
