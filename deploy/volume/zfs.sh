#!/bin/sh
# A volume driver for ZFS: AN EXAMPLE, not tested here. The node's data folder is the mountpoint of the dataset $VOLUME_DATASET.
# The user of roundtable needs: zfs allow -u roundtable snapshot,destroy,mount "$VOLUME_DATASET"
#
# Snapshots can be read below .zfs/snapshot of the mountpoint, also when that folder is hidden (snapdir=hidden), so nothing is mounted.
set -eu
dataset=${VOLUME_DATASET:?the dataset that is mounted at the data folder, such as tank/nodeos}
prefix=roundtable-

case ${1:-} in
take)
	zfs list -H -o name "$dataset@$prefix$2" >/dev/null 2>&1 || zfs snapshot "$dataset@$prefix$2"
	echo "$3/.zfs/snapshot/$prefix$2"
	;;
release)
	if zfs list -H -o name "$dataset@$prefix$2" >/dev/null 2>&1; then
		zfs destroy "$dataset@$prefix$2"
	fi
	;;
*)
	echo "zfs.sh: want take or release" >&2
	exit 1
	;;
esac
