#!/usr/bin/env python3
"""Restores a backup out of a Roundtable repository, without Roundtable: docs/reference/repository.md tells the format.

Needs Python 3.6, the command zstd, and for an encrypted repository the command age.
"""

import argparse
import hashlib
import json
import os
import struct
import subprocess
import sys

RUN, LARGEST, TABLE, ENTRY = 1 << 17, 8 << 20, 1 << 16, struct.Struct("<32sIII")


def blake2b(data):
    return hashlib.blake2b(data, digest_size=32).digest()


def pipe(command, data):
    done = subprocess.run(command, input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0:
        sys.exit("%s: %s" % (" ".join(command), done.stderr.decode(errors="replace").strip()))
    return done.stdout


def inflate(data):
    return pipe(["zstd", "-d", "-c", "-q", "--memory=512MB"], data)


def inflate_all(frames, sizes):
    """Decompresses many frames at once: what they hold follows one after the other."""
    plain = inflate(b"".join(frames)) if frames else b""
    if len(plain) != sum(sizes):
        sys.exit("a pack has segments of another size than it must")
    at, out = 0, []
    for size in sizes:
        out.append(plain[at:at + size])
        at += size
    return out


class Repository:
    def __init__(self, path, identity):
        self.path, self.identity = path, identity
        lines = self.read("format").split(b"\n")
        if lines[0] != b"roundtable backup repository" or lines[1] != b"version 1":
            sys.exit("%s has no repository that is known here" % path)
        text = b"\n".join(lines[:-2]) + b"\n"
        if lines[-2] != b"blake2b-256 " + blake2b(text).hex().encode():
            sys.exit("format is damaged")
        self.id = lines[2].split()[1].decode()
        self.encrypted = lines[3].startswith(b"age ")
        if self.encrypted and not identity:
            sys.exit("the repository is encrypted: --identity is needed")

    def read(self, name):
        with open(os.path.join(self.path, *name.split("/")), "rb") as f:
            return f.read()

    def open(self, data):
        return pipe(["age", "--decrypt", "--identity", self.identity], data) if self.encrypted else data

    def object(self, folder, ref):
        name = "%s/%s/%08d" % (folder, ref["of"], ref["number"])
        data = self.read(name)
        if len(data) != ref["size"] or blake2b(data).hex() != ref["blake2b"]:
            sys.exit("%s is damaged" % name)
        return self.open(data)

    def manifest(self, backup):
        data = self.open(self.read("manifests/" + backup))
        if data[:8] != b"RTMANI1\n" or data[8:40] != blake2b(data[40:]):
            sys.exit("manifests/%s is damaged" % backup)
        manifest = json.loads(inflate(data[40:]).decode())
        if manifest["id"] != backup or manifest["repository"] != self.id:
            sys.exit("manifests/%s is another backup's" % backup)
        return manifest


def segments(size, shift):
    """Gives offset and length of each segment of a file."""
    at, i, length = 0, 0, 1 << shift
    while at < size:
        yield at, min(length, size - at)
        at += length
        i += 1
        if i % RUN == 0 and length < LARGEST:
            length *= 2


def safe(path):
    parts = path.split("/")
    if path.startswith("/") or any(p in ("", ".", "..", "finalizers", "safety.dat") for p in parts):
        sys.exit("the manifest has a path that it must not have: %r" % path)
    return os.path.join(*parts)


def restore(repository, backup, folder):
    manifest = repository.manifest(backup)
    os.makedirs(folder)  # it must not be there
    entries = b"".join(inflate(repository.object("tables", t)) for t in manifest["tables"])
    if len(entries) != manifest["entries"] * ENTRY.size:
        sys.exit("the tables have another size than they must")
    by_pack = {}  # pack -> (offset in the pack, stored bytes, sum, path, offset in the file, bytes)
    for f in manifest["files"]:
        path = os.path.join(folder, safe(f["path"]))
        if f.get("dir"):
            os.mkdir(path)
            continue
        size = f.get("size", 0)
        with open(path, "xb") as out:
            out.truncate(size)
        for i, (offset, length) in enumerate(segments(size, f["shift"])):
            digest, pack, at, stored = ENTRY.unpack_from(entries, (f.get("first", 0) + i) * ENTRY.size)
            if stored:
                by_pack.setdefault(pack, []).append((at, stored, digest, path, offset, length))
    for pack in sorted(by_pack):
        body = repository.object("packs", manifest["packs"][pack])
        wanted = sorted(by_pack[pack])
        packed = [w for w in wanted if w[1] < w[5]]
        plain = iter(inflate_all([body[w[0]:w[0] + w[1]] for w in packed], [w[5] for w in packed]))
        for at, stored, digest, path, offset, length in wanted:
            data = next(plain) if stored < length else body[at:at + stored]
            if blake2b(data) != digest:
                sys.exit("a segment of %s is damaged" % path)
            with open(path, "r+b") as out:
                for i in range(0, length, 4096):  # what has only zeros stays a hole
                    page = data[i:i + 4096]
                    if page.strip(b"\0"):
                        out.seek(offset + i)
                        out.write(page)
    for f in reversed(manifest["files"]):
        path = os.path.join(folder, safe(f["path"]))
        os.chmod(path, f["mode"])
        os.utime(path, ns=(f["mtime"], f["mtime"]))
    os.sync()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("repository", help="the folder of the repository, or a copy of the bucket")
    parser.add_argument("backup", nargs="?", help="which backup; without one they are listed")
    parser.add_argument("folder", nargs="?", help="where to restore it: a folder that is not there yet")
    parser.add_argument("--identity", help="age's identity file, for an encrypted repository")
    a = parser.parse_args()
    repository = Repository(a.repository, a.identity)
    if a.backup and a.folder:
        restore(repository, a.backup, a.folder)
        return
    damaged = []
    for backup in sorted(os.listdir(os.path.join(a.repository, "manifests"))):
        try:
            m = repository.manifest(backup)
            print(backup, json.dumps(m["meta"], sort_keys=True), "%d bytes" % m["size"])
        except (SystemExit, OSError, LookupError, TypeError, ValueError) as e:
            damaged.append("backup %s cannot be read: %s" % (backup, e))
    if damaged:
        sys.stdout.flush()
        sys.exit("\n".join(damaged))


if __name__ == "__main__":
    main()
