# Words for cases about the network. A case starts with ". ./net.sh" and "alone", and then runs in namespaces of its
# own (network, mounts, processes): the machine's own network is not there, what the case makes ends with it, also when
# it is killed. A card of the profile is lent to it by "borrow" and is back in the machine at its end; the control card
# never is.
. ./words.sh

want() { # PROGRAM PACKAGE...: skips where one is not there, and says what has it
  while [ $# -gt 0 ]; do
    command -v "$1" >/dev/null 2>&1 || skip "no $1 here (package $2)"
    shift 2
  done
}

want_iproute2() {
  want ip iproute2 unshare util-linux nsenter util-linux
  case $(ip -V 2>/dev/null) in *iproute2*) ;; *) skip "ip is not that of iproute2 (package iproute2)" ;; esac
}

kernel_option() { # CONFIG_NAME: y, m, n, or nothing where the kernel does not tell
  option_file=/boot/config-$(uname -r)
  if [ -r "$option_file" ]; then
    option_line=$(grep "^$1=" "$option_file")
  elif [ -r /proc/config.gz ]; then
    option_line=$(gzip -dc /proc/config.gz 2>/dev/null | grep "^$1=")
  else
    return 0
  fi
  option_line=${option_line#*=}
  echo "${option_line:-n}"
}

# A feature that this kernel was built without, or whose module nobody installed, is not the image's promise. One that
# is there and cannot be loaded is broken.
want_kernel() { # CONFIG_NAME MODULE...
  option_name=$1
  shift
  case $(kernel_option "$option_name") in
    y) return 0 ;;
    n) skip "the kernel was built without $option_name" ;;
  esac
  for module; do
    [ ! -d "/sys/module/$module" ] || continue
    want modprobe kmod
    modprobe -n -q "$module" || skip "the module $module ($option_name) is not installed"
    said=$(modprobe "$module" 2>&1) || fail "modprobe $module failed: $said"
  done
}

alone() { # runs the case again, in namespaces; comes back in the inner one only
  want_iproute2
  if [ -z "$lisa_ci_inside" ]; then
    [ "$(id -u)" = 0 ] || skip "only root can make network namespaces"
    exec 9</proc/self/ns/net
    export lisa_ci_inside=1
    exec unshare --mount --net --pid --fork --mount-proc "$0"
  fi
  scratch=$(mktemp -d /tmp/lisa-ci-check.XXXXXX) || fail "cannot make a folder in /tmp"
  trap 'leave' EXIT
  # /sys shows the links of the namespace that it was mounted in; iproute2 keeps names of namespaces in /var/run/netns.
  { mount -t sysfs sysfs /sys && mkdir -p /var/run/netns && mount -t tmpfs -o mode=755 tmpfs /var/run/netns; } ||
    fail "cannot mount a /sys and a /var/run/netns of our own"
  ip link set lo up || fail "lo cannot be set up in a new network namespace"
}

leave() {
  restore # what the case says
  rm -rf "$scratch"
}

restore() { :; }

# ---- namespaces and links ------------------------------------------------------------------------------------------

spaces() { # NAME...: network namespaces, lo up, IPv6 addresses usable at once
  for space; do
    ip netns add "$space" || fail "ip netns add $space failed"
    in_space "$space" ip link set lo up
    put_in "$space" net/ipv6/conf/default/accept_dad 0
    put_in "$space" net/ipv6/conf/all/accept_dad 0
  done
}

in_space() { # NAME COMMAND...
  in_name=$1
  shift
  ip netns exec "$in_name" "$@"
}

