package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// Longer than a suite may run, so that nothing has to renew a token.
const tokenLife = 24 * time.Hour

// Kubeconfig is the admin's kubeconfig, with the namespace argocd.
func (c *Cluster) Kubeconfig() string { return c.path("kubeconfigs", "admin") }

func (c *Cluster) writeAdminKubeconfig() error {
	certificate, err := os.ReadFile(c.pki.file("admin.crt"))
	if err != nil {
		return err
	}
	key, err := os.ReadFile(c.pki.file("admin.key"))
	if err != nil {
		return err
	}
	return c.writeKubeconfig(c.Kubeconfig(), Namespace, &api.AuthInfo{ClientCertificateData: certificate, ClientKeyData: key})
}

// ServiceAccountKubeconfig writes a kubeconfig with a new token of a service
// account and returns its path, which is the same each time. The token is valid
// for a day and ends with the service account. A service account that does not
// exist is an error that IsNotFound of k8s.io/apimachinery recognises.
func (c *Cluster) ServiceAccountKubeconfig(ctx context.Context, namespace, name string) (path string, err error) {
	seconds := int64(tokenLife / time.Second)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	answer, err := c.clientset.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("token of service account %s/%s: %w", namespace, name, err)
	}
	path = c.path("kubeconfigs", namespace+"."+name)
	if err := c.writeKubeconfig(path, namespace, &api.AuthInfo{Token: answer.Status.Token}); err != nil {
		return "", fmt.Errorf("kubeconfig of service account %s/%s: %w", namespace, name, err)
	}
	return path, nil
}

// writeKubeconfig replaces a kubeconfig as a whole, since its reader may be at
// work.
func (c *Cluster) writeKubeconfig(path, namespace string, user *api.AuthInfo) error {
	authority, err := os.ReadFile(c.pki.file("ca.crt"))
	if err != nil {
		return err
	}
	const name = "e2e"
	text, err := clientcmd.Write(api.Config{
		Clusters:       map[string]*api.Cluster{name: {Server: c.Server(), CertificateAuthorityData: authority}},
		AuthInfos:      map[string]*api.AuthInfo{name: user},
		Contexts:       map[string]*api.Context{name: {Cluster: name, AuthInfo: name, Namespace: namespace}},
		CurrentContext: name,
	})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	// After the rename there is nothing to remove.
	defer func() { _ = os.Remove(temp.Name()) }()
	if _, err := temp.Write(text); err != nil {
		_ = temp.Close()
		return err
	}
	if err := temp.Close(); err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}
