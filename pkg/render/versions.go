package render

import "runtime/debug"

// Versions returns the versions of the kustomize and Helm libraries linked
// into this program; "unknown" where the program was built without module
// information.
func Versions() (kustomize, helm string) {
	kustomize, helm = "unknown", "unknown"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return kustomize, helm
	}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		switch m.Path {
		case "sigs.k8s.io/kustomize/api":
			kustomize = m.Version
		case "helm.sh/helm/v4":
			helm = m.Version
		}
	}
	return kustomize, helm
}
