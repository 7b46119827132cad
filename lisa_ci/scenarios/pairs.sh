#!/bin/sh
# What a scenario over two machines does in each of them. usage: sh THIS-FILE WORD ARGUMENTS...
# Exit status as of a case: 0 passed, 77 skipped ("SKIP: why"), else failed ("FAIL: why"). Figures: "METRIC NAME=VALUE".
LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export LC_ALL PATH
state=/run/lisa-ci-pair

fail() { # TEXT...
  echo "FAIL: $*"
  exit 1
}

skip() { # REASON...
  echo "SKIP: $*"
  exit 77
}

now() { # seconds since the boot
  read -r up _ </proc/uptime
  echo "${up%%.*}"
}

within() { # SECONDS COMMAND...: until it succeeds
  within_end=$(($(now) + $1))
  shift
  until "$@"; do
    [ "$(now)" -lt "$within_end" ] || return 1
    sleep 0.2 2>/dev/null || sleep 1
  done
}

# ---- network cards ---------------------------------------------------------------------------------------------------

find_card() { # ADDRESS: sets $card; a VLAN or a bond over it has the same address
  for place in /sys/class/net/*; do
    said=
    read -r said 2>/dev/null <"$place/address" || :
    [ "$said" = "$1" ] && [ ! -e "$place/bonding" ] || continue
    for below in "$place"/lower_*; do
      [ ! -e "$below" ] || continue 2
    done
    card=${place##*/}
    return 0
  done
  return 1
}

card_of() { # ADDRESS: prints the name; waits for a card that was just put in
  within 30 find_card "$1" || fail "there is no network card $1"
  ! command -v udevadm >/dev/null 2>&1 || udevadm settle --timeout=20 >/dev/null 2>&1 || :
  find_card "$1" || fail "there is no network card $1"
  echo "$card"
}

has_carrier() { # CARD
  said=
  read -r said 2>/dev/null <"/sys/class/net/$1/carrier" || :
  [ "$said" = 1 ]
}

lacks_carrier() { # CARD
  ! has_carrier "$1"
}

let_go() { # CARD: whoever manages networks here is not to touch it, and no firewall is to judge it
  ! command -v nmcli >/dev/null 2>&1 || nmcli device set "$1" managed no >/dev/null 2>&1 || :
  ! command -v firewall-cmd >/dev/null 2>&1 || firewall-cmd -q --zone=trusted --change-interface="$1" 2>/dev/null || :
}

set_up() { # ADDRESS IPV4/LENGTH IPV6/LENGTH MTU: prints the card's name
  command -v ip >/dev/null 2>&1 || skip "no ip here (package iproute2)"
  card=$(card_of "$1") || { echo "$card"; exit 1; }
  let_go "$card"
  { ip link set "$card" down && ip addr flush dev "$card" && ip link set "$card" mtu "$4" up; } ||
    fail "$card cannot be set up with an MTU of $4"
  read -r said <"/sys/class/net/$card/mtu"
  [ "$said" = "$4" ] || fail "$card has an MTU of $said, $4 was asked for"
  within 15 has_carrier "$card" || fail "$card ($1) has no carrier"
  { ip addr add "$2" dev "$card" && ip -6 addr add "$3" dev "$card" nodad; } || fail "$card takes no address"
  echo "$card"
}

clear_up() { # ADDRESS...: as they were found
  rm -rf "$state"
  ip link del lisa-bond 2>/dev/null
  ip link del lisa-vlan 2>/dev/null
  for address; do
    find_card "$address" || continue
    ip addr flush dev "$card"
    ip link set "$card" down
    ip link set "$card" mtu 1500
  done
  return 0
}

# ---- background ------------------------------------------------------------------------------------------------------

begin() { # NAME SECONDS WORD...: one of these words goes on, SECONDS at most
  name=$1 limit=$2
  shift 2
  setsid timeout -k 5 "$limit" sh "$0" "$@" >"$state/$name.out" 2>&1 </dev/null &
  echo $! >"$state/$name.pid"
}

end() { # NAME SIGNAL: what it printed; its exit status is lost
  read -r pid 2>/dev/null <"$state/$1.pid" || return 0
  kill "-$2" "-$pid" 2>/dev/null # the one form of a group that all shells take
  within 5 is_gone "$pid" || kill -KILL "-$pid" 2>/dev/null
  rm -f "$state/$1.pid"
  cat "$state/$1.out"
}