put_in() { # NAME SYSCTL VALUE; a kernel without IPv6 has none of its own
  case $2 in net/ipv6/*) [ -e /proc/sys/net/ipv6 ] || return 0 ;; esac
  in_space "$1" sh -c 'echo "$2" >"/proc/sys/$1"' - "$2" "$3" || fail "$2 of namespace $1 cannot be set to $3"
}

do_in() { # NAME COMMAND...: fails the case where it fails
  said=$(in_space "$@" 2>&1) || { shift; fail "$* failed: $said"; }
}

must() { # COMMAND...
  said=$("$@" 2>&1) || fail "$* failed: $said"
}

refused() { # WHAT COMMAND...: fails the case where the command works
  refused_what=$1
  shift
  if said=$("$@" 2>&1); then fail "$refused_what was accepted: $*"; fi
}

wire() { # SPACE LINK SPACE LINK: a veth pair, both ends up
  want_kernel CONFIG_VETH veth
  must ip link add "$2" netns "$1" type veth peer name "$4" netns "$3"
  do_in "$1" ip link set "$2" up
  do_in "$3" ip link set "$4" up
}

address() { # SPACE LINK ADDRESS...
  address_space=$1 address_link=$2
  shift 2
  for one; do
    case $one in
      *:*) do_in "$address_space" ip addr add "$one" dev "$address_link" nodad ;;
      *) do_in "$address_space" ip addr add "$one" dev "$address_link" ;;
    esac
  done
}

pair() { # two namespaces a and b, joined by a0 and b0, 10.9.0.1 and 10.9.0.2, fd09::1 and fd09::2
  spaces a b
  wire a a0 b b0
  address a a0 10.9.0.1/24
  address b b0 10.9.0.2/24
  if [ -e /proc/sys/net/ipv6 ]; then
    address a a0 fd09::1/64
    address b b0 fd09::2/64
  fi
}

# ---- traffic -------------------------------------------------------------------------------------------------------

eventually() { # SECONDS COMMAND...: until it works, asked four times a second
  tries=$(($1 * 4))
  shift
  while ! "$@" >/dev/null 2>&1; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || return 1
    sleep 0.25 2>/dev/null || sleep 1
  done
}

answers() { # SPACE ADDRESS [OPTIONS OF PING...]
  want ping iputils-ping
  answers_space=$1 answers_address=$2
  shift 2
  in_space "$answers_space" ping -c 1 -W 2 "$@" "$answers_address" >/dev/null 2>&1
}

reaches() { # SPACE ADDRESS [OPTIONS OF PING...]: within five seconds, or the case fails
  eventually 5 answers "$@" || {
    in_space "$1" ip addr
    fail "no answer from $2 to namespace $1"
  }
}

unreachable() { # WHY SPACE ADDRESS [OPTIONS OF PING...]: no answer to two questions
  unreachable_why=$1
  shift
  ! answers "$@" && ! answers "$@" || fail "$2 answers to namespace $1, $unreachable_why"
}

listening() { # SPACE tcp|udp PORT
  want ss iproute2
  case $2 in tcp) set -- "$1" -ltnH "$3" ;; *) set -- "$1" -lunH "$3" ;; esac
  [ -n "$(in_space "$1" ss "$2" "sport = :$3")" ]
}

await_port() { # SPACE tcp|udp PORT
  eventually 10 listening "$@" || fail "nothing listens on $2 port $3 of namespace $1"
}

random_file() { # FILE MIB
  dd if=/dev/urandom of="$1" bs=1048576 count="$2" 2>/dev/null || fail "cannot make random data"
}

same_file() { # WHAT FILE FILE
  [ "$(cksum <"$2")" = "$(cksum <"$3")" ] ||
    fail "$1: $(wc -c <"$3") bytes came of $(wc -c <"$2"), or other ones"
}

transfer() { # FROM_SPACE TO_SPACE ADDRESS FILE [OPTION OF SOCAT'S CONNECTION]: by TCP, compared at the end
  want socat socat
  rm -f "$scratch/received"
  case $3 in *:*) family=6 peer="[$3]" ;; *) family=4 peer=$3 ;; esac
  in_space "$2" socat -u "TCP$family-LISTEN:5001,reuseaddr" "CREATE:$scratch/received" &
  receiver=$!
  await_port "$2" tcp 5001
  in_space "$1" timeout 30 socat -u "OPEN:$4" "TCP$family:$peer:5001${5:+,$5}" >"$scratch/sent" 2>&1 || {
    kill "$receiver" 2>/dev/null
    fail "sending to $3 failed: $(head -n 1 "$scratch/sent")"
  }
  eventually 10 gone "$receiver" || fail "the receiver at $3 never saw the end of the data"
  wait "$receiver" || fail "the receiver at $3 failed"
  same_file "over TCP to $3" "$4" "$scratch/received"
}

gone() { # PROCESS, also where nobody has waited for it yet
  case $(cat "/proc/$1/stat" 2>/dev/null) in "" | *") Z "*) ;; *) return 1 ;; esac
}

counter() { # SPACE LINK NAME: of /sys/class/net/LINK/statistics
  in_space "$1" cat "/sys/class/net/$2/statistics/$3"
}

# ---- cards of the profile ------------------------------------------------------------------------------------------

# The profile's cards, the control card left out: "ADDRESS MODEL QUEUES" each.
cards() {
  for card in $LISA_CI_PROFILE_NICS; do
    echo "$card" | tr , ' '
  done
}

card_name() { # ADDRESS: in the machine's own namespace
  out ip -o link | while read -r _ name rest; do
    case "$rest" in *"link/ether $1 "*) name=${name%:} && echo "${name%@*}" && break ;; esac
  done
}

out() { # COMMAND...: in the machine's own network
  nsenter --net=/proc/self/fd/9 "$@"
}

there() { [ -n "$(card_name "$1")" ]; }

borrow() { # ADDRESS: the card is in this namespace now; $name is its name
  # The last case's namespaces are taken down in the background, which is when its cards come back.
  eventually 10 there "$1" || fail "no network card has the address $1"
  name=$(card_name "$1")
  case $(out ip -o route show default 2>/dev/null) in
    *" dev $name "*) fail "$name has the default route: it is not a card to test" ;;
  esac
  must out ip link set "$name" netns 1
  [ -d "/sys/class/net/$name" ] || fail "$name did not come into the case's namespace"
}

every_card() { # calls the case's each_card for every card of the profile, with $name $address $model $queues $use
  need_fact PROFILE_NICS
  cards >"$scratch/cards"
  [ -s "$scratch/cards" ] || skip "the profile has no card beside the control card"
  while read -r address model queues use <&7; do
    [ "$address" != - ] || skip "the profile does not name its cards"
    borrow "$address"
    each_card
  done 7<"$scratch/cards"
}

lost() { # SPACE LINK
  ! in_space "$1" ip link show "$2" >/dev/null 2>&1
}
