package kubernetes

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const (
	root      = "../.."
	manifests = root + "/deploy/kubernetes"
	namespace = "roundtable"
	home      = "/var/lib/roundtable"
)

var members = []string{"roundtable-0", "roundtable-1", "roundtable-2"}

// host is a member's name in the cluster's DNS.
func host(id string) string { return id + ".roundtable." + namespace + ".svc.cluster.local" }

// built is what an operator's kubectl apply -k would send: by kind and name.
type built struct {
	program string // roundtable
	seed    string // the homes as init laid them out
	objects map[string]runtime.Object
	yaml    []byte
}

var cluster built

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "roundtable-kubernetes-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := cluster.build(dir); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// build lays out the homes as the README says, and lets kustomize make the objects.
func (b *built) build(dir string) error {
	b.program = filepath.Join(dir, "roundtable")
	build := exec.Command("go", "build", "-ldflags", "-s -w", "-o", b.program, "./cmd/roundtable")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	work := filepath.Join(dir, "kubernetes")
	if err := os.CopyFS(work, os.DirFS(manifests)); err != nil {
		return err
	}
	b.seed = filepath.Join(work, "seed")
	var list []string
	for _, id := range members {
		list = append(list, id+"="+host(id))
	}
	init := exec.Command(b.program, "init", "--dir", b.seed, "--at", home, "--members", strings.Join(list, ","),
		"--cluster", "prod", "--producers", "mybp", "--demo-chain", "--nodeos", "/usr/bin/simnodeos", "--token-dir", filepath.Join(work, "tokens"))
	if out, err := init.CombinedOutput(); err != nil {
		return fmt.Errorf("roundtable init: %w\n%s", err, out)
	}
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), work)
	if err != nil {
		return fmt.Errorf("kustomize: %w", err)
	}
	if b.yaml, err = made.AsYaml(); err != nil {
		return err
	}
	return b.decode()
}

// decode reads the objects into Kubernetes' own types; an unknown or repeated field is an error.
func (b *built) decode() error {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{appsv1.AddToScheme, corev1.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return err
		}
	}
	strict := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme, json.SerializerOptions{Yaml: true, Strict: true})
	b.objects = map[string]runtime.Object{}
	for _, text := range bytes.Split(b.yaml, []byte("\n---\n")) {
		o, kind, err := strict.Decode(text, nil, nil)
		if err != nil {
			return fmt.Errorf("%w in\n%s", err, text)
		}
		named, ok := o.(interface{ GetName() string })
		if !ok {
			return fmt.Errorf("a %s without a name", kind)
		}
		b.objects[kind.Kind+"/"+named.GetName()] = o
	}
	return nil
}

// object finds an object that must be there.
func object[T runtime.Object](t *testing.T, name string) T {
	t.Helper()
	o, ok := cluster.objects[name].(T)
	if !ok {
		t.Fatalf("there is no %s", name)
	}
	return o
}

func statefulSet(t *testing.T) *appsv1.StatefulSet {
	t.Helper()
	return object[*appsv1.StatefulSet](t, "StatefulSet/roundtable")
}

// container is one of the pod's, init containers among them.
func container(t *testing.T, name string) corev1.Container {
	t.Helper()
	spec := statefulSet(t).Spec.Template.Spec
	for _, c := range append(spec.InitContainers, spec.Containers...) {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no container %q", name)
	return corev1.Container{}
}
