package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/fleeting-taas/propagator/pkg/codehost"
	"github.com/fleeting-taas/propagator/pkg/config"
	"github.com/fleeting-taas/propagator/pkg/doctor"
	gitremote "github.com/fleeting-taas/propagator/pkg/gitrepo/remote"
	"github.com/fleeting-taas/propagator/pkg/promotion"
	registryremote "github.com/fleeting-taas/propagator/pkg/registry/remote"
)

// doctorRetries bounds the retries of an examination: it wants to know how
// things are, not to wait until they are better.
const doctorRetries = 2

// examination joins the examination with the adapters. It makes no connection.
func (a *app) examination(o *doctorOptions) (doctor.Config, error) {
	c := doctor.Config{
		Namespace: o.namespace,
		Version:   programVersion(),
		URLs:      map[doctor.Program]string{doctor.Hook: o.hookURL, doctor.Generator: o.generatorURL, doctor.Sidecar: o.sidecarURL},

		PluginsDir:     o.pluginsDir,
		Endpoints:      a.registries.Endpoints,
		OwnCredentials: o.ownCredentials,
		GitCredentials: o.gitLogin,
		ReadOnly:       o.readOnly,
		MaxArchive:     o.maxArchive << 20,
		Timeout:        o.timeout,
		Log:            a.logger(),
		OpenRepository: a.openForDoctor,
		OpenRegistries: a.openRegistriesForDoctor,
		CheckHost:      a.checkHost,
	}
	if o.repositoryGiven {
		c.Repositories = a.git.Repositories
	}
	if o.branchGiven {
		c.Branch = a.git.Branch
	}
	if origin, err := gitremote.Origin("."); err == nil {
		c.Origin = origin
	}
	var err error
	c.HTTP, err = httpClient(a.git.CAFile)
	return c, err
}

func (a *app) openForDoctor(url string, login *doctor.Login) (doctor.Repository, error) {
	flags, env := a.git, a.env
	flags.Repositories = []string{url}
	if login != nil {
		flags.Username, flags.PasswordFile = login.Username, ""
		env = append([]string{"PROPAGATOR_GIT_PASSWORD=" + login.Password}, env...) // the first one counts
	}
	openers, err := flags.Openers(env, a.logger())
	if err != nil {
		return nil, err
	}
	repo, err := openers[0]()
	if err != nil {
		return nil, err
	}
	asked, ok := repo.(doctor.Repository)
	if !ok {
		return nil, fmt.Errorf("repository %s cannot say whether it may be pushed to", repo.URL())
	}
	return asked, nil
}

func (a *app) openRegistriesForDoctor(dockerConfig []byte, endpoints map[string]string) (doctor.Registries, error) {
	set := &registryremote.Set{Endpoints: endpoints, Logger: a.logger(), Retries: min(a.retries, doctorRetries)}
	if set.Retries == 0 {
		set.Retries = -1 // the adapter's word for never
	}
	if dockerConfig != nil {
		keychain, err := registryremote.DockerKeychain(dockerConfig)
		if err != nil {
			return nil, err
		}
		set.Keychain = keychain
	}
	return func(r config.Registry) (doctor.Registry, error) {
		opened, err := set.Open(r)
		if err != nil {
			return nil, err
		}
		asked, ok := opened.(doctor.Registry)
		if !ok {
			return nil, fmt.Errorf("registry %s cannot say what is allowed", opened.Name())
		}
		return asked, nil
	}, nil
}

// checkHost asks with the tokens of the cluster alone, if there are any.
func (a *app) checkHost(ctx context.Context, repository string, host config.CodeHost, tokens map[string]string) (string, error) {
	set := codehost.Set{Given: tokens, CAFile: a.git.CAFile}
	if tokens == nil {
		set.Tokens, set.Token = a.hosts.Tokens, a.variable(codehost.Variable)
	}
	client, err := set.Open(repository, host)
	if err == nil {
		err = client.MayRead(ctx)
	}
	var why *promotion.HostError
	if errors.As(err, &why) {
		return why.Fix, err
	}
	return "", err
}

// httpClient is for questions without credentials, and for addresses of our own
// programs.
func httpClient(caFile string) (*http.Client, error) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment}
	if caFile != "" {
		bundle, err := os.ReadFile(caFile) //nolint:gosec // the user names the file
		if err != nil {
			return nil, fmt.Errorf("--git-ca-file: %w", err)
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		pool.AppendCertsFromPEM(bundle)
		transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	}
	return &http.Client{Transport: transport}, nil
}
