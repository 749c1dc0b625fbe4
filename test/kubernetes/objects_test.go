package kubernetes

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	psapi "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// TestNames: every object has a name that the API server takes, and is in the namespace.
func TestNames(t *testing.T) {
	for key, o := range cluster.objects {
		m := o.(metav1.Object)
		if bad := validation.IsDNS1123Subdomain(m.GetName()); len(bad) > 0 {
			t.Errorf("%s: %v", key, bad)
		}
		if strings.HasPrefix(key, "Namespace/") {
			continue
		}
		if m.GetNamespace() != namespace {
			t.Errorf("%s is in namespace %q", key, m.GetNamespace())
		}
		for k, v := range m.GetLabels() {
			if bad := append(validation.IsQualifiedName(k), validation.IsValidLabelValue(v)...); len(bad) > 0 {
				t.Errorf("%s: label %s=%s: %v", key, k, v, bad)
			}
		}
	}
	if len(cluster.objects) != 11 {
		t.Errorf("%d objects", len(cluster.objects))
	}
}

// TestRestricted: the pods are let in under Pod Security's strictest profile, which the namespace asks for.
func TestRestricted(t *testing.T) {
	ns := object[*corev1.Namespace](t, "Namespace/"+namespace)
	if level := ns.Labels[psapi.EnforceLevelLabel]; level != string(psapi.LevelRestricted) {
		t.Errorf("the namespace asks for %q", level)
	}
	e, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	pod := statefulSet(t).Spec.Template
	for _, r := range e.EvaluatePod(psapi.LevelVersion{Level: psapi.LevelRestricted, Version: psapi.LatestVersion()}, &pod.ObjectMeta, &pod.Spec) {
		if !r.Allowed {
			t.Errorf("%s: %s", r.ForbiddenReason, r.ForbiddenDetail)
		}
	}
	for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		if s := c.SecurityContext; s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
			t.Errorf("%s can write its root", c.Name)
		}
	}
}

// TestSelectors: whoever selects the members selects exactly the pods of the set.
func TestSelectors(t *testing.T) {
	set := statefulSet(t)
	pod := labels.Set(set.Spec.Template.Labels)
	selects := func(who string, s *metav1.LabelSelector) {
		t.Helper()
		selector, err := metav1.LabelSelectorAsSelector(s)
		if err != nil || selector.Empty() || !selector.Matches(pod) {
			t.Errorf("%s selects %s (%v), the pods are %s", who, selector, err, pod)
		}
	}
	selects("the set", set.Spec.Selector)
	selects("the budget", object[*policyv1.PodDisruptionBudget](t, "PodDisruptionBudget/roundtable").Spec.Selector)
	network := object[*networkingv1.NetworkPolicy](t, "NetworkPolicy/roundtable")
	selects("the network policy", &network.Spec.PodSelector)
	selects("its first rule", network.Spec.Ingress[0].From[0].PodSelector)
	for _, term := range set.Spec.Template.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
		selects("the affinity", term.LabelSelector)
	}
	for _, name := range []string{"roundtable", "roundtable-api"} {
		s := object[*corev1.Service](t, "Service/"+name)
		selects(name, &metav1.LabelSelector{MatchLabels: s.Spec.Selector})
	}
}

// TestMembersAreFound: the set's names come from a service without an address of its own that does not wait for readiness,
// and the clients' service does.
func TestMembersAreFound(t *testing.T) {
	set := statefulSet(t)
	names := object[*corev1.Service](t, "Service/"+set.Spec.ServiceName)
	if names.Spec.ClusterIP != corev1.ClusterIPNone || !names.Spec.PublishNotReadyAddresses {
		t.Errorf("%s: %+v", names.Name, names.Spec)
	}
	clients := object[*corev1.Service](t, "Service/roundtable-api")
	if clients.Spec.ClusterIP != "" || clients.Spec.PublishNotReadyAddresses {
		t.Errorf("%s: %+v", clients.Name, clients.Spec)
	}
	if int(*set.Spec.Replicas) != len(members) || set.Spec.PodManagementPolicy != "Parallel" {
		t.Errorf("%d replicas, %s", *set.Spec.Replicas, set.Spec.PodManagementPolicy)
	}
	budget := object[*policyv1.PodDisruptionBudget](t, "PodDisruptionBudget/roundtable")
	if budget.Spec.MaxUnavailable == nil || *budget.Spec.MaxUnavailable != intstr.FromInt32(1) {
		t.Errorf("the budget: %+v", budget.Spec)
	}
}

