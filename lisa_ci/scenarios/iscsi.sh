#!/bin/sh
# What scenario iscsi does in its machines, behind the words of pairs.sh. The target is tgt's, on a port and with a
# control socket of its own: a target that the image runs itself is left alone.
state=/run/lisa-ci-pair
control=7
port=3261
config=/etc/multipath.conf
mark="# lisa-ci"
file=/var/tmp/lisa-ci-lun # /run may hold no file that is read past the cache

# ---- the target --------------------------------------------------------------------------------------------------------

need_target() {
  for program in tgtd tgtadm; do
    command -v "$program" >/dev/null 2>&1 || skip "no $program in the server (package tgt)"
  done
}

backing() { # SERIAL: the disk with that serial number, else a file
  for place in /sys/block/*; do
    said=
    read -r said 2>/dev/null <"$place/serial" || :
    [ "$said" != "$1" ] || { echo "/dev/${place##*/}"; return; }
  done
  [ -e "$file" ] || truncate -s 64M "$file"
  echo "$file"
}

drop_backing() {
  rm -f "$file"
}

serve_target() { # ADDRESS
  exec tgtd -f -C "$control" --iscsi "portal=$1:$port"
}

admin() {
  tgtadm -C "$control" --lld iscsi "$@"
}

is_up() {
  admin --mode sys --op show >/dev/null 2>&1
}

define_target() { # NAME BACKING USER SECRET OTHER-ADDRESS...
  within 20 is_up || fail "tgtd does not answer: $(tail -n 1 "$state/target.out")"
  name=$1 disk=$2 user=$3 secret=$4
  shift 4
  for address; do
    admin --mode portal --op new --param "portal=$address:$port" || fail "the target takes no portal $address"
  done
  { admin --mode target --op new --tid 1 -T "$name" &&
    admin --mode logicalunit --op new --tid 1 --lun 1 -b "$disk" &&
    admin --mode account --op new --user "$user" --password "$secret" &&
    admin --mode account --op bind --tid 1 --user "$user" &&
    admin --mode target --op bind --tid 1 -I ALL; } || fail "the target cannot be defined"
}

disk_sum() { # DISK MIB: what is on it, past every cache
  sync
  dd if="$1" bs=1048576 count="$2" iflag=direct 2>/dev/null | sha256sum | cut -d' ' -f1
}

disk_bytes() { # DISK
  if [ -b "$1" ]; then blockdev --getsize64 "$1"; else wc -c <"$1"; fi
}

# ---- the initiator -----------------------------------------------------------------------------------------------------

need_initiator() {
  command -v iscsiadm >/dev/null 2>&1 || skip "no iscsiadm in the client (package open-iscsi)"
  need_module iscsi_tcp
  [ -e /etc/iscsi/initiatorname.iscsi ] || fail "the initiator has no name (/etc/iscsi/initiatorname.iscsi)"
  if [ -d /run/systemd/system ]; then
    systemctl start iscsid.service || fail "iscsid does not start"
  elif ! pidof iscsid >/dev/null; then
    iscsid || fail "iscsid does not start"
  fi
}

discover() { # NAME ADDRESS...: each is asked, and tells of itself
  name=$1
  shift
  for address; do
    said=$(timeout 40 iscsiadm -m discovery -t sendtargets -p "$address:$port" 2>&1) ||
      fail "no discovery at $address: $said"
    echo "$said"
    echo "$said" | grep -q "^$address:$port,[0-9]* $name\$" || fail "the target is not told of at $address: $said"
  done
}

node() { # NAME ARGUMENTS...
  target=$1
  shift
  timeout 90 iscsiadm -m node -T "$target" "$@"
}

secret() { # NAME USER SECRET: no user, no CHAP
  if [ -z "$2" ]; then
    node "$1" -o update -n node.session.auth.authmethod -v None
    return
  fi
  { node "$1" -o update -n node.session.auth.authmethod -v CHAP &&
    node "$1" -o update -n node.session.auth.username -v "$2" &&
    node "$1" -o update -n node.session.auth.password -v "$3"; } || fail "the secret cannot be set"
}