is_gone() { # GROUP
  ! kill -0 "-$1" 2>/dev/null
}

join() { # NAME SECONDS: waits for its own end, and prints what it printed
  read -r pid 2>/dev/null <"$state/$1.pid" || fail "$1 does not run"
  within "$2" is_gone "$pid" || { end "$1" KILL; fail "$1 does not end within $2 s"; }
  rm -f "$state/$1.pid"
  cat "$state/$1.out"
  ! grep -q '^FAIL: ' "$state/$1.out" || exit 1
}

listens() { # PORT
  grep -q "^ *[0-9]*: [0-9A-F]*:$(printf %04X "$1") [0-9A-F]*:0000 0A" /proc/net/tcp /proc/net/tcp6
}

await_listener() { # PORT NAME: of what was begun as NAME
  within 20 listens "$1" || fail "nothing listens at port $1: $(tail -n 1 "$state/$2.out")"
}

# ---- reaching the other one ------------------------------------------------------------------------------------------

pinged() { # TARGET COUNT SECONDS ARGUMENTS...: ping's own words, also where it fails
  target=$1 count=$2 limit=$3
  shift 3
  command -v ping >/dev/null 2>&1 || skip "no ping here (package iputils-ping)"
  timeout "$limit" ping -n -c "$count" "$@" "$target" 2>&1
}

is_answered() { # TARGET
  timeout 3 ping -n -c 1 -W 1 "$1" >/dev/null 2>&1
}

answers() { # TARGET...: each of three packets
  for target; do
    within 10 is_answered "$target" || fail "$target does not answer"
    said=$(pinged "$target" 3 15 -W 3 -i 0.3)
    case $said in *" 0% packet loss"*) ;; *) fail "$target: $(echo "$said" | grep loss)" ;; esac
  done
}

neighbour() { # TARGET ADDRESS: the other one is who it should be
  ip neigh show "$1" | grep -qi "lladdr $2" || fail "$1 is answered by $(ip neigh show "$1"), not by $2"
}

silent() { # TARGET: nobody answers
  if is_answered "$1" || is_answered "$1"; then
    fail "$1 answers"
  fi
}

fragments() {
  awk '$1 == "Ip:" && !header { for (i = 2; i <= NF; i++) name[i] = $i; header = 1; next }
    $1 == "Ip:" { for (i = 2; i <= NF; i++) if (name[i] == "FragCreates" || name[i] == "FragFails") sum += $i }
    $1 == "Ip6FragCreates" || $1 == "Ip6FragFails" { sum += $2 }
    END { print sum + 0 }' /proc/net/snmp /proc/net/snmp6
}

whole() { # IPV4 IPV6 MTU: packets of that size come there and back in one piece
  before=$(fragments)
  for pair in "$1 $(($3 - 28))" "$2 $(($3 - 48))"; do
    said=$(pinged "${pair% *}" 3 15 -W 3 -i 0.3 -s "${pair#* }")
    case $said in
      *" 0% packet loss"*) ;;
      *) fail "packets with ${pair#* } bytes do not come back from ${pair% *}: $(echo "$said" | grep loss)" ;;
    esac
  done
  [ "$(fragments)" = "$before" ] || fail "packets as large as the MTU of $3 were sent in pieces"
}

round_trips() { # TARGET COUNT: figures of single packets
  said=$(pinged "$1" "$2" 60 -i 0.02 -s 56)
  echo "$said" | tail -n 2
  echo "$said" | sed -n 's/.* time=\([0-9.]*\) ms$/\1/p' | sort -n | awk -v want="$2" '
    { at[NR] = $1; sum += $1 }
    END {
      if (NR < want) { printf "FAIL: %d of %d packets were answered\n", NR, want; exit 1 }
      printf "METRIC rtt_min_us=%.0f\nMETRIC rtt_median_us=%.0f\n", at[1] * 1000, at[int((NR + 1) / 2)] * 1000
      printf "METRIC rtt_p99_us=%.0f\nMETRIC rtt_max_us=%.0f\n", at[int(NR * 0.99 + 0.5)] * 1000, at[NR] * 1000
    }'
}

