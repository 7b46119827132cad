# What the cases of this suite stand on. A case starts with ". ./sriov.sh", then "begin".
# LISA_CI_SYSFS is for tests alone: another folder in place of /sys.
. ./steps.sh

sys=${LISA_CI_SYSFS:-/sys}

value_of() { # FILE: sets value
  value=
  read -r value <"$1" 2>/dev/null || [ -n "$value" ]
}

driver_of() { # DEVICE FOLDER: sets driver, '' for none
  driver=$(readlink "$1/driver") || driver=
  driver=${driver##*/}
}

# ---- NVMe ----------------------------------------------------------------------------------------------------------

find_nvme() { # sets serial, wanted, controller, pci: the first disk of the profile that has virtual functions
  need_fact PROFILE_DISKS
  serial='' wanted=0
  for entry in $LISA_CI_PROFILE_DISKS; do
    [ "${entry##*:}" -gt 0 ] || continue
    serial=${entry%%:*} wanted=${entry##*:}
    break
  done
  [ -n "$serial" ] || skip "no disk of the profile has virtual functions"
  controller=
  for entry in "$sys"/class/nvme/nvme*; do
    [ -e "$entry" ] && [ ! -e "$entry/device/physfn" ] || continue
    value_of "$entry/serial"
    case $serial in "$(echo $value)" | -) controller=${entry##*/} && break ;; esac
  done
  [ -n "$controller" ] || fail "no NVMe controller has the serial number $serial"
  pci=$sys/class/nvme/$controller/device
  [ -e "$pci/sriov_totalvfs" ] || fail "$controller has no SR-IOV capability, the profile says $wanted virtual functions"
  value_of "$pci/sriov_totalvfs" && total=$value
}

make_vfs() { # COUNT
  undo "echo 0 >$pci/sriov_numvfs"
  echo "$1" 2>"$scratch/errors" >"$pci/sriov_numvfs" || fail "$controller does not make $1 virtual functions: $(said)"
  value_of "$pci/sriov_numvfs"
  [ "$value" = "$1" ] || fail "$controller was asked for $1 virtual functions, and says $value"
  vfs=0
  for function in "$pci"/virtfn*; do
    [ ! -e "$function" ] || vfs=$((vfs + 1))
  done
  [ "$vfs" -eq "$1" ] || fail "$controller was asked for $1 virtual functions, $vfs are there"
}

drop_vfs() {
  echo 0 2>"$scratch/errors" >"$pci/sriov_numvfs" || fail "$controller does not let go of its virtual functions: $(said)"
  vfs_gone() {
    for function in "$pci"/virtfn*; do [ ! -e "$function" ] || return 1; done
  }
  await 30 "virtual functions are gone" vfs_gone
}

# ---- network cards -------------------------------------------------------------------------------------------------

pairs() { # "CARD VF" of each card that a virtual function serves, into $scratch/pairs
  : >"$scratch/pairs"
  for lower in "$sys"/class/net/*/lower_*; do
    [ -e "$lower" ] || continue
    upper=${lower%/lower_*}
    upper=${upper##*/} lower=${lower##*/lower_}
    [ -e "$sys/class/net/$upper/device" ] || continue # a bond, a bridge or a VLAN of somebody's
    [ -e "$sys/class/net/$lower/device" ] || continue
    echo "$upper $lower" >>"$scratch/pairs"
  done
}

need_pair() { # sets card, vf, peer: a pair that has somebody to talk to
  pairs
  [ -s "$scratch/pairs" ] || fail "no card is served by a virtual function, the profile says ${LISA_CI_NIC_VFS:-some}"
  tools iproute2 ip
  tools iputils-ping ping
  card='' peer=
  while read -r one two; do
    peer=$(ip -4 route show default dev "$one" 2>/dev/null | sed -n 's/.* via \([0-9.]*\).*/\1/p' | head -n 1)
    [ -n "$peer" ] || continue
    card=$one vf=$two
    break
  done <"$scratch/pairs"
  [ -n "$card" ] || skip "no card with a virtual function has a gateway to talk to"
}

talks() { # COUNT MOST_LOST: sends that many packets to the peer, few of which may be lost
  ping -n -q -I "$card" -c "$1" -i 0.2 -W 2 "$peer" >"$scratch/ping" 2>&1
  got=$(sed -n 's/.* \([0-9]*\) received.*/\1/p' "$scratch/ping")
  [ "${got:-0}" -ge $(($1 - $2)) ] || fail "$card: $((${1} - ${got:-0})) of $1 packets to $peer were lost"
}

sent_by() { # CARD: sets value, packets that it sent itself
  value_of "$sys/class/net/$1/statistics/tx_packets" || fail "$1 does not count its packets"
}