# A machine that is emulated on a busy host is silent for seconds.
patience() { # NAME SECONDS: how long a lost session holds its I/O back
  { node "$1" -o update -n node.session.timeo.replacement_timeout -v "$2" &&
    node "$1" -o update -n 'node.conn[0].timeo.noop_out_interval' -v 5 &&
    node "$1" -o update -n 'node.conn[0].timeo.noop_out_timeout' -v 15; } || fail "the timeouts cannot be set"
}

log_in() { # NAME ADDRESS: prints the disk
  said=$(node "$1" -p "$2:$port" --login 2>&1) || fail "no login at $2: $said"
  within 30 has_disk "$1" "$2" || fail "a session to $2 stands, and no disk comes with it"
  ! command -v udevadm >/dev/null 2>&1 || udevadm settle --timeout=20 >/dev/null 2>&1 || :
  echo "/dev/$disk"
}

has_disk() { # NAME ADDRESS: sets $disk
  for session in /sys/class/iscsi_session/session*; do
    said=
    read -r said 2>/dev/null <"$session/targetname" || :
    [ "$said" = "$1" ] || continue
    for connection in "$session"/device/connection*/iscsi_connection/*; do
      said=
      read -r said 2>/dev/null <"$connection/persistent_address" || :
      [ "$said" = "$2" ] || continue
      for place in "$session"/device/target*/*:*/block/*; do
        [ -e "$place" ] || continue
        disk=${place##*/} session=${session##*/}
        return 0
      done
    done
  done
  return 1
}

refused() { # NAME ADDRESS: a login that must not be let in
  if said=$(node "$1" -p "$2:$port" --login 2>&1); then
    fail "the target let an initiator in that has not proven who it is"
  fi
  case $said in *uthorization*|*uthentication*) ;; *) fail "the login failed for another reason: $said" ;; esac
  ! has_disk "$1" "$2" || fail "the login was refused, and /dev/$disk is there"
  [ "$(sessions "$1")" = 0 ] || fail "the login was refused, and a session is there"
}

sessions() { # NAME
  iscsiadm -m session 2>/dev/null | grep -c " $1\( \|\$\)"
}

write_slowly() { # FILE DISK: half a MiB, a pause, and so on; past the cache
  count=$(($(wc -c <"$1") / 524288)) number=0
  while [ "$number" -lt "$count" ]; do
    dd if="$1" of="$2" bs=524288 skip="$number" seek="$number" count=1 oflag=direct conv=notrunc,fsync 2>"$state/dd" ||
      fail "a write failed at $((number / 2)) MiB: $(head -n 1 "$state/dd")"
    number=$((number + 1))
    echo "$number" >"$state/written"
    sleep 0.1 2>/dev/null || sleep 1
  done
  echo "all written"
}

has_written() { # AT LEAST SO MANY
  said=0
  read -r said 2>/dev/null <"$state/written" || :
  [ "${said:-0}" -ge "$1" ]
}

await_written() { # AT LEAST SO MANY SECONDS
  within "$2" has_written "$1" || fail "after $2 s only ${said:-0} of $1 blocks were written"
}

count_written() {
  read -r said 2>/dev/null <"$state/written" || said=0
  echo "$said"
}

blocks_sum() { # FILE-OR-DISK COUNT: of its first blocks of half a MiB; of a disk past every cache
  if [ -b "$1" ]; then
    sync
    set -- "$1" "$2" iflag=direct
  fi
  dd if="$1" bs=524288 count="$2" ${3+"$3"} 2>/dev/null | sha256sum | cut -d' ' -f1
}

is_pending() { # DISK: a request is on its way, and no block was written for two seconds
  before=$(count_written)
  sleep 2
  [ "$(count_written)" = "$before" ] && awk '{ exit $1 + $2 == 0 }' "/sys/block/${1##*/}/inflight"
}

await_pending() { # DISK SECONDS
  within "$2" is_pending "$1" || fail "the link is cut, and no write waits"
}

log_out_in() { # NAME SECONDS: METRIC, how long it took
  began=$(now)
  said=$(node "$1" --logout 2>&1) || fail "the logout failed: $said"
  took=$(($(now) - began))
  [ "$took" -le "$2" ] || fail "the logout took $took s"
  echo "METRIC logout_s=$took"
}

