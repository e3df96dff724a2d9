package argocd

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/fleeting-taas/propagator/e2e/internal/workload"
)

// ArgoCD is a running Argo CD. Each component can be stopped, killed and
// started alone; all end with their kubelet.
type ArgoCD struct {
	Redis           *workload.Workload
	RepoServer      *workload.Workload
	Controller      *workload.Workload
	ApplicationSets *workload.Workload
	Notifications   *workload.Workload
	Server          *workload.Workload
}

// containers of the components, as install.yaml names them.
var (
	redisRef         = workload.Ref{Kind: workload.Deployment, Name: "argocd-redis", Container: "redis"}
	redisPassword    = workload.Ref{Kind: workload.Deployment, Name: "argocd-redis", Container: "secret-init"}
	repoServerRef    = workload.Ref{Kind: workload.Deployment, Name: "argocd-repo-server", Container: "argocd-repo-server"}
	controllerRef    = workload.Ref{Kind: workload.StatefulSet, Name: "argocd-application-controller", Container: "argocd-application-controller"}
	applicationSets  = workload.Ref{Kind: workload.Deployment, Name: "argocd-applicationset-controller", Container: "argocd-applicationset-controller"}
	notificationsRef = workload.Ref{Kind: workload.Deployment, Name: "argocd-notifications-controller", Container: "argocd-notifications-controller"}
	serverRef        = workload.Ref{Kind: workload.Deployment, Name: "argocd-server", Container: "argocd-server"}
)

// Start runs all components of an Argo CD that was installed, and waits until
// they are ready. The kubelet needs its [Images]. Server goes first: it makes
// the project "default" and the key that the ApplicationSet controller's
// webhook wants; the others would come up without, but not find them.
func Start(ctx context.Context, k *workload.Kubelet) (*ArgoCD, error) {
	a, err := start(ctx, k)
	if err != nil {
		return nil, fmt.Errorf("start argo cd: %w", err)
	}
	return a, nil
}

func start(ctx context.Context, k *workload.Kubelet) (*ArgoCD, error) {
	// Makes the Secret with redis' password; whoever needs it waits for it.
	if err := k.RunInit(ctx, redisPassword); err != nil {
		return nil, err
	}
	a := &ArgoCD{}
	steps := [][]component{
		{{redisRef, &a.Redis}, {repoServerRef, &a.RepoServer}, {serverRef, &a.Server}},
		{{controllerRef, &a.Controller}, {applicationSets, &a.ApplicationSets}, {notificationsRef, &a.Notifications}},
	}
	for _, step := range steps {
		if err := run(ctx, k, step); err != nil {
			return nil, err
		}
	}
	return a, nil
}

type component struct {
	ref  workload.Ref
	into **workload.Workload
}

// run runs components side by side and waits for them.
func run(ctx context.Context, k *workload.Kubelet, components []component) error {
	var ready errgroup.Group
	var errs []error
	for _, c := range components {
		w, err := k.Run(c.ref)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		*c.into = w
		ready.Go(func() error { return w.Ready(ctx) })
	}
	return errors.Join(append(errs, ready.Wait())...)
}

// Components are all of them, by the name that their workload has.
func (a *ArgoCD) Components() map[string]*workload.Workload {
	all := map[string]*workload.Workload{}
	for _, w := range []*workload.Workload{a.Redis, a.RepoServer, a.Controller, a.ApplicationSets, a.Notifications, a.Server} {
		all[w.Ref().Name] = w
	}
	return all
}

// ServerURL is that of argocd-server's API, with a certificate of its own
// making.
func (a *ArgoCD) ServerURL() (string, error) {
	address, ok := a.Server.Address(8080)
	if !ok {
		return "", errors.New("argocd-server does not run")
	}
	return "https://" + address, nil
}
