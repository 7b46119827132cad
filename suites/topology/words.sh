# Words that the checks of this suite are written in. A check runs in this folder and starts with ". ./words.sh".
# Exit status: 0 passed, 77 skipped (the last line says why), anything else failed (the line "FAIL: ..." says why).
# The same file is in each bundled suite, because every suite is copied alone.
LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export LC_ALL PATH

fail() { # TEXT...
  echo "FAIL: $*"
  exit 1
}

skip() { # REASON...
  echo "SKIP: $*"
  exit 77
}

make_scratch() { # a folder of our own, gone at the end
  scratch=$(mktemp -d /tmp/lisa-ci-check.XXXXXX) || fail "cannot make a folder in /tmp"
  trap 'rm -rf "$scratch"' EXIT
}

output_of() { # COMMAND...: into $scratch/output; a command that cannot tell is no good news
  "$@" >"$scratch/output" 2>"$scratch/errors" || fail "$* failed: $(head -n 1 "$scratch/errors")"
}

need() { # PROGRAM...: skips where one is not there
  for program; do
    command -v "$program" >/dev/null 2>&1 || skip "no $program here"
  done
}

need_systemd() {
  [ -d /run/systemd/system ] || skip "systemd does not run here"
}

need_fact() { # NAME...: skips where the profile does not say it
  for fact; do
    eval "[ -n \"\${LISA_CI_$fact:-}\" ]" || skip "the profile does not say LISA_CI_$fact"
  done
}

wait_for_boot() { # SSH answers before the boot is over
  timeout 150 systemctl is-system-running --wait >/dev/null 2>&1
}

kernel_log() { # err | all: the kernel's own lines of this boot, without their time, into $scratch/output
  # Facility 0 is the kernel's: systemd and others write into its log as well.
  if command -v journalctl >/dev/null 2>&1 && [ -d /run/systemd/system ]; then
    case $1 in err) set -- -p err ;; *) set -- ;; esac
    output_of journalctl -k -b -q -o cat --no-pager "$@" _TRANSPORT=kernel SYSLOG_FACILITY=0
  else
    case $1 in err) worst=3 ;; *) worst=7 ;; esac
    output_of dmesg -r
    sed -n "s/^<[0-$worst]>\\(\\[ *[0-9.]*\\] \\)*//p" "$scratch/output" >"$scratch/kernel"
    mv "$scratch/kernel" "$scratch/output"
  fi
}

disks() { # "NAME SERIAL" of every disk, into $scratch/disks
  for disk in /sys/block/*; do
    name=${disk##*/}
    case $name in loop* | ram* | zram* | sr* | fd* | dm-* | md*) continue ;; esac
    hidden=0
    [ ! -r "$disk/hidden" ] || read -r hidden <"$disk/hidden"
    [ "$hidden" != 1 ] || continue # one path of several to a disk
    serial=
    for file in "$disk/serial" "$disk/device/serial"; do # virtio, nvme
      [ -r "$file" ] || continue
      read -r serial <"$file" || : # the line may have no end
      break
    done
    case $name in sd*)
      # SCSI's page 0x80: a header of four bytes, then the serial number.
      serial=$(dd if="$disk/device/vpd_pg80" bs=1 skip=4 2>/dev/null | tr -d '\0')
      [ -n "$serial" ] || ! command -v udevadm >/dev/null 2>&1 ||
        serial=$(udevadm info --query=property --name="$name" 2>/dev/null | sed -n 's/^ID_SERIAL_SHORT=//p')
      ;;
    esac
    echo "$name" $serial
  done >"$scratch/disks"
}
