package workload

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// defaultMode is what the API server fills in for files of volumes.
const defaultMode = 0o644

// mounts fills the volumes that a container mounts.
func (p *pod) mounts(ctx context.Context, container *corev1.Container) ([]Mount, error) {
	volumes := map[string]*corev1.Volume{}
	for i := range p.template.Spec.Volumes {
		volumes[p.template.Spec.Volumes[i].Name] = &p.template.Spec.Volumes[i]
	}
	var mounts []Mount
	for _, m := range container.VolumeMounts {
		volume, ok := volumes[m.Name]
		if !ok {
			// The API server refuses this; a StatefulSet's claim templates come here.
			return nil, fmt.Errorf("volumeMount %s: the Pod has no volume of this name that is played here", m.Name)
		}
		files, err := p.files(ctx, volume)
		if err != nil {
			return nil, fmt.Errorf("volume %s: %w", m.Name, err)
		}
		mounts = append(mounts, Mount{Path: path.Clean(m.MountPath), Volume: m.Name, SubPath: m.SubPath, Files: files})
	}
	return mounts, nil
}

// files are those of a volume, nil for an emptyDir.
func (p *pod) files(ctx context.Context, volume *corev1.Volume) (map[string]File, error) {
	files := map[string]File{}
	switch {
	case volume.EmptyDir != nil:
		return nil, nil
	case volume.Secret != nil:
		v := volume.Secret
		err := p.addFiles(ctx, files, kindSecret, v.SecretName, v.Items, v.DefaultMode, isTrue(v.Optional))
		return files, err
	case volume.ConfigMap != nil:
		v := volume.ConfigMap
		err := p.addFiles(ctx, files, kindConfigMap, v.Name, v.Items, v.DefaultMode, isTrue(v.Optional))
		return files, err
	case volume.Projected != nil:
		for _, source := range volume.Projected.Sources {
			var err error
			switch {
			case source.Secret != nil:
				err = p.addFiles(ctx, files, kindSecret, source.Secret.Name, source.Secret.Items, volume.Projected.DefaultMode, isTrue(source.Secret.Optional))
			case source.ConfigMap != nil:
				err = p.addFiles(ctx, files, kindConfigMap, source.ConfigMap.Name, source.ConfigMap.Items, volume.Projected.DefaultMode, isTrue(source.ConfigMap.Optional))
			default:
				err = errors.New("a projected source is neither a Secret nor a ConfigMap, which is all that is played here")
			}
			if err != nil {
				return nil, err
			}
		}
		return files, nil
	}
	return nil, errors.New("its kind is not played here: only emptyDir, secret, configMap and projected are")
}

// addFiles adds the keys of an object as files: those of items, or all.
func (p *pod) addFiles(ctx context.Context, files map[string]File, kind, name string, items []corev1.KeyToPath, mode *int32, optional bool) error {
	values, ok, err := p.reader.values(ctx, kind, name)
	if err != nil {
		return err
	}
	if !ok && !optional {
		return notFound(ReasonMount, kind, name)
	}
	if len(items) == 0 {
		for key, value := range values {
			files[key] = File{Data: value, Mode: fileMode(nil, mode)}
		}
		return nil
	}
	for _, item := range items {
		value, has := values[item.Key]
		if !has {
			if optional {
				continue
			}
			return &StartError{Reason: ReasonMount, Err: fmt.Errorf("references non-existent key %s in %s %q", item.Key, strings.ToLower(kind), name)}
		}
		if !fs.ValidPath(item.Path) {
			return &StartError{Reason: ReasonMount, Err: fmt.Errorf("item %s has the path %q, which leaves the volume", item.Key, item.Path)}
		}
		files[item.Path] = File{Data: value, Mode: fileMode(item.Mode, mode)}
	}
	return nil
}

// fileMode is the first of two that is set.
func fileMode(own, volume *int32) fs.FileMode {
	for _, mode := range []*int32{own, volume} {
		if mode != nil {
			return fs.FileMode(*mode) & fs.ModePerm
		}
	}
	return defaultMode
}
