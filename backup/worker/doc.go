// Package worker is what the child process `roundtable worker` does: one job on a repository, read from stdin as JSON, with its
// progress and its result as JSON lines on stdout.
//
// It keeps the heavy work out of the manager, which hosts the signing gate and must never lose its processor to compression. It knows
// the engine (package backup) and the stores, and nothing of nodes, clusters and configurations. Secrets come by stdin alone, and none
// goes out. Read job.go first, then run.go. ReadLine reads what a worker says, on the other side of the pipe.
package worker
