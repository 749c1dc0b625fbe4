// Package operations tries rolling restarts, upgrades and rollouts on real processes: it kills who takes part in them at each of
// their steps, and lets versions and configurations be wrong in every way that is known. Read box_test.go first, then walk_test.go.
package operations
