#!/bin/sh
# What scenario rdma does in its machines, behind the words of pairs.sh.
state=/run/lisa-ci-pair
soft=lisa-rxe

# ---- the device --------------------------------------------------------------------------------------------------------

device_over() { # CARD: sets $device; the card's own, or ours in software
  device=$(rdma link show 2>/dev/null | sed -n "s,^link \([^/ ]*\)/[0-9]* .* netdev $1 *\$,\1,p" | head -n 1)
  [ -n "$device" ]
}

make_device() { # ADDRESS: prints the device, and whether it is real
  need rdma
  need ibv_devinfo
  card=$(card_of "$1") || { echo "$card"; exit 1; }
  if device_over "$card" && [ "$device" != "$soft" ]; then
    echo "$device real"
    return
  fi
  need_module rdma_rxe
  device_over "$card" || said=$(rdma link add "$soft" type rxe netdev "$card" 2>&1) || fail "no soft-RoCE over $card: $said"
  within 10 device_over "$card" || fail "a device was made over $card, and is not there"
  echo "$device software"
}

is_active() { # DEVICE
  rdma link show "$1/1" 2>/dev/null | grep -q ' state ACTIVE '
}

is_inactive() { # DEVICE
  ! is_active "$1"
}

await_port() { # DEVICE active|inactive
  within 20 "is_$2" "$1" || fail "the port is not $2: $(rdma link show "$1/1" 2>&1)"
}

verbs() { # DEVICE: what a program sees of it
  await_port "$1" active
  said=$(ibv_devinfo -v -d "$1" 2>&1) || fail "no verbs on $1: $said"
  echo "$said" | grep -q 'PORT_ACTIVE' || fail "the port is $(echo "$said" | sed -n 's/.*state:[[:space:]]*//p' | head -n 1)"
  for limit in max_qp max_cq max_mr max_mr_size; do
    value=$(echo "$said" | sed -n "s/^[[:space:]]*$limit:[[:space:]]*//p" | head -n 1)
    case $value in '' | 0 | 0x0) fail "$limit is ${value:-not told}" ;; esac
  done
  [ -c "/dev/infiniband/$(echo_uverbs "$1")" ] || fail "there is no /dev/infiniband/uverbs for $1"
}

echo_uverbs() { # DEVICE
  for place in /sys/class/infiniband_verbs/uverbs*; do
    said=
    read -r said 2>/dev/null <"$place/ibdev" || :
    [ "$said" != "$1" ] || echo "${place##*/}"
  done
}

gid() { # DEVICE IPV4: prints the index of its address, of RoCE version 2
  wanted=$(echo "$2" | awk -F. '{ printf "0000:0000:0000:0000:0000:ffff:%02x%02x:%02x%02x", $1, $2, $3, $4 }')
  within 10 has_gid "$1" "$wanted" || fail "$1 has no address for $2"
  echo "$index"
}

