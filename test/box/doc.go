// Package box is a sandbox of real processes as tests hold it: it asks the cluster over its API, waits for what should come, and ends
// the test where it does not. Tests of operations (test/operations) and of backups (test/backup) share it. Read box.go first.
package box
