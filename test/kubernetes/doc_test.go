// Package kubernetes tests deploy/kubernetes with Kubernetes' own types and checks: what kustomize makes of it is decoded
// strictly, held to Pod Security's strictest profile, and its probes, ports, names and files are held to the program's own. It
// is a module of its own, so that the program needs none of Kubernetes' modules.
//
// Read cluster_test.go first: it lays out the homes and builds the objects as an operator does.
package kubernetes
