#!/bin/sh
# PID 1 of the initramfs: load the drivers, find the root disk by its place on the bus, mount it, give way to its init.
# "root" has a value a line, "load" a module a line.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs /run

fail() { # the machine powers itself off, so that nobody waits for a login that never comes
  echo "lisa-ci: $*" >/dev/console
  sync
  poweroff -f
}

while read -r module; do
  insmod "/modules/$module" || echo "lisa-ci: $module was not loaded" >/dev/console
done </load

{ read -r slot && read -r partition && read -r kind && read -r options && read -r init && read -r modules; } </root ||
  fail "this initramfs is damaged"

find_disk() { # SLOT PARTITION: sets "disk" to its name, waits for it
  read -r now _ </proc/uptime
  limit=$((${now%.*} + 30))
  while [ "${now%.*}" -lt "$limit" ]; do
    for place in /sys/bus/pci/devices/0000:00:"$1".0/virtio*/block/*; do
      if [ "$2" = 0 ]; then
        disk=${place##*/}
        [ -b "/dev/$disk" ] && return
        continue
      fi
      for part in "$place"/*/partition; do
        [ "$(cat "$part" 2>/dev/null)" = "$2" ] || continue
        disk=${part%/partition} disk=${disk##*/}
        [ -b "/dev/$disk" ] && return
      done
    done
    sleep 0.1
    read -r now _ </proc/uptime
  done
  return 1
}

find_disk "$slot" "$partition" ||
  fail "the root disk did not appear in 30 s: does the kernel have virtio_pci, virtio_blk and the partition table?"
said=$(mount -t "$kind" -o "$options" "/dev/$disk" /sysroot 2>&1) ||
  fail "the root file system ($kind on $disk) cannot be mounted: $said"

if [ "$modules" != 00 ] && find_disk "$modules" 0; then
  target=/sysroot/lib/modules
  [ -L /sysroot/lib ] && target=/sysroot/usr/lib/modules # an absolute link would lead back into this initramfs
  if ! [ -d "$target" ]; then
    mount -o remount,rw /sysroot
    mkdir -p "$target"
    mount -o "remount,$options" /sysroot
  fi
  mount -t ext4 -o rw,noatime "/dev/$disk" "$target" || fail "the disk of the kernel's modules cannot be mounted"
fi

[ -x "/sysroot$init" ] || [ -L "/sysroot$init" ] || fail "the root file system has no $init"
for place in dev proc sys run; do
  [ -d "/sysroot/$place" ] || fail "the root file system has no folder /$place"
  mount -o move "/$place" "/sysroot/$place"
done
exec switch_root -c /dev/console /sysroot "$init"
