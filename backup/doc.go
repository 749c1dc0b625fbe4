// Package backup keeps what a node needs to come back: repositories of backups, and what is written into and read out of them.
//
// A file is cut into segments by offset (law.go). A segment that no earlier backup has at its place is compressed and put into
// a pack, an object of about 16 MiB (pack.go). Tables tell of each segment of each file in which pack it is (entry.go, table.go),
// and the manifest of a backup tells its files, tables and packs (manifest.go). It is written last: pending/<id>, and after it
// was read back manifests/<id>. Nothing is ever changed, so a writer or a sweeper that was frozen and goes on later does no
// harm: each backup writes packs under its own id, and refers to others' only through manifests of backups that are done.
// docs/reference/repository.md describes all of it byte by byte.
//
// The package neither starts processes nor knows where a store is; subpackages open them. Read backup.go first, then check.go,
// restore.go and sweep.go.
package backup
