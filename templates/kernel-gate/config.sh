#!/bin/sh
# build-kernel.sh FOLDER: builds the distribution's kernel with the fragments in config/ of this repository merged into
# its configuration; FOLDER/kernel.tar.zst is what lisa-ci.yml names under kernel.from.
set -eu
delivery=$(mkdir -p "$1" && cd "$1" && pwd)
cd "${0%/*}"
repository=$PWD

if [ -n "${CI:-}" ]; then # on a runner; at a desk they are there
  sudo apt-get update -q
  sudo apt-get install -y -q --no-install-recommends bc bison ccache cpio flex kmod libelf-dev libssl-dev linux-source
fi
make() { command make -s -j "$(nproc)" CC="ccache gcc" KBUILD_BUILD_TIMESTAMP=1970-01-01 "$@"; }

# The sources: the newest that the distribution has packaged. A pinned tarball with its sha256 does as well.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
archive=$(find /usr/src -maxdepth 1 -name 'linux-source-*.tar.*' | sort -V | tail -n 1)
[ -n "$archive" ] || { echo "there is no /usr/src/linux-source-*.tar.*" >&2; exit 1; }
tar -C "$work" --strip-components=1 -xf "$archive"
cd "$work"

if [ -f "$repository/config/base" ]; then
  cp "$repository/config/base" .config
else
  make defconfig kvm_guest.config
fi
./scripts/kconfig/merge_config.sh -m .config "$repository"/config/*.config
make olddefconfig
# An option that was asked for and that Kconfig dropped would be tested by nobody.
sed -n '/^CONFIG_.*=/p' "$repository"/config/*.config | sort -u >wanted
sort .config >given
lost=$(comm -23 wanted given)
[ -z "$lost" ] || { printf 'Kconfig does not give:\n%s\n' "$lost" >&2; exit 1; }
make bzImage modules

kernel=$(mktemp -d)
mkdir "$kernel/boot"
make modules_install INSTALL_MOD_PATH="$kernel" INSTALL_MOD_STRIP=1
cp arch/x86/boot/bzImage "$kernel/boot/vmlinuz"
cp .config "$kernel/boot/config"
cp System.map vmlinux "$kernel/boot/"
tar --zstd -C "$kernel" -cf "$delivery/kernel.tar.zst" .
rm -rf "$kernel"