small_packets() { # TARGET COUNT: as fast as they are answered
  pinged 127.0.0.1 1 5 -f >/dev/null || skip "this ping cannot flood (package iputils-ping)"
  said=$(pinged "$1" "$2" 100 -f -s 16)
  echo "$said" | tail -n 2
  echo "$said" | awk -v want="$2" '
    / packets transmitted/ { sent = $1; got = $4; ms = $NF + 0 }
    END {
      if (sent < want || got < 0.99 * want) { printf "FAIL: %d of %d small packets were answered\n", got, want; exit 1 }
      printf "METRIC small_packets_per_s=%.0f\nMETRIC small_packets_lost_count=%d\n", got * 1000 / (ms ? ms : 1), sent - got
    }'
}

beat() { # TARGET SECONDS: ten packets a second with their times, for how long nothing came back
  timeout "$2" ping -n -D -i 0.1 "$1"
}

longest_gap() { # reads what beat printed: METRIC longest_gap_ms, and fails beyond $1 ms
  awk -v most="$1" -F'[][]' '
    / bytes from / { if (last && ($2 - last) > gap) gap = $2 - last; last = $2; count++ }
    END {
      printf "METRIC longest_gap_ms=%.0f\nMETRIC answered_count=%d\n", gap * 1000, count
      if (count < 20) { printf "FAIL: only %d packets were answered\n", count; exit 1 }
      if (gap * 1000 > most) { printf "FAIL: for %.0f ms nothing came back, %d are allowed\n", gap * 1000, most; exit 1 }
    }'
}

gap_of() { # NAME MOST: of the beat that ran as NAME
  end "$1" INT | longest_gap "$2"
}

# ---- bytes over TCP ----------------------------------------------------------------------------------------------------

can_transfer() {
  for program in socat python3 perl; do
    ! command -v "$program" >/dev/null 2>&1 || return 0
  done
  skip "neither socat nor python3 nor perl is here, to send bytes with"
}

receive() { # ADDRESS PORT FILE
  if command -v socat >/dev/null 2>&1; then
    case $1 in *:*) exec socat -u "TCP6-LISTEN:$2,bind=[$1],reuseaddr" "OPEN:$3,creat,trunc" ;; esac
    exec socat -u "TCP4-LISTEN:$2,bind=$1,reuseaddr" "OPEN:$3,creat,trunc"
  elif command -v python3 >/dev/null 2>&1; then
    exec python3 -c '
import shutil, socket, sys
server = socket.create_server((sys.argv[1], int(sys.argv[2])), family=socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
stream = server.accept()[0].makefile("rb")
with open(sys.argv[3], "wb") as file:
    shutil.copyfileobj(stream, file)' "$@"
  fi
  exec perl -MIO::Socket::IP -e '
$server = IO::Socket::IP->new(LocalHost => $ARGV[0], LocalPort => $ARGV[1], Listen => 1, ReuseAddr => 1) or die $@;
$stream = $server->accept or die $!;
open $file, ">", $ARGV[2] or die $!;
while ($got = sysread $stream, $block, 65536) { print $file $block or die $! }
defined $got or die $!; close $file or die $!' "$@"
}

send() { # ADDRESS PORT: stdin
  if command -v socat >/dev/null 2>&1; then
    case $1 in *:*) socat -u - "TCP6:[$1]:$2"; return ;; esac
    socat -u - "TCP4:$1:$2"
  elif command -v python3 >/dev/null 2>&1; then
    python3 -c '
import shutil, socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 20) as other:
    other.settimeout(120)
    shutil.copyfileobj(sys.stdin.buffer, other.makefile("wb"))' "$@"
  else
    perl -MIO::Socket::IP -e '
$SIG{PIPE} = "IGNORE";
$other = IO::Socket::IP->new(PeerHost => $ARGV[0], PeerPort => $ARGV[1]) or die $@;
while ($got = sysread STDIN, $block, 65536) { for ($at = 0; $at < $got; $at += $n) {
  $n = syswrite $other, $block, $got - $at, $at; defined $n or die $! } }
close $other or die $!' "$@"
  fi
}

make_bytes() { # FILE MIB: nothing that repeats
  can_transfer
  dd if=/dev/urandom of="$1" bs=1048576 count="$2" 2>/dev/null || fail "no room for $2 MiB"
  sum "$1"
}

sum() { # FILE
  sha256sum <"$1" | cut -d' ' -f1
}

