#!/bin/sh
# The sampler of lisa-ci: for each line that it reads, it prints what the kernel counts. Format: docs/telemetry.md.
#
# Builtins of a POSIX shell only. After its start it makes no process and reads no disk, so that it still answers when
# memory, processes or the disk are exhausted, which is when its numbers count. The host asks for each sample: without
# a host it costs nothing, and it ends with the connection.

LC_ALL=C
newline='
'
exec 2>/dev/null
echo -1000 >/proc/self/oom_score_adj

sample_stat() { # ASKED
  while read -r name a b c d e f g h rest; do
    case $name in
      cpu) out="${out}C $a $b $c $d $e $f $g $h$newline" ;;
      cpu[0-9]*) [ -z "$is_long" ] || [ "$1" = all ] || return 0 ;;
      intr)
        # A machine of many processors has a long one, and dash reads byte by byte.
        [ "${#rest}" -lt 4096 ] || is_long=1
        if [ "$1" = all ]; then
          out="${out}I $a $b $c $d $e $f $g $h $rest$newline"
        else
          out="${out}I $a$newline"
        fi
        ;;
      ctxt) out="${out}X $a$newline" ;;
      processes) out="${out}F $a$newline" ;;
      procs_running) out="${out}R $a$newline" ;;
      procs_blocked)
        out="${out}B $a$newline"
        return 0
        ;;
    esac
  done </proc/stat
}

sample_memory() {
  out="${out}M"
  while read -r name value _; do
    case $name in
      MemTotal: | MemFree: | MemAvailable: | Buffers: | Cached: | SwapTotal: | SwapFree: | Dirty: | Writeback: | \
        AnonPages: | Shmem: | Slab: | SUnreclaim: | Committed_AS:) out="$out $name $value" ;;
      VmallocTotal:) break ;;
    esac
  done </proc/meminfo
  out="$out$newline"
}

sample_disks() {
  while read -r _ _ name rest; do
    case $name:$rest in
      loop* | ram* | fd* | sr* | *":0 0 0 0 0 "*) ;;
      *) out="${out}D $name $rest$newline" ;;
    esac
  done </proc/diskstats
}

sample_networks() {
  while read -r line; do
    case $line in
      *:*) out="${out}N $line$newline" ;;
    esac
  done </proc/net/dev
}

sample_pressure() { # RESOURCE
  while read -r name rest; do
    out="${out}P $1 $name ${rest##*total=}$newline"
  done <"/proc/pressure/$1"
}

is_long=
printf 'lisa-ci-sampler 1\n'
while read -r asked; do
  read -r uptime rest </proc/uptime || continue
  out="U $uptime$newline"
  sample_stat "$asked"
  sample_memory
  sample_disks
  sample_networks
  if [ -e /proc/pressure ]; then
    sample_pressure cpu
    sample_pressure io
    sample_pressure memory
  fi
  read -r line </proc/loadavg && out="${out}L $line$newline"
  printf '%s.\n' "$out" || exit 0
done
