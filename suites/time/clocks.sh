# Words about clocks. After words.sh.

day_ns() { # the clock of the day
  now=$(date +%s%N)
  case $now in *[!0-9]*) skip "this date knows no nanoseconds" ;; esac
  echo "$now"
}

steady_ns() { # the monotonic clock, read by the kernel on the processor that we are on
  [ -r /proc/timer_list ] || skip "this kernel does not list its timers"
  sed -n 's/^now at \([0-9]*\) nsecs.*/\1/p' /proc/timer_list | head -n 1
}

value_of() { # FILE: its first line, '' where there is none
  value=
  [ -r "$1" ] && read -r value <"$1"
  printf '%s\n' "$value"
}

processors() { # that are online
  sed -n 's/^processor[[:space:]]*: *//p' /proc/cpuinfo
}

rtc() { # the first clock that runs without the system
  for clock in /sys/class/rtc/rtc*; do
    [ -r "$clock/since_epoch" ] && [ -n "$(value_of "$clock/since_epoch")" ] || continue
    echo "$clock"
    return
  done
}
