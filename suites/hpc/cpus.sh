# Words about processors and nodes; the same file is in each suite that needs it. After words.sh.
SYS=/sys/devices/system

numbers() { # LIST like 0-2,8: as 0 1 2 8
  printf '%s\n' "$1" | tr ',' '\n' | while IFS=- read -r first last; do
    [ -n "$first" ] || continue
    while [ "$first" -le "${last:-$first}" ]; do
      echo "$first"
      last=${last:-$first} first=$((first + 1))
    done
  done | sort -n | tr '\n' ' '
}

has() { # NUMBER LIST
  case " $(numbers "$2") " in *" $1 "*) ;; *) return 1 ;; esac
}

value_of() { # FILE: its first line, '' where there is none
  # Not by the shell's read: byte by byte, as dash reads, the kernel's lists of processors come out empty.
  [ ! -r "$1" ] || head -n 1 "$1"
}

online() { # the processors that are online
  [ -r "$SYS/cpu/online" ] || fail "the kernel does not tell which processors are online"
  numbers "$(value_of "$SYS/cpu/online")"
}

ticks_of() { # CPU: how long it worked since the boot
  sed -n "s/^cpu$1 //p" /proc/stat | { read -r user nice system rest && echo $((user + nice + system)); }
}

last_cpu() { # where this process's child runs
  cut -d ' ' -f 39 /proc/self/stat
}

spin() { # SECONDS CPU: keeps it busy
  taskset -c "$2" timeout "$1" sh -c 'while :; do :; done'
}

meminfo() { # NAME: its KiB, or its count
  sed -n "s/^$1: *\([0-9]*\).*/\1/p" /proc/meminfo
}