broke() { # NAME SECONDS: what writes is told of it, and does not wait for ever
  read -r pid 2>/dev/null <"$state/$1.pid" || fail "$1 does not run"
  within "$2" is_gone "$pid" || fail "after $2 s a write still waits for a disk that is gone"
  rm -f "$state/$1.pid"
  grep -q '^FAIL: a write failed' "$state/$1.out" || fail "no write failed, although its disk went: $(tail -n 1 "$state/$1.out")"
}

write_whole() { # FILE DISK
  dd if="$1" of="$2" bs=1048576 oflag=direct conv=notrunc,fsync 2>"$state/dd" ||
    fail "writing failed: $(head -n 1 "$state/dd")"
}

is_in_state() { # NAME STATE: every session, of which there is one at least
  found='none'
  for session in /sys/class/iscsi_session/session*; do
    said=
    read -r said 2>/dev/null <"$session/targetname" || :
    [ "$said" = "$1" ] || continue
    read -r found <"$session/state"
    [ "$found" = "$2" ] || return 1
  done
  [ "$found" = "$2" ]
}

await_state() { # NAME STATE SECONDS: METRIC, how long it took
  began=$(now)
  within "$3" is_in_state "$1" "$2" || fail "after $3 s the session is $found, not $2"
  echo "METRIC session_${2%_IN}_s=$(($(now) - began))" | tr '[:upper:]' '[:lower:]' | sed 's/^metric/METRIC/'
}

# ---- several paths -------------------------------------------------------------------------------------------------------

gather() { # DISK...: one map over them, prints its device
  command -v multipathd >/dev/null 2>&1 || skip "no multipathd in the client (package multipath-tools)"
  need_module dm_multipath
  : >"$state/gathered"
  if [ ! -e "$config" ]; then
    printf '%s\ndefaults {\n find_multipaths no\n polling_interval 2\n path_grouping_policy failover\n}\n' "$mark" >"$config"
    printf 'overrides {\n no_path_retry queue\n failback immediate\n}\n' >>"$config"
  fi
  if [ -d /run/systemd/system ]; then
    systemctl restart multipathd.service || fail "multipathd does not start"
  else
    multipathd || fail "multipathd does not start"
  fi
  within 30 has_paths "$#" "${1##*/}" || fail "no map over $*: $(multipath -ll 2>&1 | head -n 5)"
  echo "/dev/mapper/$map"
}

has_paths() { # COUNT DISK: active ones of its map; sets $map
  map=$(multipathd show paths format '%d %m' 2>/dev/null | awk -v disk="$2" '$1 == disk { print $2 }')
  [ -n "$map" ] && [ "$map" != '[orphan]' ] && [ -e "/dev/mapper/$map" ] || return 1
  active=$(multipathd show paths format '%m %t %T' 2>/dev/null | grep -c "^$map *active ")
  [ "$active" = "$1" ]
}

await_paths() { # COUNT DISK SECONDS
  within "$3" has_paths "$1" "${2##*/}" || fail "after $3 s $active paths are active, not $1"
}

scatter() { # the map goes, and multipathd is as it was
  [ -e "$state/gathered" ] || return 0
  multipath -F
  if [ -e "$config" ] && [ "$(head -n 1 "$config")" = "$mark" ]; then
    rm -f "$config"
  fi
  [ ! -d /run/systemd/system ] || systemctl restart multipathd
  rm -f "$state/gathered"
} >/dev/null 2>&1

# ---- the end -------------------------------------------------------------------------------------------------------------

log_out() { # NAME
  [ "$(sessions "$1")" = 0 ] || node "$1" --logout >/dev/null 2>&1
  node "$1" -o delete >/dev/null 2>&1
  return 0
}

nothing_left() { # NAME DISK...
  name=$1
  shift
  [ "$(sessions "$name")" = 0 ] || fail "a session is left"
  for disk; do
    within 10 is_no_device "$disk" || fail "$disk is still there"
  done
  ! iscsiadm -m node 2>/dev/null | grep -q " $name\$" || fail "a record of the target is left"
}

is_no_device() { # DISK
  [ ! -e "/sys/block/${1##*/}" ]
}

no_sessions() { # in the target
  said=$(admin --mode conn --op show --tid 1 2>&1)
  case $said in *Session*) fail "the target still has a session: $said" ;; esac
}

"$@"
