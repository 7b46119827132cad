#!/bin/sh
# The last touch to the root file system in $1, before it becomes a disk: what a distribution's image build does.
set -eu
root=$1

# No check before mounting: the journal is replayed anyway, and a check costs seconds of each boot on emulation.
printf 'UUID=%s / ext4 errors=remount-ro 0 0\n' "$(cat "$LISA_CI_WORK/root.uuid")" >"$root/etc/fstab"
echo lisa-ci-demo >"$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 lisa-ci-demo\n::1 localhost ip6-localhost\n' >"$root/etc/hosts"
: >"$root/etc/default/locale"
ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"

chroot "$root" systemctl --quiet enable systemd-networkd systemd-resolved ssh lisa-ci-demo-host-key
# Nothing here waits for the network, no timer should start work of its own in the middle of a test.
chroot "$root" systemctl --quiet mask systemd-networkd-wait-online e2scrub_reap apt-daily.timer apt-daily-upgrade.timer
chroot "$root" systemctl --quiet set-default multi-user.target
chroot "$root" passwd --quiet --lock root
chmod +x "$root/etc/initramfs-tools/hooks/lisa-ci-demo" # a wheel carries no executable bits
chroot "$root" update-initramfs -c -k all

# What must differ from machine to machine, and what the build left behind.
: >"$root/etc/machine-id"
rm -f "$root"/etc/ssh/ssh_host_* "$root"/etc/resolv.conf.* "$root"/etc/hostname.* "$root"/var/lib/systemd/random-seed
rm -f "$root"/etc/apt/apt.conf.d/99mmdebstrap "$root"/var/lib/dbus/machine-id
rm -rf "$root"/usr/share/man/* "$root"/usr/share/info/* "$root"/usr/share/locale/* "$root"/var/cache/debconf/*-old
find "$root/usr/share/doc" -type f ! -name copyright -delete
find "$root/var/log" -type f -delete
