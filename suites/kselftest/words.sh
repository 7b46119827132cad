# What both executables need: where the tests are, and how slow this machine is.
# shellcheck shell=sh

find_tree() { # sets "tree"
  for tree in "${KSELFTEST_DIR:-}" "$PWD/tree" /opt/kselftest /usr/libexec/kselftests /usr/lib/kselftests; do
    [ -n "$tree" ] && [ -r "$tree/kselftest-list.txt" ] && return 0
  done
  for archive in kselftest.tar kselftest.tar.gz kselftest.tar.xz; do
    [ -r "$archive" ] || continue
    # Unpacked beside and renamed, so that half a tree is never taken for one.
    rm -rf tree.part && mkdir tree.part || return 1
    case $archive in # busybox's tar does not look for itself
      *.gz) gzip -dc "$archive" ;;
      *.xz) xz -dc "$archive" ;;
      *) cat "$archive" ;;
    esac | tar -x -f - -C tree.part || return 1
    found=$(find tree.part -maxdepth 2 -name kselftest-list.txt | head -n 1)
    [ -n "$found" ] || break
    mv "${found%/*}" tree && tree=$PWD/tree
    return
  done
  echo "no selftests here: none of \$KSELFTEST_DIR (${KSELFTEST_DIR:-not set}), /opt/kselftest has kselftest-list.txt" >&2
  return 1
}

measure_speed() { # sets "slowness": 1 on common hardware, 10 where a program takes ten times as long to start
  read -r began _ </proc/uptime
  count=0
  while [ "$count" -lt 100 ]; do
    env true
    count=$((count + 1))
  done
  read -r ended _ </proc/uptime
  ended=${ended%.*}${ended#*.} began=${began%.*}${began#*.}
  slowness=$(((ended - began + 39) / 40)) # hundredths of a second; 4 ms each is slow for hardware
  [ "$slowness" -ge 1 ] || slowness=1
  [ "$slowness" -le 20 ] || slowness=20
}

kernel_config() { # prints the options that this kernel was built with, modules as if they were built in
  {
    if [ -r "/boot/config-$(uname -r)" ]; then
      cat "/boot/config-$(uname -r)"
    elif [ -r "/lib/modules/$(uname -r)/config" ]; then
      cat "/lib/modules/$(uname -r)/config"
    elif [ -r /proc/config.gz ]; then
      gzip -dc /proc/config.gz
    fi
  } | sed -n '/^CONFIG_/s/=m$/=y/p
/^CONFIG_/p'
}