send_file() { # FILE ADDRESS PORT: how fast it went
  began=$(date +%s%N)
  send "$2" "$3" <"$1" || fail "the transfer to $2 broke off"
  spent=$((($(date +%s%N) - began) / 1000000))
  size=$(wc -c <"$1")
  echo "METRIC transfer_mbit_per_s=$((size * 8 / 1000 / (spent > 0 ? spent : 1)))"
}

send_slowly() { # FILE TIMES ADDRESS PORT: the file TIMES times, a pause behind each
  for number in $(seq "$2"); do
    cat "$1" || exit 1
    [ "$number" = "$2" ] || sleep 0.25 2>/dev/null || sleep 1
  done | send "$3" "$4" || fail "the transfer to $3 broke off"
  echo sent
}

sum_of_times() { # FILE TIMES: of what send_slowly sends
  for number in $(seq "$2"); do
    cat "$1"
  done | sha256sum | cut -d' ' -f1
}

received() { # FILE SUM SECONDS: that came, whole
  within "$3" has_sum "$1" "$2" || fail "$(wc -c <"$1") bytes came with the SHA-256 $(sum "$1"), not $2"
}

has_sum() { # FILE SUM
  [ -e "$1" ] && [ "$(sum "$1")" = "$2" ]
}

# ---- iperf3 ------------------------------------------------------------------------------------------------------------

serve_iperf() { # ADDRESS PORT
  exec iperf3 -s -B "$1" -p "$2"
}

need() { # PROGRAM
  command -v "$1" >/dev/null 2>&1 || skip "no $1 here"
}

iperf() { # ARGUMENTS...: its JSON
  command -v iperf3 >/dev/null 2>&1 || skip "no iperf3 here (package iperf3)"
  timeout 50 iperf3 -J "$@"
}

# ---- shapes of networks ------------------------------------------------------------------------------------------------

need_module() { # NAME: skips where the kernel does not have it
  [ ! -d "/sys/module/$1" ] || return 0
  modprobe "$1" 2>/dev/null || skip "this kernel has no module $1"
}

vlan() { # ADDRESS ID IPV4/LENGTH
  need_module 8021q
  card=$(card_of "$1") || { echo "$card"; exit 1; }
  ip link del lisa-vlan 2>/dev/null
  { ip link add link "$card" name lisa-vlan type vlan id "$2" && ip link set lisa-vlan up &&
    ip addr add "$3" dev lisa-vlan; } || fail "no VLAN $2 over $card"
}

bond() { # IPV4/LENGTH PRIMARY OTHER: addresses of two cards
  [ -d /sys/module/bonding ] || modprobe bonding max_bonds=0 2>/dev/null || skip "this kernel has no module bonding"
  first=$(card_of "$2") || { echo "$first"; exit 1; }
  second=$(card_of "$3") || { echo "$second"; exit 1; }
  ip link add lisa-bond type bond mode active-backup miimon 100 || fail "no bond can be made"
  for card in "$first" "$second"; do
    let_go "$card"
    { ip link set "$card" down && ip addr flush dev "$card" && ip link set "$card" master lisa-bond; } ||
      fail "$card cannot join the bond"
  done
  { ip link set lisa-bond type bond primary "$first" && ip link set lisa-bond up && ip addr add "$1" dev lisa-bond; } ||
    fail "the bond cannot be brought up"
  within 10 active "$first" || fail "the active card is $(cat /sys/class/net/lisa-bond/bonding/active_slave), not $first"
  echo "$first $second"
}

active() { # CARD
  said=
  read -r said 2>/dev/null </sys/class/net/lisa-bond/bonding/active_slave || :
  [ "$said" = "$1" ]
}

await_active() { # CARD SECONDS
  within "$2" active "$1" ||
    fail "after $2 s the active card is $(cat /sys/class/net/lisa-bond/bonding/active_slave), not $1"
}

await_carrier() { # ADDRESS on|off
  card=$(card_of "$1") || { echo "$card"; exit 1; }
  case $2 in
    on) within 10 has_carrier "$card" || fail "$card has no carrier again" ;;
    off) within 10 lacks_carrier "$card" || fail "$card still tells of a carrier" ;;
  esac
}

await_gone() { # ADDRESS
  within 10 lacks_card "$1" || fail "$card is still there"
}

lacks_card() { # ADDRESS
  ! find_card "$1"
}

"$@"
