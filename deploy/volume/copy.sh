#!/bin/sh
# A volume driver that needs no volume manager: it copies. On file systems with reflinks (XFS, Btrfs, bcachefs) the copy takes no
# time and no space; elsewhere it takes both, but is still quicker than a backup, for which the node would be down.
#
#   copy.sh take ID DIR    copy.sh release ID
#
# The copies go to $VOLUME_SIDE, which should be on the file system of DIR, and not in it; its default is in the home, where the systemd unit
# lets it write. Only what a backup reads is copied: blocks/
# and state/, never finalizers/.
set -eu
side=${VOLUME_SIDE:-/var/lib/roundtable/volumes}

fail() { echo "copy.sh: $*" >&2; exit 1; }

case ${1:-} in
take)
	[ $# -eq 3 ] || fail "want: take ID DIR"
	id=$2 dir=$3
	[ -d "$dir" ] || fail "$dir is no folder"
	if [ ! -d "$side/$id" ]; then
		umask 077
		mkdir -p "$side"
		rm -rf "$side/$id.part" # what a call before this one did not finish
		mkdir "$side/$id.part"
		for name in blocks state; do
			[ ! -e "$dir/$name" ] || cp -a --reflink=auto --sparse=always "$dir/$name" "$side/$id.part/"
		done
		mv "$side/$id.part" "$side/$id" # only what is complete has the name
	fi
	echo "$side/$id"
	;;
release)
	[ $# -eq 2 ] || fail "want: release ID"
	rm -rf "$side/$2.part" "$side/$2"
	;;
*)
	fail "want take or release"
	;;
esac
