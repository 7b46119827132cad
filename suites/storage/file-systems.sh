# File systems by name: how each is made, checked, and asked whether its journal has something to replay.

prepare_fs() { # TYPE: skips where it cannot be had
  case $1 in
    ext4) tools e2fsprogs mkfs.ext4 e2fsck dumpe2fs ;;
    xfs) tools xfsprogs mkfs.xfs xfs_repair ;;
    btrfs) tools btrfs-progs mkfs.btrfs btrfs ;;
    vfat) tools dosfstools mkfs.vfat fsck.vfat ;;
  esac
  file_system "$1"
}

make_fs() { # TYPE DEVICE [OPTION...]
  type=$1 on=$2
  shift 2
  case $type in
    ext4) try mkfs.ext4 -q -F "$@" "$on" ;;
    xfs) try mkfs.xfs -q -f "$@" "$on" ;;
    btrfs) try mkfs.btrfs -q -f "$@" "$on" ;;
    vfat) try mkfs.vfat "$@" "$on" ;;
  esac
}

check_fs() { # TYPE DEVICE: reads only; fails with what it says
  case $1 in
    ext4) set -- "$1" "$2" e2fsck -fn "$2" ;;
    xfs) set -- "$1" "$2" xfs_repair -n "$2" ;;
    btrfs) set -- "$1" "$2" btrfs check --readonly --force "$2" ;;
    vfat) set -- "$1" "$2" fsck.vfat -n "$2" ;;
  esac
  fs=$1
  shift 2
  "$@" >"$scratch/output" 2>&1 </dev/null || fail "$fs is not clean, $1 says: $(grep -v '^$' "$scratch/output" | tail -n 3 | tr '\n' ' ')"
}

needs_replay() { # TYPE DEVICE: whether there is something in the journal
  case $1 in
    ext4) dumpe2fs -h "$2" 2>/dev/null | grep -q 'needs_recovery' ;;
    xfs)
      xfs_repair "$2" >/dev/null 2>&1 # touches nothing where the log has something to replay, and says so
      [ $? -eq 2 ]
      ;;
    btrfs) btrfs inspect-internal dump-super "$2" | awk '$1 == "log_root" { found = $2 } END { exit found == 0 }' ;;
  esac
}
