# LVM on our own devices only: no other is looked at, no file of the system is written.

lv() { # COMMAND...
  sub=$1
  shift
  try lvm "$sub" --config "devices { use_devicesfile=0 filter=[ \"a|^/dev/mapper/lisa-ci-[ab]\$|\", \"r|.*|\" ] } global { use_lvmpolld=0 } activation { monitoring=0 } backup { backup=0 archive=0 }" "$@"
}

volumes_of() { # DEVICE...: sets group
  group=lisa-ci-$$
  undo "wipefs -aq $*"
  undo "dmsetup remove --retry \$(dmsetup ls 2>/dev/null | sed -n 's/^\\(lisa--ci--$$-[^ \\t]*\\).*/\\1/p')"
  undo "lvm vgremove -ffqy --config 'devices { use_devicesfile=0 }' $group"
  lv pvcreate -qy "$@"
  lv vgcreate -q -s 4m "$group" "$@"
}
