#!/bin/sh
# build-kernel.sh FOLDER: builds this kernel tree and its tests. FOLDER/kernel.tar.zst is what lisa-ci.yml names under
# kernel.from; FOLDER/kernel-tests/SUITE gets what a suite of this repository runs in the machine.
set -eu
delivery=$(mkdir -p "$1" && cd "$1" && pwd)
cd "${0%/*}"

if [ -n "${CI:-}" ]; then # on a runner; at a desk they are there
  sudo apt-get update -q
  sudo apt-get install -y -q --no-install-recommends \
    bc bison ccache cpio flex kmod libcap-dev libelf-dev libssl-dev rsync
fi
make() { command make -s -j "$(nproc)" CC="ccache gcc" KBUILD_BUILD_TIMESTAMP=1970-01-01 "$@"; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The configuration: what the tree has, else what a machine of QEMU's needs. "lisa-ci plan" tells what is missing.
[ -f .config ] || make defconfig kvm_guest.config
# KUnit's tests run by the suite kunit; drop the line where you have a choice of your own.
./scripts/config -m KUNIT -e KUNIT_DEBUGFS -m KUNIT_ALL_TESTS -m FW_CFG_SYSFS
make olddefconfig
make bzImage modules

mkdir -p "$work/kernel/boot"
make modules_install INSTALL_MOD_PATH="$work/kernel" INSTALL_MOD_STRIP=1
cp arch/x86/boot/bzImage "$work/kernel/boot/vmlinuz"
cp .config "$work/kernel/boot/config"
cp System.map vmlinux "$work/kernel/boot/"
tar --zstd -C "$work/kernel" -cf "$delivery/kernel.tar.zst" .

# The selftests of this tree, those of these collections: linked statically, since the image has another libc than this job.
# For exec, which cannot be, and openat2, which wants libasan, set SELFTESTS_LDFLAGS= and have this job's libraries in the image.
if [ -f kernel-tests/kselftest/suite.yaml ]; then
  make headers
  make -C tools/testing/selftests install INSTALL_PATH="$work/kselftest" FORCE_TARGETS=1 \
    TARGETS="${SELFTESTS:-clone3 core futex mincore pidfd proc timens vDSO}" USERLDFLAGS="${SELFTESTS_LDFLAGS--static}"
  mkdir -p "$delivery/kernel-tests/kselftest"
  tar -C "$work" -czf "$delivery/kernel-tests/kselftest/kselftest.tar.gz" kselftest
fi

# The kernel as a program, with KUnit's own choice of tests, as kunit.py builds it, static as well. It is built from what is
# committed, in a folder of its own: this tree is not clean any more.
if [ -f kernel-tests/kunit/suite.yaml ]; then
  mkdir -p "$work/uml" "$delivery/kernel-tests/kunit"
  git archive HEAD | tar -x -C "$work/uml"
  cp "${KUNITCONFIG:-tools/testing/kunit/configs/default.config}" "$work/uml/.config"
  ./scripts/config --file "$work/uml/.config" -e STATIC_LINK
  make -C "$work/uml" ARCH=um olddefconfig
  make -C "$work/uml" ARCH=um linux
  cp "$work/uml/linux" "$delivery/kernel-tests/kunit/"
fi

# The checks of system calls: one static program.
if [ -f kernel-tests/syscalls/suite.yaml ]; then
  command make -C kernel-tests/syscalls BUILD="$work/syscalls"
  mkdir -p "$delivery/kernel-tests/syscalls/build"
  cp "$work"/syscalls/lisa-syscalls.* "$delivery/kernel-tests/syscalls/build/"
fi
