#!/usr/bin/env bash
# GitHub's Linux runners have /dev/kvm, but only for root until a udev rule opens it. Without KVM, emulation is used.
set -euo pipefail
if [ -e /dev/kvm ] && [ ! -w /dev/kvm ]; then
  echo 'KERNEL=="kvm", GROUP="kvm", MODE="0666", OPTIONS+="static_node=kvm"' |
    sudo -n tee /etc/udev/rules.d/99-lisa-ci-kvm.rules > /dev/null
  sudo -n udevadm control --reload-rules
  sudo -n udevadm trigger --name-match=kvm --settle
fi
