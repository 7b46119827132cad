#!/bin/sh
# Makes the root file system of the demo's image. Runs as root of namespaces of its own (see image.py), so that the
# mounts made here, and everything still running, are gone when it ends, however it ends.
#
#   rootfs.sh WORK SUITE PACKAGES UUID OFFSET_BYTES SIZE_KIB
#
# WORK holds sources.list, apt.conf and disk.raw; PACKAGES are separated by commas. The file system goes straight into
# disk.raw at OFFSET_BYTES; the kernel and its initrd come out as WORK/vmlinuz and WORK/initrd.img.
set -eu
umask 022
exec 2>&1
work=$1 suite=$2 packages=$3 uuid=$4 offset=$5 size=$6
recipe=$(dirname "$0")
export LISA_CI_RECIPE="$recipe" LISA_CI_WORK="$work" INITRD=No LC_ALL=C TMPDIR=/tmp
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" # a user's own often lacks them

# In memory nothing waits for a disk, and nothing is left behind.
mount -t tmpfs -o mode=0755 tmpfs "$work/root"

# The paths are excluded by a file of ours, not by --dpkgopt=path-exclude: mmdebstrap would then pass each archive
# through a filter in Python, which takes three times as long as all the rest of the unpacking.
# INITRD=No: the kernel's package makes no initrd; the hook makes the only one, once.
# shellcheck disable=SC2016 # mmdebstrap runs the hooks in a shell of its own
mmdebstrap --mode=root --variant=minbase --verbose \
    --skip=check/empty,output/dev,output/mknod,cleanup/reproducible \
    --aptopt='APT::Install-Recommends "false"' \
    --aptopt='Acquire::Languages "none"' \
    --aptopt="$work/apt.conf" \
    --include="$packages" \
    --setup-hook='cp -R "$LISA_CI_RECIPE/overlay/." "$1"' \
    --customize-hook='sh "$LISA_CI_RECIPE/customize.sh" "$1"' \
    "$suite" "$work/root" "$work/sources.list"

echo "I: making the file system..."
cp "$work"/root/boot/vmlinuz-* "$work/vmlinuz"
cp "$work"/root/boot/initrd.img-* "$work/initrd.img"
mke2fs -q -F -t ext4 -L lisa-ci-demo -U "$uuid" -m 1 -E "offset=$offset,hash_seed=$uuid,nodiscard" \
    -d "$work/root" "$work/disk.raw" "${size}k"
