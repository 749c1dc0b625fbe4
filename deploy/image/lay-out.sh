#!/usr/bin/env bash
# Puts together in bin/image what the Dockerfile adds, as two archives: a system's few files, and the programs with the folders
# of their user. The same commit gives the same bytes: times are the commit's, owners are numbers.
set -euo pipefail
umask 022
cd "$(dirname "$0")/../.."
certificates=${CERTIFICATES:-/etc/ssl/certs/ca-certificates.crt}
[ -r "$certificates" ] || { echo "no CA certificates at $certificates: install the package ca-certificates, or name a bundle with CERTIFICATES="; exit 1; }
for program in bin/roundtable bin/simnodeos; do
	go version -m "$program" | grep -q CGO_ENABLED=0 || { echo "$program is not static, and the image has no C library: make build"; exit 1; }
done
at=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}

# pack ARCHIVE OWNER FOLDER PATH...: these paths, a folder without what is in it.
pack() { tar --append --no-recursion --format=ustar --mtime="@$at" --owner="$2" --group="$2" --numeric-owner --file="$1" --directory="$3" "${@:4}"; }

rm -rf bin/image
mkdir -p bin/image && cd bin/image
install -d -m 0755 system/etc/ssl/certs programs/usr/bin programs/var/lib programs/homes
install -d -m 1777 system/tmp
install -m 0644 ../../deploy/image/{passwd,group} system/etc/
install -m 0644 "$certificates" system/etc/ssl/certs/ca-certificates.crt
install -m 0755 ../roundtable ../simnodeos programs/usr/bin/
install -d -m 0700 programs/var/lib/roundtable programs/homes/{m{1,2,3,4,5,6,7},tokens,scraper,prometheus}
pack system.tar 0 system etc etc/passwd etc/group etc/ssl etc/ssl/certs etc/ssl/certs/ca-certificates.crt tmp
pack programs.tar 0 programs usr usr/bin usr/bin/roundtable usr/bin/simnodeos var var/lib homes
pack programs.tar 65532 programs var/lib/roundtable homes/{m{1,2,3,4,5,6,7},tokens,scraper,prometheus}
rm -rf system programs
