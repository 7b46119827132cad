# More words for this suite; ". ./words.sh" comes first.

list_has() { # WORD LIST: is the word one of the list's?
  case " $(echo $2) " in *" $1 "*) return 0 ;; esac
  return 1
}

as_nobody() { # COMMAND...: without any right of root's
  setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --bounding-set=-all -- "$@"
}

need_nobody() {
  need setpriv
  as_nobody true 2>/dev/null || skip "setpriv cannot give up root's rights here"
}

secure_boot() { # on | off | unknown: what the firmware says
  variable=/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c
  [ -r "$variable" ] || { echo unknown; return; }
  # Four bytes of attributes, then the value.
  case $(od -An -tu1 -j4 -N1 "$variable" | tr -d ' ') in 1) echo on ;; 0) echo off ;; *) echo unknown ;; esac
}

lockdown_mode() { # none | integrity | confidentiality | '' where the kernel has no lockdown
  sed -n 's/.*\[\(.*\)\].*/\1/p' /sys/kernel/security/lockdown 2>/dev/null
}

need_lockdown() {
  case $(lockdown_mode) in integrity | confidentiality) ;; *) fail "the kernel is not locked down: '$(lockdown_mode)'" ;; esac
}

kernel_config() { # the running kernel's options, into $scratch/config
  for place in /proc/config.gz "/boot/config-$(uname -r)" "/usr/lib/modules/$(uname -r)/config" \
    "/lib/modules/$(uname -r)/config" "/lib/modules/$(uname -r)/build/.config"; do
    [ -r "$place" ] || continue
    case $place in
      *.gz) gzip -dc "$place" >"$scratch/config" || fail "$place cannot be unpacked" ;;
      *) cat "$place" >"$scratch/config" ;;
    esac
    grep -q '^CONFIG_' "$scratch/config" || fail "$place has no option in it"
    return 0
  done
  skip "the options of this kernel are nowhere to be read"
}

module_copy() { # a module that is not loaded and needs no other, unpacked: $scratch/module.ko, $module
  [ -e /proc/modules ] || skip "this kernel has no loadable modules"
  need modprobe insmod rmmod modinfo
  for module in dummy crc7 crc8 crc-itu-t zram nbd; do
    name=$(echo "$module" | tr - _)
    ! grep -q "^$name " /proc/modules || continue
    file=$(modinfo -F filename "$module" 2>/dev/null) || continue
    [ -f "$file" ] && [ -z "$(modinfo -F depends "$module" | tr -d '\n')" ] || continue
    case $file in
      *.xz) need xz && xz -dc "$file" >"$scratch/module.ko" ;;
      *.zst) need zstd && zstd -dcq "$file" >"$scratch/module.ko" ;;
      *.gz) gzip -dc "$file" >"$scratch/module.ko" ;;
      *) cat "$file" >"$scratch/module.ko" ;;
    esac || fail "$file cannot be unpacked"
    module=$name
    return 0
  done
  skip "none of the modules tried here is a loadable one"
}

signature_bytes() { # of $scratch/module.ko: what is appended to the module itself; 0 where nothing is
  # include/linux/module_signature.h: the signature, 12 bytes that end in its length (big-endian), a line of 28 bytes.
  size=$(wc -c <"$scratch/module.ko")
  [ "$(tail -c 28 "$scratch/module.ko" | tr -d '\n')" = "~Module signature appended~" ] || { echo 0; return; }
  set -- $(tail -c 32 "$scratch/module.ko" | head -c 4 | od -An -tu1)
  echo $(($1 * 16777216 + $2 * 65536 + $3 * 256 + $4 + 40))
}

change_byte() { # FILE OFFSET: another value, whatever it was
  was=$(od -An -tu1 -j"$2" -N1 "$1" | tr -d ' ')
  printf "\\$(printf %03o $(((was + 1) % 256)))" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}

must_be_refused() { # FILE WHAT: insmod says no, and the kernel does not have it
  if insmod "$1" 2>"$scratch/errors"; then
    rmmod "$module"
    fail "$2 was loaded"
  fi
  grep -q "^$module " /proc/modules && fail "insmod failed, and $module is loaded all the same"
  # EKEYREJECTED, ENOKEY, EBADMSG, EPERM, by glibc and musl; another error would not be about the signature.
  grep -q -i -e 'key was rejected' -e 'key not available' -e 'bad message' -e 'not permitted' -e 'required key' \
    "$scratch/errors" || fail "$2 was not refused for its signature: $(tr '\n' ' ' <"$scratch/errors")"
  echo "$2: $(tr '\n' ' ' <"$scratch/errors")"
}

must_load() { # FILE: the module as it was delivered loads, so that a refusal is about what was changed
  insmod "$1" 2>"$scratch/errors" || fail "the module $module as it was delivered is refused: $(cat "$scratch/errors")"
  rmmod "$module" || fail "rmmod $module"
}

local_roots() { # mount points of file systems that are on this machine's disks; SECURITY_ROOTS="/path ..." instead
  if [ -n "$SECURITY_ROOTS" ]; then
    echo "$SECURITY_ROOTS" | tr ' ' '\n'
    return 0
  fi
  while read -r device place kind rest; do
    case $kind in ext[234] | xfs | btrfs | f2fs | overlay) printf '%b\n' "$place" ;; esac
  done </proc/mounts | sort -u
}

find_local() { # TESTS...: on each local file system, into $scratch/output
  local_roots >"$scratch/roots"
  [ -s "$scratch/roots" ] || fail "no local file system is mounted"
  while read -r root; do
    find "$root" -xdev -path /proc -prune -o "$@" -print 2>>"$scratch/errors"
  done <"$scratch/roots" | sort -u | grep -v -e '^/tmp/lisa-ci' -e '^/var/tmp/lisa-ci' -e '^/run/lisa-ci' >"$scratch/output"
}

tpm() { # COMMAND...: a tpm2-tools command that must work
  "$@" >>"$scratch/log" 2>&1 || { tail -n 5 "$scratch/log"; fail "$*: $(tail -n 1 "$scratch/log")"; }
}

need_tpm_tools() { # COMMAND...
  need "$@"
  [ -c /dev/tpmrm0 ] && TPM2TOOLS_TCTI=device:/dev/tpmrm0 || TPM2TOOLS_TCTI=device:/dev/tpm0
  export TPM2TOOLS_TCTI
}