has_gid() { # DEVICE GID: sets $index
  for place in "/sys/class/infiniband/$1/ports/1/gids/"*; do
    said='' kind=''
    read -r said 2>/dev/null <"$place" || continue
    [ "$said" = "$2" ] || continue
    index=${place##*/}
    read -r kind 2>/dev/null <"/sys/class/infiniband/$1/ports/1/gid_attrs/types/$index" || :
    [ "$kind" != 'RoCE v2' ] || return 0
  done
  return 1
}

remove_device() { # ADDRESS: that of software goes, and nothing of it stays
  card=$(card_of "$1") || { echo "$card"; exit 1; }
  [ -e "/sys/class/infiniband/$soft" ] || return 0
  rdma link del "$soft" || fail "$soft cannot be removed"
  within 10 is_removed || fail "$soft was removed, and is still there"
  ! device_over "$card" || fail "$card still has the device $device"
}

is_removed() {
  [ ! -e "/sys/class/infiniband/$soft" ]
}

# ---- between two machines ------------------------------------------------------------------------------------------------

serve() { # PROGRAM ARGUMENTS...
  need "$1"
  exec "$@"
}

ended() { # PROGRAM STATUS OUTPUT: it did not end well
  [ "$2" != 124 ] || fail "$1 did not end in 80 s"
  fail "$1 ended with $2: $(echo "$3" | tail -n 1)"
}

pingpong() { # rc|ud SERVER ARGUMENTS...: METRIC
  program=ibv_$1_pingpong server=$2 kind=$1
  need "$program"
  shift 2
  said=$(timeout 80 "$program" "$@" "$server" 2>&1) || ended "$program" $? "$said"
  echo "$said"
  echo "$said" | awk -v kind="$kind" '
    / Mbit\/sec/ { printf "METRIC %s_mbit_per_s=%s\n", kind, $(NF - 1); rates++ }
    / usec\/iter/ { printf "METRIC %s_round_trip_us=%s\n", kind, $(NF - 1); times++ }
    END { if (!rates || !times) { print "FAIL: it told no figures"; exit 1 } }'
}

rping_to() { # SERVER COUNT
  need rping
  said=$(timeout 80 rping -c -a "$1" -C "$2" -V 2>&1) || ended rping $? "$said"
}

perftest() { # NAME COLUMN PROGRAM ARGUMENTS...: METRIC NAME of the column of its last line of figures
  name=$1 column=$2
  shift 2
  need "$1"
  said=$(timeout 80 "$@" 2>&1) || ended "$1" $? "$said"
  echo "$said"
  echo "$said" | awk -v name="$name" -v column="$column" '
    /^ *[0-9]+ +[0-9]+ / { value = $column }
    END {
      if (value + 0 <= 0) { print "FAIL: it told no figures"; exit 1 }
      printf "METRIC %s=%s\n", name, value
    }'
}

# ---- MPI ------------------------------------------------------------------------------------------------------------------

make_key() { # NAME: prints the public half
  need ssh-keygen
  [ -e "$state/$1" ] || said=$(ssh-keygen -q -t ed25519 -N '' -C "$1" -f "$state/$1" 2>&1) || fail "no key can be made: $said"
  cat "$state/$1.pub"
}

serve_ssh() { # ADDRESS PORT KEY: for who has the other half of the key, and nobody else
  need sshd
  echo "$3" >"$state/allowed"
  mkdir -p /run/sshd
  pam=no # without PAM sshd refuses an account whose password is locked, as root's is on many images
  [ ! -e /etc/pam.d/sshd ] || pam=yes
  exec "$(command -v sshd)" -D -e -f /dev/null -h "$state/host" -o "ListenAddress=$1" -o "Port=$2" -o PidFile=none -o UsePAM=$pam \
    -o "AuthorizedKeysFile=$state/allowed" -o AuthenticationMethods=publickey -o PermitRootLogin=prohibit-password -o UseDNS=no
}

mpi() { # real|software PORT HOST-KEY OWN OTHER, each "ADDRESS DEVICE GID-INDEX": METRIC
  kind=$1 own=$4 other=$5
  need mpirun
  need NPopenmpi
  need ompi_info
  address=${own%% *} device=${own#* } device=${device% *}
  # All of MPI's talk goes over the link: what else the machines have may not join them. UCX makes its connections by
  # datagrams that a device in software loses, so there the messages go over TCP.
  network=${address%.*}.0/24
  case $kind in
    real)
      ompi_info --parsable 2>/dev/null | grep -q '^mca:pml:ucx:' || skip "this MPI does not use verbs: it has no UCX"
      way="--mca pml ucx --mca opal_common_ucx_tls any --mca opal_common_ucx_devices any"
      ;;
    *) way="--mca pml ob1 --mca btl tcp,self --mca btl_tcp_if_include $network" ;;
  esac
  echo "[${other%% *}]:$2 $3" >"$state/known"
  echo "exec ssh -F none -i $state/user -p $2 -o UserKnownHostsFile=$state/known -o BatchMode=yes -o IdentitiesOnly=yes \"\$@\"" \
    >"$state/reach"
  sent_before=$(packets_of "$device")
  netpipe -i -l 1 -u 65536 -n 2
  case $said in *'ntegrity check passed'*) ;; *) fail "NetPIPE compared nothing: $(echo "$said" | tail -n 1)" ;; esac
  for size in 64 65536; do
    netpipe -l "$size" -u "$size" -p 0 -n 20
    echo "$said"
    echo "$said" | awk -v size="$size" '
      / Mbps in / {
        if (size == 64) printf "METRIC mpi_one_way_us=%s\n", $(NF - 1)
        else printf "METRIC mpi_mbit_per_s=%s\n", $(NF - 4)
        figures++
      }
      END { if (!figures) { print "FAIL: NetPIPE told no figures"; exit 1 } }' || exit 1
  done
  [ "$kind" != real ] || [ -z "$sent_before" ] || [ "$(packets_of "$device")" != "$sent_before" ] ||
    fail "$device sent nothing: the messages took another way"
}

netpipe() { # ARGUMENTS...: one process in each machine; sets $said
  # shellcheck disable=SC2046,SC2086  # words, as they are printed and put together
  said=$(cd "$state" && OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 timeout 70 \
    mpirun --mca plm_rsh_agent "sh $state/reach" --mca oob_tcp_if_include "$network" $way \
    $(process "$own" "$@") : $(process "$other" "$@") 2>&1 </dev/null) || broke $?
}

process() { # "ADDRESS DEVICE GID-INDEX" ARGUMENTS...: prints the words for mpirun
  where=$1 named=${1#* }
  shift
  verbs="-x UCX_NET_DEVICES=${named% *}:1 -x UCX_IB_GID_INDEX=${where##* } -x UCX_TLS=rc,ud,self"
  [ "$kind" = real ] || verbs=
  echo "-np 1 --host ${where%% *}:1 $verbs NPopenmpi -o /dev/null $*"
}

broke() { # STATUS: of mpirun, whose words are in $said, among frames of dashes and what NetPIPE says first
  ended mpirun "$1" "$(echo "$said" | grep -vE '^-*$|^Sending output |^Doing an integrity |^[01]: ' | head -n 1)"
}

packets_of() { # DEVICE: what it sent so far
  for counter in hw_counters/sent_pkts counters/port_xmit_packets; do
    ! cat "/sys/class/infiniband/$1/ports/1/$counter" 2>/dev/null || return 0
  done
}

# ---- memory ----------------------------------------------------------------------------------------------------------------

registers() { # DEVICE GID-INDEX KIB BYTES: whether BYTES can be registered by who may lock KIB, without any privilege
  need setpriv
  # A server that waits has registered its memory.
  # shellcheck disable=SC2016  # the inner shell expands it
  setpriv --bounding-set -ipc_lock --inh-caps -all sh -c 'ulimit -l "$1" && shift && exec timeout 4 "$@"' sh "$3" \
    ibv_rc_pingpong -d "$1" -g "$2" -p 18599 -s "$4" >"$state/registers" 2>&1
  status=$?
  [ "$status" = 124 ]
}

memory() { # DEVICE GID-INDEX
  need ibv_rc_pingpong
  registers "$1" "$2" unlimited 16777216 || fail "16 MiB cannot be registered: $(tail -n 1 "$state/registers")"
  ! registers "$1" "$2" 256 16777216 || fail "16 MiB were registered by who may lock 256 KiB"
  grep -q 'register MR' "$state/registers" || fail "it failed for another reason: $(tail -n 1 "$state/registers")"
}

"$@"
