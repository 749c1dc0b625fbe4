package kubernetes

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// programs names the folder with kube-apiserver and etcd, which `make k8s-apiserver` builds; without it this test is skipped.
const programs = "ROUNDTABLE_APISERVER"

// apiServer is a real one, alone: no controllers, so nothing is started.
type apiServer struct {
	t      *testing.T
	url    string
	client *http.Client
}

const apiToken = "test"

// startAPIServer starts it on an etcd of its own; both end with the test.
func startAPIServer(t *testing.T) *apiServer {
	t.Helper()
	bin := os.Getenv(programs)
	if bin == "" {
		t.Skip("skipped: it takes Kubernetes' API server; run: make k8s-apiserver")
	}
	dir := t.TempDir()
	etcd, peers, api := freeAddress(t), freeAddress(t), freeAddress(t)
	process(t, filepath.Join(bin, "etcd"), "--data-dir", filepath.Join(dir, "etcd"), "--unsafe-no-fsync",
		"--listen-client-urls", "http://"+etcd, "--advertise-client-urls", "http://"+etcd, "--listen-peer-urls", "http://"+peers,
		"--initial-advertise-peer-urls", "http://"+peers, "--initial-cluster", "default=http://"+peers)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	accounts, tokens := filepath.Join(dir, "accounts.key"), filepath.Join(dir, "tokens.csv")
	for file, text := range map[string][]byte{
		accounts: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}),
		tokens:   []byte(apiToken + ",admin,admin,system:masters\n"),
	} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, port, _ := net.SplitHostPort(api)
	process(t, filepath.Join(bin, "kube-apiserver"), "--etcd-servers", "http://"+etcd, "--bind-address", "127.0.0.1", "--secure-port", port,
		"--cert-dir", filepath.Join(dir, "certs"), "--token-auth-file", tokens, "--authorization-mode", "RBAC",
		"--service-account-issuer", "https://kubernetes.default", "--service-account-key-file", accounts,
		"--service-account-signing-key-file", accounts, "--service-cluster-ip-range", "10.0.0.0/24")
	s := &apiServer{t, "https://" + api, &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, //nolint:gosec // its certificate is of a moment ago
	}}
	deadline := time.Now().Add(2 * time.Minute)
	for {
		status, body, err := s.ask(http.MethodGet, "/readyz", "", nil)
		if err == nil && status == http.StatusOK {
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("the API server is not ready: %d %v %s", status, err, body)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// process starts a program that ends with the test; what it says is shown where the test failed.
func process(t *testing.T, program string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, args...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // killed
		if t.Failed() {
			lines := strings.Split(said.String(), "\n")
			t.Logf("%s said at the end:\n%s", filepath.Base(program), strings.Join(lines[max(0, len(lines)-20):], "\n"))
		}
	})
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// ask sends a request.
func (s *apiServer) ask(method, path, kind string, body []byte) (status int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+apiToken)
	req.Header.Set("Content-Type", kind)
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// collections are where objects of a kind are made.
var collections = map[string]string{
	"Namespace": "/api/v1/namespaces", "ServiceAccount": "/api/v1/namespaces/roundtable/serviceaccounts", "Service": "/api/v1/namespaces/roundtable/services",
	"ConfigMap": "/api/v1/namespaces/roundtable/configmaps", "Secret": "/api/v1/namespaces/roundtable/secrets", "Pod": "/api/v1/namespaces/roundtable/pods",
	"StatefulSet":         "/apis/apps/v1/namespaces/roundtable/statefulsets",
	"PodDisruptionBudget": "/apis/policy/v1/namespaces/roundtable/poddisruptionbudgets",
	"NetworkPolicy":       "/apis/networking.k8s.io/v1/namespaces/roundtable/networkpolicies",
}

// kindOf reads kind and name of an object.
func kindOf(t *testing.T, text []byte) (kind, name string) {
	t.Helper()
	var o struct {
		Kind     string
		Metadata struct{ Name string }
	}
	if err := yaml.Unmarshal(text, &o); err != nil {
		t.Fatal(err)
	}
	return o.Kind, o.Metadata.Name
}

// TestAPIServer sends a real API server what kubectl apply -k would: it makes every object, with no field unknown to it, takes
// each again as kubectl apply does, and lets the pods in that the set would make.
func TestAPIServer(t *testing.T) {
	s := startAPIServer(t)
	const strict = "?fieldValidation=Strict"
	for _, text := range bytes.Split(cluster.yaml, []byte("\n---\n")) {
		kind, name := kindOf(t, text)
		to, ok := collections[kind]
		if !ok {
			t.Fatalf("a %s is sent nowhere", kind)
		}
		if status, answer, err := s.ask(http.MethodPost, to+strict, "application/yaml", text); err != nil || status != http.StatusCreated {
			t.Errorf("%s %s: %d %v\n%s", kind, name, status, err, answer)
		}
		again := fmt.Sprintf("%s/%s%s&dryRun=All&fieldManager=test&force=true", to, name, strict)
		if status, answer, err := s.ask(http.MethodPatch, again, "application/apply-patch+yaml", text); err != nil || status != http.StatusOK {
			t.Errorf("%s %s again: %d %v\n%s", kind, name, status, err, answer)
		}
	}
	for _, id := range members {
		if status, answer := s.makePod(pod(t, id)); status != http.StatusCreated {
			t.Errorf("pod %s: %d\n%s", id, status, answer)
		}
	}
	// That it looks at all.
	loose := pod(t, "loose")
	loose.Spec.Containers[0].SecurityContext.Capabilities = nil
	if status, answer := s.makePod(loose); status != http.StatusForbidden {
		t.Errorf("a pod that keeps its capabilities: %d\n%s", status, answer)
	}
	wrong := []byte("apiVersion: v1\nkind: Service\nmetadata: {name: wrong}\nspec: {clusterIP: None, publishNotReady: true, ports: [{port: 1}]}\n")
	if status, answer, err := s.ask(http.MethodPost, collections["Service"]+strict, "application/yaml", wrong); err != nil || status != http.StatusBadRequest {
		t.Errorf("a field that is unknown: %d %v\n%s", status, err, answer)
	}
}

// pod is what the controller of the set would make.
func pod(t *testing.T, name string) *corev1.Pod {
	t.Helper()
	set := statefulSet(t)
	template := set.Spec.Template.DeepCopy()
	p := &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: template.ObjectMeta, Spec: template.Spec}
	p.Name, p.Namespace = name, namespace
	p.Spec.Hostname, p.Spec.Subdomain = name, set.Spec.ServiceName
	for _, claim := range set.Spec.VolumeClaimTemplates {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: claim.Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim.Name + "-" + name},
		}})
	}
	return p
}

func (s *apiServer) makePod(p *corev1.Pod) (status int, answer []byte) {
	s.t.Helper()
	text, err := yaml.Marshal(p)
	if err != nil {
		s.t.Fatal(err)
	}
	status, answer, err = s.ask(http.MethodPost, collections["Pod"], "application/yaml", text)
	if err != nil {
		s.t.Fatal(err)
	}
	return status, answer
}
