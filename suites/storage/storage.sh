# What the cases of this suite stand on. A case starts with ". ./storage.sh", then "begin".
. ./steps.sh

mib=1048576

target() { # NAME...: targets of the device mapper that the kernel has to have
  tools dmsetup dmsetup
  for name; do
    case $name in linear | error) ;; *) modprobe "dm-$name" 2>/dev/null ;; esac
    dmsetup targets 2>/dev/null | grep -q "^$name " || skip "this kernel has no dm-$name"
  done
}

file_system() { # NAME: that the kernel has to have
  modprobe "$1" 2>/dev/null
  grep -qw "$1" /proc/filesystems || skip "this kernel has no $1"
}

# ---- the profile's disks, and those that are there -----------------------------------------------------------------

shape() { # "SERIAL BUS MIB NAMESPACES QUEUES VFS" of each disk that the profile says, into $scratch/shape
  need_fact PROFILE_DISKS
  case $LISA_CI_PROFILE_DISKS in -*) skip "the disks of this machine have no serial numbers of ours" ;; esac
  printf '%s\n' $LISA_CI_PROFILE_DISKS | tr : ' ' >"$scratch/shape"
}

bus_of() { # NAME: sets bus
  place=$(cd -P "/sys/block/$1" && pwd -P)
  case $place in
    */nvme*) bus=nvme ;;
    */ata[0-9]*) bus=sata ;;
    */host[0-9]*) bus=scsi ;;
    */virtio[0-9]*) bus=virtio ;;
    *) bus=unknown ;;
  esac
}

serial_of() { # NAME: sets serial
  serial=
  for file in "/sys/block/$1/serial" "/sys/block/$1/device/serial"; do # virtio, NVMe
    [ -r "$file" ] || continue
    read -r serial <"$file" || : # the line may have no end
    break
  done
  # SCSI's page 0x80: a header of four bytes, then the serial number.
  [ -n "$serial" ] || serial=$(dd if="/sys/block/$1/device/vpd_pg80" bs=1 skip=4 2>/dev/null | tr -d '\0')
  serial=$(echo $serial)
}

own_disks() { # "NAME SERIAL BUS" of every disk with a serial number of ours, into $scratch/own
  : >"$scratch/own"
  for entry in /sys/block/*; do
    name=${entry##*/} hidden=0
    [ ! -r "$entry/hidden" ] || read -r hidden <"$entry/hidden"
    [ "$hidden" != 1 ] || continue # one path of several to a disk
    case $name in loop* | ram* | zram* | sr* | fd* | dm-* | md* | nbd*) continue ;; esac
    serial_of "$name"
    case $serial in lisa-ci-[0-9]*) ;; *) continue ;; esac
    bus_of "$name"
    echo "$name $serial $bus" >>"$scratch/own"
  done
}

pick() { # [BUS]: sets disk, device, serial, sectors: the largest of ours that nobody uses
  shape
  own_disks
  disk='' sectors=0
  while read -r name number bus; do
    [ "$bus" = "${1:-$bus}" ] || continue
    read -r found <"/sys/block/$name/size"
    [ "$found" -gt "$sectors" ] || continue
    disk=$name serial=$number sectors=$found
  done <"$scratch/own"
  [ -n "$disk" ] || fail "no disk ${1:+on bus $1 }with a serial number lisa-ci-N is here, the profile says $LISA_CI_PROFILE_DISKS"
  device=/dev/$disk
  [ -b "$device" ] || fail "$disk has no device file"
  for holder in "/sys/block/$disk/holders"/*; do
    [ ! -e "$holder" ] || fail "$disk is in use by ${holder##*/}"
  done
  ! grep -q "^$device" /proc/mounts || fail "$disk is mounted"
}

wipe() { # DEVICE...: no old signature leads a tool astray
  for one; do
    dd if=/dev/zero of="$one" bs=$mib count=2 conv=notrunc 2>"$scratch/errors" || fail "cannot write to $one: $(said)"
    end=$(($(blockdev --getsize64 "$one") / mib - 2))
    dd if=/dev/zero of="$one" bs=$mib seek="$end" count=2 conv=notrunc,fsync 2>/dev/null
  done
}

