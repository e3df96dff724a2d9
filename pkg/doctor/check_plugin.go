package doctor

import (
	"context"
	"errors"
	"fmt"

	"github.com/fleeting-taas/propagator/pkg/kube"
)

func checkPluginName(ctx context.Context, x *examination, n *notes) {
	want, err := x.pluginName(ctx)
	if err != nil && !errors.Is(err, kube.ErrNotFound) {
		n.trouble("the plugin's name", err)
		return
	}
	sets, err := x.sets(ctx)
	if err != nil {
		n.trouble("ApplicationSets", err)
		return
	}
	fed := map[string]bool{}   // sets whose Applications are rendered by us
	wrong := map[string]bool{} // sets that make wrong Applications
	right := 0
	for _, s := range sets {
		fed[s.Metadata.Name] = true
		subject := "ApplicationSet " + s.Metadata.Name
		sources := s.Spec.Template.Spec.Sources
		if s.Spec.Template.Spec.Source != nil {
			sources = []source{*s.Spec.Template.Spec.Source}
		}
		for _, from := range sources {
			if fault := pluginFault(from, want, true); fault != "" {
				wrong[s.Metadata.Name] = true
				n.fail(subject, fault, fmt.Sprintf("set spec.template.spec.source.plugin.name to %s in the file that ApplicationSet %s is applied from, or:\n%s", want, s.Metadata.Name,
					x.kubectl(`patch applicationset %s --type merge -p '{"spec":{"template":{"spec":{"source":{"plugin":{"name":"%s"}}}}}}'`, s.Metadata.Name, want)))
			} else {
				right++
			}
		}
	}
	all, err := x.applications(ctx)
	if err != nil {
		n.trouble("Applications", err)
		return
	}
	for _, a := range all {
		for _, from := range a.all() {
			generated := fed[a.set()]
			if wrong[a.set()] || !generated && !from.ours() {
				continue // said above; and Dev's own Applications may use any plugin, or none
			}
			fault := pluginFault(from, want, generated)
			if fault == "" {
				right++
				continue
			}
			fix := x.kubectl(`patch application %s --type merge -p '{"spec":{"source":{"plugin":{"name":"%s"}}}}'`, a.Metadata.Name, want)
			if a.set() != "" {
				fix = fmt.Sprintf("set spec.template.spec.source.plugin.name to %s in ApplicationSet %s, which made it", want, a.set())
			}
			n.fail("Application "+a.Metadata.Name, fault, fix)
		}
	}
	switch {
	case n.faults():
	case right == 0:
		n.skip("plugin "+want, "no Application and no ApplicationSet asks for it yet", "")
	default:
		n.ok("plugin "+want, "named so by %s", plural(right, "source"))
	}
}

// pluginFault is what is wrong with how a source names the plugin; "" is right.
func pluginFault(from source, want string, must bool) string {
	switch {
	case from.Plugin == nil && must:
		return "it names no plugin, so its manifests are neither rendered from the snapshot nor pinned"
	case from.Plugin == nil || templated(from.Plugin.Name) || from.Plugin.Name == want:
		return ""
	case from.Plugin.Name == "":
		return "its plugin has no name; the sidecar has no discovery, so Argo CD finds none"
	}
	return fmt.Sprintf("its plugin is called %q, the sidecar's is %q; Argo CD looks for a socket of exactly that name", from.Plugin.Name, want)
}
