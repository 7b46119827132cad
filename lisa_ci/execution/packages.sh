#!/bin/sh
# Installs what a machine lacks of the packages that it is told: "apt:fio dnf:fio ...", one argument each, of which its
# package manager takes its own. Prints "added NAME" and "lacks NAME: WHY"; exits 1 where nothing can be had.
LC_ALL=C
DEBIAN_FRONTEND=noninteractive
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export LC_ALL DEBIAN_FRONTEND PATH

find_manager() { # sets $manager
  for manager in apt tdnf dnf zypper apk; do
    program=$manager
    [ "$manager" != apt ] || program=apt-get
    ! command -v "$program" >/dev/null 2>&1 || return 0
  done
  return 1
}

has() { # NAME
  case $manager in
    apt) [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ] ;;
    apk) apk info -e "$1" >/dev/null 2>&1 ;;
    *) rpm -q --whatprovides "$1" >/dev/null 2>&1 ;;
  esac
}

refresh() {
  case $manager in
    apt) apt-get -q -o DPkg::Lock::Timeout=300 update ;;
    tdnf | dnf) "$manager" -q makecache ;;
    zypper) zypper --non-interactive refresh ;;
    apk) apk update ;;
  esac
}

add() { # NAME...
  case $manager in
    apt) apt-get -q -y -o DPkg::Lock::Timeout=300 --no-install-recommends install "$@" ;;
    tdnf) tdnf -q -y install "$@" ;;
    dnf) dnf -q -y --setopt=install_weak_deps=False install "$@" ;;
    zypper) zypper --non-interactive install --no-recommends "$@" ;;
    apk) apk add "$@" ;;
  esac
}

last() { # TEXT: its last line that says anything
  echo "$1" | grep -v '^[[:space:]]*$' | tail -n 1
}

find_manager || { echo "there is no package manager that is known (apt-get, tdnf, dnf, zypper, apk)"; exit 1; }
wanted=
for word; do
  [ "${word%%:*}" = "$manager" ] || continue
  has "${word#*:}" || wanted="$wanted ${word#*:}"
done
[ -n "$wanted" ] || exit 0
refreshed=$(refresh 2>&1 </dev/null) && can_refresh=yes || can_refresh=
# shellcheck disable=SC2086  # names have no spaces
if said=$(add $wanted 2>&1 </dev/null); then
  for name in $wanted; do echo "added $name"; done
  exit 0
fi
[ -n "$can_refresh" ] || { last "$refreshed"; exit 1; }
for name in $wanted; do # one that is not to be had takes all with it
  if has "$name" || said=$(add "$name" 2>&1 </dev/null); then
    echo "added $name"
  else
    echo "lacks $name: $(last "$said")"
  fi
done
