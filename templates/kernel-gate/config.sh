#!/bin/sh
# build-kernel.sh FOLDER: builds the distribution's kernel with the fragments in config/ of this repository merged into
# its configuration, and its tests. FOLDER/kernel.tar.zst is what lisa-ci.yml names under kernel.from; FOLDER/kernel-tests/SUITE
# gets what a suite of this repository runs in the machine.
set -eu
delivery=$(mkdir -p "$1" && cd "$1" && pwd)
cd "${0%/*}"
repository=$PWD

if [ -n "${CI:-}" ]; then # on a runner; at a desk they are there
  sudo apt-get update -q
  sudo apt-get install -y -q --no-install-recommends bc bison ccache cpio flex kmod libcap-dev libelf-dev libssl-dev linux-source rsync
fi
make() { command make -s -j "$(nproc)" CC="ccache gcc" KBUILD_BUILD_TIMESTAMP=1970-01-01 "$@"; }

# The sources: the newest that the distribution has packaged. A pinned tarball with its sha256 does as well.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/source"
export CCACHE_NOHASHDIR=1 # that folder has another name each time, which would count where there is debug information
archive=$(find /usr/src -maxdepth 1 -name 'linux-source-*.tar.*' | sort -V | tail -n 1)
[ -n "$archive" ] || { echo "there is no /usr/src/linux-source-*.tar.*" >&2; exit 1; }
tar -C "$work/source" --strip-components=1 -xf "$archive"
cd "$work/source"

if [ -f "$repository/config/base" ]; then
  cp "$repository/config/base" .config
else
  make defconfig kvm_guest.config
fi
./scripts/kconfig/merge_config.sh -m .config "$repository"/config/*.config
make olddefconfig
# An option that was asked for and that Kconfig dropped would be tested by nobody; so would one that another selects again.
# Of fragments that name the same option the last one counts, as for merge_config.sh.
awk '/^CONFIG_[A-Za-z0-9_]*=/ { said[substr($0, 1, index($0, "=") - 1)] = $0 }
  /^# CONFIG_[A-Za-z0-9_]* is not set$/ { said[$2] = $0 }
  END { for (option in said) print said[option] }' "$repository"/config/*.config >asked
sed -n '/^CONFIG_/p' asked | sort >wanted
sed -n 's/^# \(CONFIG_[A-Za-z0-9_]*\) is not set$/^\1=/p' asked >unwanted
sort .config >given
lost=$(comm -23 wanted given) kept=$(grep -f unwanted given || true)
[ -z "$lost" ] || printf 'Kconfig does not give:\n%s\n' "$lost" >&2
[ -z "$kept" ] || printf 'Kconfig sets all the same:\n%s\n' "$kept" >&2
[ -z "$lost$kept" ] || exit 1
make bzImage modules

mkdir -p "$work/kernel/boot"
make modules_install INSTALL_MOD_PATH="$work/kernel" INSTALL_MOD_STRIP=1
cp arch/x86/boot/bzImage "$work/kernel/boot/vmlinuz"
cp .config "$work/kernel/boot/config"
cp System.map vmlinux "$work/kernel/boot/"
tar --zstd -C "$work/kernel" -cf "$delivery/kernel.tar.zst" .

# The selftests of these sources, those of these collections: linked statically, since the image has another libc than this job.
# For exec, which cannot be, and openat2, which wants libasan, set SELFTESTS_LDFLAGS= and have this job's libraries in the image.
if [ -f "$repository/kernel-tests/kselftest/suite.yaml" ]; then
  make headers
  make -C tools/testing/selftests install INSTALL_PATH="$work/kselftest" FORCE_TARGETS=1 \
    TARGETS="${SELFTESTS:-clone3 core futex mincore pidfd proc timens vDSO}" USERLDFLAGS="${SELFTESTS_LDFLAGS--static}"
  mkdir -p "$delivery/kernel-tests/kselftest"
  tar -C "$work" -czf "$delivery/kernel-tests/kselftest/kselftest.tar.gz" kselftest
fi

# The checks of system calls: one static program.
if [ -f "$repository/kernel-tests/syscalls/suite.yaml" ]; then
  command make -C "$repository/kernel-tests/syscalls" BUILD="$work/syscalls"
  mkdir -p "$delivery/kernel-tests/syscalls/build"
  cp "$work"/syscalls/lisa-syscalls.* "$delivery/kernel-tests/syscalls/build/"
fi
