# What both executables need: where LTP is, and the environment of its tests.
# shellcheck shell=sh

find_ltp() { # sets LTPROOT
  for root in "${LTPROOT:-}" "$PWD/ltp" /opt/ltp /usr/lib/ltp /usr/lib64/ltp /usr/local/ltp /usr/lib/ltp-testsuite; do
    [ -n "$root" ] && [ -d "$root/runtest" ] && [ -d "$root/testcases/bin" ] && LTPROOT=$root && return 0
  done
  for archive in ltp.tar ltp.tar.gz ltp.tar.xz; do
    [ -r "$archive" ] || continue
    # Unpacked beside and renamed, so that half a tree is never taken for one.
    rm -rf ltp.part && mkdir ltp.part || return 1
    case $archive in # busybox's tar does not look for itself
      *.gz) gzip -dc "$archive" ;;
      *.xz) xz -dc "$archive" ;;
      *) cat "$archive" ;;
    esac | tar -x -f - -C ltp.part || return 1
    found=$(find ltp.part -maxdepth 4 -type d -name runtest | head -n 1)
    [ -n "$found" ] || break
    mv "${found%/*}" ltp && LTPROOT=$PWD/ltp
    return
  done
  echo "no LTP here: none of \$LTPROOT (${LTPROOT:-not set}), /opt/ltp has runtest and testcases/bin" >&2
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
