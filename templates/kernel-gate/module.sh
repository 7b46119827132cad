#!/bin/sh
# build-kernel.sh FOLDER: builds the module of this repository for the distribution's kernel. FOLDER/kernel.tar and
# FOLDER/modules/ are what lisa-ci.yml names under kernel.from and kernel.extra.
set -eu
delivery=$(mkdir -p "$1" && cd "$1" && pwd)
cd "${0%/*}"
repository=$PWD

flavour=${FLAVOUR:-generic} # as in linux-headers-FLAVOUR; Debian calls its own amd64 and cloud-amd64
if [ -n "${CI:-}" ]; then # on a runner; at a desk they are there
  sudo apt-get update -q
  sudo apt-get install -y -q --no-install-recommends "linux-headers-$flavour"
fi
headers=$(find /usr/src -maxdepth 1 -name "linux-headers-*-$flavour" | sort -V | tail -n 1)
[ -n "$headers" ] || { echo "there is no /usr/src/linux-headers-*-$flavour" >&2; exit 1; }
release=${headers##*/linux-headers-}

# Without this folder's name in front a file is told as the repository calls it, wherever it was built.
make -s -j "$(nproc)" -C "$headers" M="$PWD" KCFLAGS="-fmacro-prefix-map=$PWD/=" modules
rm -rf "$delivery/modules"
mkdir "$delivery/modules"
find . -path "./${1#./}" -prune -o -name '*.ko' -exec cp -t "$delivery/modules" {} +

# The kernel and its modules: one package for Debian, two for Ubuntu, which are joined into one tar file there.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -q "linux-image-$release"
if apt-cache show "linux-modules-$release" >/dev/null 2>&1; then
  apt-get download -q "linux-modules-$release"
fi
for package in ./*.deb; do
  dpkg-deb -x "$package" tree
done
tar -C tree -cf "$delivery/kernel.tar" .

# The checks of system calls: one static program.
if [ -f "$repository/kernel-tests/syscalls/suite.yaml" ]; then
  command make -C "$repository/kernel-tests/syscalls" BUILD="$work/syscalls"
  mkdir -p "$delivery/kernel-tests/syscalls/build"
  cp "$work"/syscalls/lisa-syscalls.* "$delivery/kernel-tests/syscalls/build/"
fi
