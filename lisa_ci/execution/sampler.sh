#!/bin/sh
# The sampler of lisa-ci: for each line that it reads, it prints what the kernel counts. Format: docs/telemetry.md.
#
# After its start it makes no process and reads no disk, so that it still answers when memory, processes or the disk are
# exhausted, which is when its numbers count. The host asks for each sample: without a host it costs nothing, and it
# ends with the connection.
#
# awk does it where there is one, since it reads a file in one go: dash and ash read byte by byte, which is cheap on
# metal but costs an emulated machine several percent. Both tell the same.
#
# The host puts a line before these, mark='lisa-ci-sampler NAME ', by which the process is found when its connection has
# stalled and nothing tells it that the host is gone.

LC_ALL=C
mark=${mark-}
newline='
'
exec 2>/dev/null
echo -1000 >/proc/self/oom_score_adj

# mawk waits for a whole block of requests without this option; gawk and busybox ignore it.
if [ "$(awk -W interactive 'BEGIN { print "works" }')" = works ]; then
  # shellcheck disable=SC2016 # the dollars are awk's
  exec awk -W interactive -v "mark=$mark" '
    BEGIN {
      names = "MemTotal: MemFree: MemAvailable: Buffers: Cached: SwapTotal: SwapFree: Dirty: Writeback: AnonPages: "
      split(names "Shmem: Slab: SUnreclaim: Committed_AS:", list, " ")
      for (number in list) wanted[list[number]] = 1
      print "lisa-ci-sampler 1"
      fflush()
    }
    {
      out = ""
      file = "/proc/uptime"
      if ((getline line < file) > 0) out = "U " substr(line, 1, index(line, " ") - 1) "\n"
      close(file)
      file = "/proc/stat"
      while ((getline line < file) > 0) {
        end = index(line, " ")
        name = substr(line, 1, end - 1)
        rest = substr(line, end + 1)
        if (name == "cpu") out = out "C " rest "\n"
        else if (name == "intr") {
          if ($0 != "all") rest = substr(rest, 1, index(rest " ", " ") - 1)
          out = out "I " rest "\n"
        }
        else if (name == "ctxt") out = out "X " rest "\n"
        else if (name == "processes") out = out "F " rest "\n"
        else if (name == "procs_running") out = out "R " rest "\n"
        else if (name == "procs_blocked") out = out "B " rest "\n"
      }
      close(file)
      out = out "M"
      file = "/proc/meminfo"
      while ((getline line < file) > 0) {
        name = substr(line, 1, index(line, " ") - 1)
        if (name in wanted) {
          split(line, part, " ")
          out = out " " name " " part[2]
        }
        if (name == "VmallocTotal:") break
      }
      close(file)
      out = out "\n"
      file = "/proc/diskstats"
      while ((getline line < file) > 0) {
        sub(/^ *[0-9]+ +[0-9]+ +/, "", line)
        if (line !~ /^(loop|ram|fd|sr)[0-9]/ && line !~ /^[^ ]+ 0 0 0 0 0 /) out = out "D " line "\n"
      }
      close(file)
      file = "/proc/net/dev"
      while ((getline line < file) > 0) {
        sub(/^ +/, "", line)
        if (line ~ /:/) out = out "N " line "\n"
      }
      close(file)
      split("cpu io memory", list, " ")
      for (number = 1; number <= 3; number++) {
        file = "/proc/pressure/" list[number]
        while ((getline line < file) > 0) {
          name = substr(line, 1, index(line, " ") - 1)
          sub(/.*total=/, "", line)
          out = out "P " list[number] " " name " " line "\n"
        }
        close(file)
      }
      file = "/proc/loadavg"
      if ((getline line < file) > 0) out = out "L " line "\n"
      close(file)
      printf "%s.\n", out
      fflush()
    }'
fi

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
