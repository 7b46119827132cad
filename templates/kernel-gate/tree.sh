#!/bin/sh
# build-kernel.sh FOLDER: builds this kernel tree; FOLDER/kernel.tar.zst is what lisa-ci.yml names under kernel.from.
set -eu
delivery=$(mkdir -p "$1" && cd "$1" && pwd)
cd "${0%/*}"

if [ -n "${CI:-}" ]; then # on a runner; at a desk they are there
  sudo apt-get update -q
  sudo apt-get install -y -q --no-install-recommends bc bison ccache cpio flex kmod libelf-dev libssl-dev
fi
make() { command make -s -j "$(nproc)" CC="ccache gcc" KBUILD_BUILD_TIMESTAMP=1970-01-01 "$@"; }

# The configuration: what the tree has, else what a machine of QEMU's needs. "lisa-ci plan" tells what is missing.
[ -f .config ] || make defconfig kvm_guest.config
# KUnit's tests run by the suite kunit; drop the line where you have a choice of your own.
./scripts/config -m KUNIT -e KUNIT_DEBUGFS -m KUNIT_ALL_TESTS -m FW_CFG_SYSFS
make olddefconfig
make bzImage modules

kernel=$(mktemp -d)
mkdir "$kernel/boot"
make modules_install INSTALL_MOD_PATH="$kernel" INSTALL_MOD_STRIP=1
cp arch/x86/boot/bzImage "$kernel/boot/vmlinuz"
cp .config "$kernel/boot/config"
cp System.map vmlinux "$kernel/boot/"
tar --zstd -C "$kernel" -cf "$delivery/kernel.tar.zst" .
rm -rf "$kernel"

# The suite kselftest runs what is beside its suite.yaml or in the image, so the tests of *this* tree go with it:
# make -C tools/testing/selftests gen_tar FORMAT=.xz TARGETS="timers futex"
