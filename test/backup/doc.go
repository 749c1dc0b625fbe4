// Package backup tries backups and restores on real processes: three managers with their nodes under a load of transactions, and a
// repository in a folder or on an S3 server that is a process, too. Whoever takes part is killed or frozen, at random moments and at each
// step; the repository is damaged, cannot be reached, is full, is somebody else's. What is then in the store is read without the managers'
// help. Read box_test.go first, then seeds_test.go.
package backup