// TestPortNames: every port that is named anywhere is one of the manager's, with the same protocol.
func TestPortNames(t *testing.T) {
	type port struct {
		number   int32
		protocol corev1.Protocol
	}
	ports := map[string]port{}
	protocol := func(p corev1.Protocol) corev1.Protocol {
		if p == "" {
			return corev1.ProtocolTCP
		}
		return p
	}
	for _, p := range container(t, "manager").Ports {
		if bad := validation.IsValidPortName(p.Name); len(bad) > 0 {
			t.Errorf("%s: %v", p.Name, bad)
		}
		ports[p.Name] = port{p.ContainerPort, protocol(p.Protocol)}
	}
	for _, name := range []string{"roundtable", "roundtable-api"} {
		for _, p := range object[*corev1.Service](t, "Service/"+name).Spec.Ports {
			if want, ok := ports[p.TargetPort.StrVal]; !ok || want.protocol != protocol(p.Protocol) || want.number != p.Port {
				t.Errorf("%s: port %s -> %s is none of the pod's: %v", name, p.Name, p.TargetPort.StrVal, ports)
			}
		}
	}
	for _, rule := range object[*networkingv1.NetworkPolicy](t, "NetworkPolicy/roundtable").Spec.Ingress {
		for _, p := range rule.Ports {
			proto := corev1.ProtocolTCP
			if p.Protocol != nil {
				proto = *p.Protocol
			}
			if want, ok := ports[p.Port.StrVal]; !ok || want.protocol != proto {
				t.Errorf("network policy: port %s is none of the pod's", p.Port.StrVal)
			}
		}
	}
	first := object[*networkingv1.NetworkPolicy](t, "NetworkPolicy/roundtable").Spec.Ingress[0]
	if len(first.Ports) != len(ports) {
		t.Errorf("members reach %d of each other's %d ports", len(first.Ports), len(ports))
	}
}

// TestVolumes: what is mounted is there, with every key that is named, and a pod sees no other one's secrets.
func TestVolumes(t *testing.T) {
	set := statefulSet(t)
	spec := set.Spec.Template.Spec
	volumes := map[string]bool{}
	for _, v := range set.Spec.VolumeClaimTemplates {
		volumes[v.Name] = true
	}
	for _, v := range spec.Volumes {
		volumes[v.Name] = true
		if v.ConfigMap != nil {
			object[*corev1.ConfigMap](t, "ConfigMap/"+v.ConfigMap.Name)
		}
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			secret := object[*corev1.Secret](t, "Secret/"+s.Secret.Name)
			for _, item := range s.Secret.Items {
				if _, ok := secret.Data[item.Key]; !ok {
					t.Errorf("%s has no key %s", s.Secret.Name, item.Key)
				}
				if !strings.HasPrefix(item.Path, s.Secret.Name+"/") {
					t.Errorf("%s of %s is in somebody else's folder: %s", item.Key, s.Secret.Name, item.Path)
				}
			}
			if len(s.Secret.Items) != len(secret.Data) {
				t.Errorf("%s: %d of %d keys are used", s.Secret.Name, len(s.Secret.Items), len(secret.Data))
			}
		}
	}
	for _, c := range append(spec.InitContainers, spec.Containers...) {
		env := map[string]bool{}
		for _, e := range c.Env {
			env[e.Name] = true
		}
		for _, m := range c.VolumeMounts {
			if !volumes[m.Name] {
				t.Errorf("%s mounts %s, which is no volume", c.Name, m.Name)
			}
			if m.SubPathExpr != "" && (!strings.HasPrefix(m.SubPathExpr, "$(POD_NAME)") || !env["POD_NAME"]) {
				t.Errorf("%s mounts %s at %s without knowing its name", c.Name, m.Name, m.SubPathExpr)
			}
			if (m.Name == "seeds" || m.Name == "config") && (m.SubPathExpr == "" || !m.ReadOnly) {
				t.Errorf("%s sees all of %s, or may write it", c.Name, m.Name)
			}
		}
	}
}
