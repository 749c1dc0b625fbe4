#!/bin/sh
# A volume driver for LVM: AN EXAMPLE, not tested here. The node's data folder is the mountpoint of the logical volume
# $VOLUME_GROUP/$VOLUME_NAME. It needs root, and under the systemd unit there is no sudo: README.md says who may call it then. Elsewhere a
# sudo rule for this script alone does, in a wrapper that says `exec sudo -n /etc/roundtable/lvm.sh "$@"`.
#
# A thin volume needs no size for its snapshots; a thick one needs $VOLUME_SIZE, for what nodeos writes until the release. A snapshot that
# runs full is lost, and the backup fails then.
set -eu
group=${VOLUME_GROUP:?} name=${VOLUME_NAME:?}
mounts=/run/roundtable-volumes
prefix=roundtable-

case ${1:-} in
take)
	lv=$prefix$2
	if ! lvs "$group/$lv" >/dev/null 2>&1; then
		lvcreate --snapshot ${VOLUME_SIZE:+--size "$VOLUME_SIZE"} --name "$lv" "$group/$name" >&2
	fi
	lvchange --activate y --ignoreactivationskip "$group/$lv" >&2
	mkdir -p "$mounts/$2"
	# XFS refuses to mount two of one UUID without nouuid; ext4 does not know that option.
	mountpoint -q "$mounts/$2" || mount -o ro,nouuid "/dev/$group/$lv" "$mounts/$2" 2>/dev/null || mount -o ro "/dev/$group/$lv" "$mounts/$2"
	echo "$mounts/$2"
	;;
release)
	if mountpoint -q "$mounts/$2"; then
		umount "$mounts/$2"
	fi
	rm -rf "${mounts:?}/$2"
	if lvs "$group/$prefix$2" >/dev/null 2>&1; then
		lvremove --yes "$group/$prefix$2" >&2
	fi
	;;
*)
	echo "lvm.sh: want take or release" >&2
	exit 1
	;;
esac