controller_of() { # DISK: sets controller, the nvmeN that serves it
  controller=
  for entry in /sys/class/nvme/nvme*; do
    [ -e "$entry" ] || continue
    read -r found <"$entry/serial"
    serial_of "$1"
    [ "$(echo $found)" != "$serial" ] || { controller=${entry##*/} && break; }
  done
  [ -n "$controller" ] || fail "no NVMe controller serves $1"
}

# ---- parts of a disk, and what comes over them ---------------------------------------------------------------------

sectors_of() { # NAME: sets start and length of a slice
  read -r start length <"$scratch/slice.$1"
}

slice() { # NAME START_MIB MIB: makes /dev/mapper/lisa-ci-NAME of a part of the disk
  target linear
  [ $((($2 + $3) * 2048)) -le "$sectors" ] || skip "$disk has $((sectors / 2048)) MiB, this needs $(($2 + $3))"
  echo "$(($2 * 2048)) $(($3 * 2048))" >"$scratch/slice.$1"
  try dmsetup create "lisa-ci-$1" --table "0 $(($3 * 2048)) linear $device $(($2 * 2048))"
  undo "dmsetup remove --retry lisa-ci-$1"
  wipe "/dev/mapper/lisa-ci-$1"
}

becomes() { # NAME KIND [WORD...]: the slice is of another kind from now on; nothing is written out before
  sectors_of "$1"
  case $2 in
    linear) table="0 $length linear $device $start" ;;
    error) table="0 $length error" ;;
    *) kind=$2 name=$1 && shift 2 && table="0 $length $kind $device $start $*" && set -- "$name" ;;
  esac
  try dmsetup suspend --nolockfs "lisa-ci-$1"
  try dmsetup load "lisa-ci-$1" --table "$table"
  try dmsetup resume "lisa-ci-$1"
}

uncached() { # what is read now comes from the disk
  sync
  for one; do blockdev --flushbufs "$one" 2>/dev/null; done
  echo 3 >/proc/sys/vm/drop_caches
}

random_file() { # FILE MIB
  dd if=/dev/urandom of="$1" bs=$mib count="$2" 2>"$scratch/errors" || fail "cannot make $2 MiB of data: $(said)"
}

write_at() { # FILE DEVICE MIB: the file's content, at that place
  dd if="$1" of="$2" bs=$mib seek="$3" conv=notrunc,fsync 2>"$scratch/errors" || fail "write to $2: $(said)"
}

holds_at() { # FILE DEVICE MIB: whether exactly this is there, as the disk itself says
  bytes=$(wc -c <"$1")
  uncached "$2"
  dd if="$2" of="$scratch/back" bs=$mib skip="$3" count=$((bytes / mib)) 2>"$scratch/errors" || fail "read from $2: $(said)"
  cmp "$1" "$scratch/back" >"$scratch/differs" 2>&1
}

flip() { # DEVICE BYTE: one bit of it, past every cache
  old=$(dd if="$1" bs=1 skip="$2" count=1 2>/dev/null | od -An -tu1 | tr -d ' ')
  [ -n "$old" ] || fail "cannot read byte $2 of $1"
  printf "\\$(printf %03o $((old ^ 1)))" |
    dd of="$1" bs=1 seek="$2" conv=notrunc,fsync 2>"$scratch/errors" || fail "cannot write byte $2 of $1: $(said)"
  uncached "$1"
}

mount_at() { # FOLDER TYPE DEVICE [OPTIONS]
  mkdir -p "$1"
  mount -t "$2" -o "${4:-defaults}" "$3" "$1" 2>"$scratch/errors" || fail "cannot mount $2: $(head -n 1 "$scratch/errors")"
  undo "umount $1 || umount -l $1"
}

unmount() { # FOLDER
  try umount "$1"
}
