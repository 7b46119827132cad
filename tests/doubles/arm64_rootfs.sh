#!/bin/sh
# Makes a root file system for arm64 by the demo's own recipe. Runs as the recipe does (lisa_ci/demo/rootfs.py).
#
#   arm64_rootfs.sh RECIPE WORK SUITE PACKAGES UUID OFFSET_BYTES SIZE_KIB
#
# The recipe makes and sets up a root for this host's own architecture. Before it becomes a file system, every file of
# its packages is replaced by the one of arm64. No program of arm64 runs here, which would take ten minutes.
set -eu

if [ "$1" != swap ]; then
  recipe=$1 work=$2
  shift
  mkdir "$work/bin"
  printf '#!/bin/sh\n%s "$@" && exec sh %s swap %s %s\n' "$(command -v mmdebstrap)" "$(readlink -f "$0")" "$work" "$2" >"$work/bin/mmdebstrap"
  chmod +x "$work/bin/mmdebstrap"
  PATH="$work/bin:$PATH" exec sh "$recipe/rootfs.sh" "$@"
fi

work=$2 suite=$3
root=$work/root arm64=$work/arm64
[ -d "$root/boot" ] # nothing else is ever emptied below
rm "$work/bin/mmdebstrap"
echo "I: replacing the packages by those of arm64..."
names=$(dpkg-query --admindir="$root/var/lib/dpkg" -W -f '${Package}\n' | grep -v amd64 | tr '\n' ',')
mkdir "$arm64"
mount -t tmpfs -o mode=0755 tmpfs "$arm64"
mmdebstrap --mode=root --variant=extract --architectures=arm64 --skip=check/empty,output/dev,output/mknod,cleanup/reproducible \
  --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' --aptopt="$work/apt.conf" \
  --include="${names}linux-image-cloud-arm64,busybox-static,systemd-boot-efi" "$suite" "$arm64" "$work/sources.list"

cd "$root"
rm -rf usr/lib/x86_64-linux-gnu usr/lib64/* boot/* usr/lib/modules/* etc/ld.so.cache
tar -C "$arm64" -c --exclude=./dev --exclude=./proc --exclude=./sys --exclude=./tmp --exclude=./run --exclude=./var \
  --exclude=./etc/apt --exclude=./etc/hostname --exclude=./etc/resolv.conf --exclude='./usr/share/doc/*' \
  --exclude='./usr/share/man/*' --exclude='./usr/share/info/*' --exclude='./usr/share/locale/*' . |
  tar -C "$root" --keep-directory-symlink -x
umount "$arm64"

version=$(ls "$root/usr/lib/modules")
depmod -b "$root" "$version"
initrd=$work/initrd number=100
mkdir -p "$initrd/bin" "$initrd/modules" "$initrd/proc" "$initrd/sys" "$initrd/dev" "$initrd/root"
cp "$root/bin/busybox" "$initrd/bin/"
for module in virtio_pci virtio_blk crc32c_generic ext4; do
  modprobe -d "$root" -S "$version" --ignore-install --show-depends "$module" >"$work/needed"
  while read -r kind file rest; do
    [ "$kind" = insmod ] || continue # built in
    [ -z "$(find "$initrd/modules" -name "*-${file##*/}")" ] || continue
    cp "$file" "$initrd/modules/$number-${file##*/}"
    number=$((number + 1))
  done <"$work/needed"
done
cat >"$initrd/init" <<'END'
#!/bin/busybox sh
# The root disk of a machine is its first virtio disk, and the root file system in its second partition.
PATH=/bin
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs devtmpfs /dev
for module in /modules/*; do busybox insmod "$module"; done
until [ -b /dev/vda2 ]; do busybox sleep 0.1; done
busybox mount -t ext4 /dev/vda2 /root
for folder in proc sys dev; do busybox mount --move "/$folder" "/root/$folder"; done
exec busybox switch_root /root /sbin/init
END
chmod +x "$initrd/init"
(cd "$initrd" && find . | busybox cpio -o -H newc) | gzip -1 >"$root/boot/initrd.img-$version"
