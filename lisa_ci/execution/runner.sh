#!/bin/sh
# The in-machine runner of lisa-ci: runs the cases of one leg and speaks frames on its standard output.
# The format of the frames and the reasons for this shape: docs/runner.md.
#
#   sh runner.sh FOLDER TOKEN             FOLDER holds the file "cases" (calls of "lisa_case"); TOKEN comes back in HELLO
#   sh runner.sh FOLDER TOKEN replay N    tells again how the cases behind N ended, after a connection was cut
#
# POSIX sh plus what every Linux has: dd with iflag=fullblock, mkfifo, cat, tail, sleep, /proc. Each case costs two
# forks (the case itself, and dd, which caps its output), and cat where it printed more than a little; everything else
# is done by builtins.
#
# Four processes live as long as the leg:
#   main        runs one case after the other in the foreground (a background job would ignore SIGINT and SIGQUIT)
#   keeper      reads each case's output and keeps its head and tail
#   supervisor  the only writer of frames; knows the time limits and ends what must end
#   ticker      wakes the supervisor once a second
# They talk through two FIFOs in lines shorter than PIPE_BUF, which are never torn: 5 events -> supervisor and
# 6 jobs -> keeper. Acknowledgements from the host are read by main, when it must wait for one.

# Lists of numbers and of our own file names are split on purpose.
# shellcheck disable=SC2086,SC2013

folder=$1
token=$2
name=${folder##*/} # in the command line or the environment of all that is ours, so that all of it can be found
main=$$
held= # frames that go out together with the next one
text_limit=2048 # bytes that "read" takes sooner than a program starts
newline='
'
strange="[!$newline	 -~]" # a byte that is not of plain text
head_limit=65536
ring_limit=1048576
batch=64
exec 3<&0 4>&1 </dev/null >&2
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# ---- small things --------------------------------------------------------------------------------------------------

frame() { # KIND NUMBER PAYLOAD (ASCII)
  printf '%s%s %s %s\n%s' "$held" "$1" "$2" "${#3}" "$3" >&4 || farewell='the host does not read any more'
  held=
}

give_up() { # REASON
  frame ABORT 0 "$1"
  exit 1
}

clock() { # sets "now", in hundredths of a second since boot: a case may set the clock of the day, never this one
  read -r now rest </proc/uptime
  now=${now%.*}${now#*.}
}

mark() { # TEXT: a line in the kernel's log, so that lines on the console find their case
  [ -z "$kmsg" ] || printf '<13>lisa-ci: %s\n' "$1" >/dev/kmsg
}

mark_end() { # where nothing follows at once; else the mark of the next case says as much
  [ -z "$marked" ] || mark 'end'
  marked=
}

read_whole() { # SIZE FILE: sets "text" by builtins alone; 1 where it may not be all of the file, byte for byte
  text=
  while IFS= read -r line; do text=$text$line$newline; done <"$2"
  text=$text$line
  [ "${#text}" -eq "$1" ] || return 1 # a shell drops zero bytes
  case $text in *$strange*) return 1 ;; esac # what shells make of other bytes is their own affair
}

# ---- ending the processes of a case --------------------------------------------------------------------------------

end_tree() { # SIGNAL NUMBER: every process of case NUMBER
  if [ -n "$groups" ]; then
    end_group "$1" "$2"
    return 0
  fi
  leader=
  [ ! -e "$scratch/$2.leader" ] || read -r leader <"$scratch/$2.leader"
  [ -n "$leader" ] || return 0
  [ -z "$lisa_ci_session" ] || kill "-$1" "-$leader" 2>/dev/null # the one form of a group that all three shells take
  end_relatives "$1" "$2"
}

end_group() { # SIGNAL NUMBER: all at once where main has left it, which never comes back to one
  [ -e "$groups/$2/cgroup.procs" ] || return 0
  if [ "$1" = KILL ] && [ -e "$groups/$2/cgroup.kill" ] && ! stands_in "$2"; then
    echo 1 >"$groups/$2/cgroup.kill"
    return 0
  fi
  members= # first all of them: bash reads the list anew for each line
  while read -r process; do members="$members $process"; done <"$groups/$2/cgroup.procs"
  for process in $members; do
    [ "$process" = "$main" ] || kill -s "$1" "$process" 2>/dev/null
  done
}

stands_in() { # NUMBER: whether main lives and is in that group
  [ -n "$main" ] || return 1
  while read -r line; do
    case $line in 0::*"/lisa-ci.$name/$1") return 0 ;; esac
  done 2>/dev/null <"/proc/$main/cgroup"
  return 1
}

end_relatives() { # SIGNAL NUMBER: without control groups, found by session, by parent and by environment
  family=" $leader "
  round=0
  found=1
  while [ "$found" -gt 0 ] && [ "$round" -lt 20 ]; do
    found=0
    round=$((round + 1))
    each_process end_relative "$1"
  done
  for entry in $(grep -lsa "LISA_CI_RUN=${token}[.]${2}[.]" /proc/[0-9]*/environ); do
    entry=${entry#/proc/}
    kill -s "$1" "${entry%/environ}" 2>/dev/null
  done
}

end_relative() { # SIGNAL PROCESS STATE PARENT GROUP SESSION...
  case $3 in Z | X) return 0 ;; esac
  case $family in
    *" $4 "*) ;;
    *) [ "$6" = "$leader" ] || [ "$2" = "$leader" ] || return 0 ;;
  esac
  case $family in *" $2 "*) ;; *) family="$family$2 " found=1 ;; esac
  kill -s "$1" "$2" 2>/dev/null
}

end_main() { # MAIN: it, and the beginning of a case that waits for a reader of its output; the rest of us goes on
  kill -s STOP "$1" 2>/dev/null
  each_process end_beginning "$1"
  kill -s KILL "$1" 2>/dev/null
  main=
}

end_beginning() { # PARENT PROCESS STATE PARENT...
  case " $keeper $ticker $supervisor " in *" $2 "*) return 0 ;; esac
  [ "$4" != "$1" ] || kill -s KILL "$2" 2>/dev/null
}

end_keeper() { # with its dd, which would be an orphan that nobody finds
  kill -s STOP "$keeper" 2>/dev/null
  each_process end_child "$keeper"
  kill -s KILL "$keeper" 2>/dev/null
}

end_child() { # PARENT PROCESS STATE PARENT...
  [ "$4" != "$1" ] || kill -s KILL "$2" 2>/dev/null
}

end_earlier() { # TOKEN: runners in this folder, but the one that was called with TOKEN, with their parts and their cases
  ours="$name/runner[.]sh"
  parts="lisa-ci-run[.]$name"
  cases="LISA_CI_RUN=[^.]*[.][0-9]*[.]$name" # what a suite's preparation has left for its cases is none
  round=0
  found=1
  while [ "$found" -gt 0 ] && [ "$round" -lt 5 ]; do
    found=0
    round=$((round + 1))
    for entry in $(grep -lsa -e "$ours" -e "$parts" -e "$cases" /proc/[0-9]*/cmdline /proc/[0-9]*/environ); do
      entry=${entry#/proc/}
      entry=${entry%%/*}
      grep -qsa -e "$1" "/proc/$entry/cmdline" || { kill -s KILL "$entry" 2>/dev/null && found=1; }
    done
  done
}

each_process() { # FUNCTION ARGUMENT: calls it with what /proc/PROCESS/stat says: PROCESS STATE PARENT GROUP SESSION...
  for entry in /proc/[0-9]*/stat; do
    line=
    read -r line 2>/dev/null <"$entry"
    # Between the number and the state stands the program's name, in which everything is allowed.
    [ -z "$line" ] || "$1" "$2" "${line%% *}" ${line##*") "}
  done
}

# ---- keeper: the head and the tail of an output of any size --------------------------------------------------------

block() { # FILE LIMIT: up to LIMIT bytes from the case into FILE; sets "size" and "is_full"; 1 where dd was killed
  LC_ALL=C "$dd" "bs=$2" count=1 iflag=fullblock "of=$1" <&8 2>"$scratch/measure" 5<&- 6<&- 8<&- &
  lead_on
  wait "$!"
  size=0 is_full='' full='' taken=''
  { read -r full rest && read -r rest && read -r taken rest; } <"$scratch/measure" # N+M records in, out; BYTES bytes ...
  case $full:$taken in
    0+0:*) ;;
    1+0:*) is_full=1 size=$2 ;;
    0+1:*[!0-9]* | 0+1:) size=$(($(wc -c <"$1"))) ;; # a dd that tells no bytes
    0+1:*) size=$taken ;;
    *) return 1 ;;
  esac
}

lead_on() { # takes main, which waits for the case that it has forked, to the group of the next one
  [ -z "$next" ] || { echo "$main" >"$groups/$next/cgroup.procs"; } 2>/dev/null
  next=
}

keep() {
  while read -r job <&6; do
    exec 8<"$scratch/$job.pipe" # waits for the case
    lost=0 head=0 tail=0 dropped=0 next=
    [ -z "$groups" ] || next=$((job + 1))
    if block "$scratch/$job.head" "$head_limit"; then
      head=$size
      [ -z "$is_full" ] || keep_tail
    else
      lost=1
    fi
    exec 8<&-
    echo "$job $head $tail $dropped $lost" >>"$scratch/kept"
    echo "O $job $head $tail $dropped $lost" >&5
  done
}

keep_tail() { # two files take turns, so that only the last one or two MiB of any output exist
  total=0 turn=a before=
  while :; do
    block "$scratch/ring.$turn" "$ring_limit" || lost=1
    total=$((total + size))
    [ -n "$is_full" ] || break
    before=$scratch/ring.$turn
    case $turn in a) turn=b ;; *) turn=a ;; esac
  done
  [ "$total" -gt 0 ] || return 0
  cat $before "$scratch/ring.$turn" | tail -c "$head_limit" >"$scratch/$job.tail"
  tail=$head_limit
  [ "$total" -ge "$tail" ] || tail=$total
  dropped=$((total - tail))
}

# ---- supervisor: frames, time limits, signs of life ----------------------------------------------------------------

supervise() {
  trap '' PIPE
  LC_ALL=C # lengths are bytes
  read -r supervisor rest </proc/self/stat
  current='' following='' ended='' kept='' strikes=0 timed_out=0 leaving='' farewell=
  while [ -z "$farewell" ] && read -r event number rest <&5; do
    case $event in
      T) tick ;;
      S) if [ -n "$current" ]; then following="$number $rest"; else start "$number" $rest; fi ;;
      E) ended=$rest strikes=0 ;;
      O) kept=$rest ;;
      Q) leaving=BYE ;;
      X) farewell=GONE ;; # the host hung up; main waits for us
    esac
    [ -z "$ended" ] || [ -z "$kept" ] || finish $ended $kept
    [ -n "$current" ] || farewell=${farewell:-$leaving}
  done
  # The machine may stay in use after us: leave nothing of ours behind, but what a replay needs. Main goes first: it
  # would write into the journal that the case which we end now has ended by itself.
  case $farewell in BYE | GONE) ;; *) end_main $$ ;; esac
  [ -z "$current" ] || end_tree KILL "$current"
  kill -s KILL "$ticker" 2>/dev/null
  end_keeper
  [ "$farewell" != BYE ] || rm -rf "$scratch"
  tidy
  case $farewell in BYE) frame BYE 0 '' ;; *) frame ABORT 0 "$farewell" ;; esac
}

start() { # NUMBER LIMIT KEY
  ended='' kept='' following=
  clock
  current=$1 deadline=$((now + $2)) strikes=0 timed_out=0
  frame START "$1" "$3"
}

finish() { # STATUS WALL CPU PEAK TAINT DIRT HEAD TAIL DROPPED LOST; its processes and its output have come to an end
  hand_over "$current" "$7" "$scratch/$current.head"
  hand_over "$current" "$8" "$scratch/$current.tail"
  facts="token=$token exit=$1 wall_ms=$2 cpu_us=$3 memory=$4 taint=$5 dirt=$6 dropped=$9 lost=${10} timeout=$timed_out"
  if [ -n "$following" ]; then
    held="${held}END $current ${#facts}$newline$facts"
    start $following
  else
    frame END "$current" "$facts"
    current='' ended='' kept=
  fi
}

hand_over() { # NUMBER SIZE FILE: one DATA frame
  [ "$2" -gt 0 ] || return 0
  if [ "$2" -le "$text_limit" ] && read_whole "$2" "$3"; then
    held="${held}DATA $1 $2$newline$text"
    return 0
  fi
  printf '%sDATA %s %s\n' "$held" "$1" "$2" >&4
  held=
  cat "$3" >&4
}

tick() {
  frame BEAT 0 ''
  kill -0 $$ 2>/dev/null || farewell='something in the machine killed the runner'
  kill -0 "$keeper" 2>/dev/null || farewell='something in the machine killed a part of the runner'
  [ -n "$current" ] || return 0
  clock
  if [ -n "$ended" ]; then
    # The case is over, but somebody holds its output open: first end them, then stop listening.
    strikes=$((strikes + 1))
    case $strikes in
      2) end_tree KILL "$current" ;;
      4) each_process end_child "$keeper" ;;
    esac
  elif [ "$now" -ge "$deadline" ]; then
    timed_out=1
    : >"$scratch/$current.timeout"
    strikes=$((strikes + 1))
    case $strikes in
      1) end_tree TERM "$current" ;;
      3 | 6 | 9) end_tree KILL "$current" ;;
      15) farewell='the case cannot be killed' ;;
    esac
  fi
}

tidy() {
  [ -z "$ratelimit" ] || echo "$ratelimit" >/proc/sys/kernel/printk_devkmsg
  [ -z "$loglevel" ] || echo "$loglevel" >/proc/sys/kernel/printk
  [ -n "$groups" ] || return 0
  [ -z "$main" ] || { echo "$main" >"$home"; } 2>/dev/null
  rmdir "$groups"/*/ "$groups" 2>/dev/null
}

# ---- main: one case after the other --------------------------------------------------------------------------------

listen() { # waits for one line from the host
  if ! read -r word value <&3; then
    echo X >&5
    wait "$supervisor"
    exit 1
  fi
  case $word in
    ACK) acknowledged=$value ;;
    GO) go=$value ;;
  esac
}

make_batch() { # pipes and control groups for the next cases: four forks for 64 of them
  jobs='' pipes='' nests=
  i=$((made + 1))
  made=$((made + batch))
  while [ "$i" -le "$made" ]; do
    jobs="$jobs$i$newline" pipes="$pipes $scratch/$i.pipe" nests="$nests $groups/$i"
    i=$((i + 1))
  done
  mkfifo -m 600 $pipes || exit 1
  [ -z "$groups" ] || mkdir $nests || exit 1
  printf '%s' "$jobs" >&6
  # What lies two batches back was acknowledged, for main runs at most 16 cases ahead.
  [ "$made" -le $((2 * batch)) ] || remove_batch $((made - 3 * batch))
}

remove_batch() { # the cases after NUMBER
  i=$(($1 + 1))
  files='' nests=
  while [ "$i" -le $(($1 + batch)) ]; do
    [ "$i" -lt 1 ] || files="$files $scratch/$i.pipe $scratch/$i.head $scratch/$i.tail $scratch/$i.leader"
    nests="$nests $groups/$i"
    i=$((i + 1))
  done
  rm -f $files
  [ -z "$groups" ] || rmdir $nests 2>/dev/null
}

enter() { # NUMBER: its group, in which the case is born then; to move a process takes the kernel a while, so the keeper
  # has moved us there while the case before it ran, and this seldom has anything to do
  [ "$nest" != "$1" ] || return 0
  nest=$1
  stands_in "$1" || echo 0 >"$groups/$1/cgroup.procs"
}

used_before() { # CPU time so far, in microseconds: of the group, in which we are, or of our children
  if [ -n "$groups" ]; then
    read -r rest spent <"$groups/$number/cpu.stat"
    return 0
  fi
  times >"$scratch/times"
  { read -r rest && read -r user system; } <"$scratch/times"
  microseconds "$user" && spent=$value && microseconds "$system" && spent=$((spent + value))
}

microseconds() { # 1m2.345s -> value
  fraction=${1#*[.,]}
  fraction=${fraction%s}000000
  seconds=${1#*m}
  value=$((${1%%m*} * 60000000 + ${seconds%%[.,]*} * 1000000 + 1${fraction%"${fraction#??????}"} - 1000000))
}

account() { # sets "cpu" (microseconds) and "peak" (bytes), or "-" where the machine cannot tell; ends what is left
  cpu=- peak=- left=
  if [ -n "$groups" ]; then
    enter $((number + 1))
    read -r left <"$groups/$number/cgroup.procs"
    read -r rest cpu <"$groups/$number/cpu.stat"
    cpu=$((cpu - spent))
    [ ! -e "$groups/$number/memory.peak" ] || read -r peak <"$groups/$number/memory.peak"
    [ -z "$left" ] || end_tree KILL "$number"
  else
    earlier=$spent
    used_before
    cpu=$((spent - earlier))
    read -r leader <"$scratch/$number.leader"
    [ -z "$lisa_ci_session" ] || { kill -KILL "-$leader" 2>/dev/null && left=1; }
  fi
}

look() { # sets "taint" and, where the host wants to know what a case leaves, "modules", "mounts" and "remains"
  taint=-
  [ ! -r /proc/sys/kernel/tainted ] || read -r taint </proc/sys/kernel/tainted
  [ "$watch" = 1 ] || return 0
  cksum </proc/self/mounts >"$scratch/mounts" # "read" would cost a system call for each of its bytes
  read -r mounts <"$scratch/mounts"
  remember /sys/module/*
  modules=$remembered
  remains=
  for place in $watched_places; do
    remember "$place"/* "$place"/.[!.]*
    remains="$remains $remembered"
  done
}

remember() { # NAMES
  remembered="$*"
}

compare() { # sets "dirt": what the case has left, comma separated, or "-"
  before=$taint mounts_before=$mounts modules_before=$modules remains_before=$remains
  look
  dirt=
  [ "$taint" = "$before" ] || dirt=$dirt,taint
  if [ "$watch" = 1 ]; then
    [ -z "$left" ] || dirt=$dirt,processes
    [ "$mounts" = "$mounts_before" ] || dirt=$dirt,mounts
    [ "$modules" = "$modules_before" ] || dirt=$dirt,modules
    [ "$remains" = "$remains_before" ] || dirt=$dirt,files
  fi
  if [ "$watch" = 1 ] || [ "$status" != 0 ]; then
    printf '%4096s' '' >>"$folder/probe" || dirt=$dirt,full # a block more than there was
  fi 2>/dev/null
  taints=$before:$taint
  dirt=${dirt#,}
  dirt=${dirt:--}
}

read_script() { # COMMAND...: a suite's own way to become the program without the start of a shell
  lisa_ci_script=$1.sourced
  shift
  # shellcheck source=/dev/null
  . "$lisa_ci_script"
  exit
}

lisa_case() { # NUMBER KEY LIMIT(1/100 s) AHEAD WATCH SETUP COUNT NAME=VALUE... COMMAND...
  number=$1 key=$2 limit=$3 ahead=$4 watch=$5 setup=$6 lisa_ci_count=$7
  shift 7
  [ "$number" -lt "$made" ] || make_batch # with the group of the next one
  while [ $((number - 1 - acknowledged)) -ge "$ahead" ]; do mark_end && listen; done
  while [ "$dirt" != - ] && [ "$watched" = 1 ]; do mark_end && listen; done # until the host hangs up, to restore
  [ "$watched" = "$watch" ] || look # else nothing has happened since the last look
  watched=$watch
  mark "case $key"
  marked=1
  echo "S $number $limit $key" >&5
  clock
  began=$now
  printf 'S %s %s %s\n' "$number" "$key" "$began" >>"$folder/journal"
  if [ "$ahead" = 1 ]; then # the machine may die: START must be with the host first, the journal on the disk
    sync
    while [ "$go" != "$number" ]; do listen; done
  fi
  [ -z "$groups" ] || enter "$number"
  used_before
  (
    if [ -z "$groups" ]; then
      read -r self rest </proc/self/stat
      echo "$self" >"$scratch/$number.leader"
    fi
    exec 3<&- 4>&- 5<&- 6<&-
    export "LISA_CI_SUITE=${key%%"#"*}" "LISA_CI_CASE=${key#*"#"}" "LISA_CI_RUN=$token.$number.$name"
    "$setup" || exit 126
    while [ "$lisa_ci_count" -gt 0 ]; do
      # shellcheck disable=SC2163 # $1 is NAME=VALUE
      export "$1"
      shift
      lisa_ci_count=$((lisa_ci_count - 1))
    done
    case $1 in */*) [ ! -e "$1.sourced" ] || read_script "$@" ;; esac
    exec $lisa_ci_session "$@"
  ) >"$scratch/$number.pipe" 2>&1 </dev/null
  status=$?
  clock
  account
  compare
  wall=$(((now - began) * 10))
  printf 'E %s %s %s %s %s %s %s\n' "$number" "$status" "$wall" "$cpu" "$peak" "$taints" "$dirt" >>"$folder/journal"
  echo "E $number $status $wall $cpu $peak $taints $dirt" >&5
}

# ---- replay: a connection was cut, the machine lives ---------------------------------------------------------------

replay() { # NUMBER TOKEN: tells how the cases behind NUMBER ended, then which one was interrupted
  answer=$2
  : >"$folder/cases" # one that has not begun yet shall find nothing to do
  i=0
  supervisor=
  while [ "$i" -lt 30 ] && [ -z "$supervisor" ]; do # it may just be beginning
    [ ! -e "$folder/scratch/run" ] ||
      read -r token main scratch groups home lisa_ci_session keeper ticker supervisor <"$folder/scratch/run"
    i=$((i + 1))
    [ -n "$supervisor" ] || sleep 0.1 2>/dev/null || sleep 1
  done
  [ -n "$supervisor" ] || give_up 'no runner has begun here'
  [ "$groups" != - ] || groups=
  [ "$lisa_ci_session" != - ] || lisa_ci_session=
  frame HELLO 0 "protocol=1 token=$2"
  # The old runner may not know yet that nobody listens. Its supervisor may hang in a write for ever.
  end_main "$main"
  kill -s KILL "$supervisor" 2>/dev/null
  last=0 done=0 key=
  while read -r word number rest; do
    case $word in
      S) [ "$number" -le "$last" ] || last=$number key=${rest%% *} ;;
      E) done=$number ;;
    esac
  done <"$folder/journal"
  [ "$last" -le "$done" ] || end_tree KILL "$last"
  i=0
  # A case that was over has its output with the keeper, but for one that somebody held open.
  while [ "$i" -lt 50 ] && [ "$done" -gt 0 ] && ! grep -q "^$done " "$scratch/kept" && kill -0 "$keeper" 2>/dev/null; do
    i=$((i + 1))
    sleep 0.1 2>/dev/null || sleep 1
  done
  kill -s KILL "$ticker" 2>/dev/null
  end_keeper
  # What main had begun when it was killed has no parent any more, and waits for a reader of its output for ever.
  end_earlier "$answer"
  while read -r word number rest; do
    if [ "$number" -gt "$1" ]; then
      case $word in
        S) key=${rest%% *} ;;
        E) tell_again "$1" $rest ;;
      esac
    fi
  done <"$folder/journal"
  [ "$last" -le "$done" ] || frame START $((last - $1)) "$key"
  i=0
  while [ -n "$groups" ] && [ -e "$groups" ] && [ "$i" -lt 20 ]; do # what was killed takes a moment to be gone
    rmdir "$groups"/*/ "$groups" 2>/dev/null || sleep 0.1 2>/dev/null || sleep 1
    i=$((i + 1))
  done
  rm -rf "$scratch"
  frame ABORT 0 'the connection was cut'
}

tell_again() { # OFFSET STATUS WALL CPU PEAK TAINTS DIRT
  head=0 tail=0 dropped=0 lost=1
  while read -r kept rest; do
    [ "$kept" != "$number" ] || read_kept $rest
  done <"$scratch/kept"
  timed_out=0
  [ ! -e "$scratch/$number.timeout" ] || timed_out=1
  here=$((number - $1))
  frame START "$here" "$key"
  hand_over "$here" "$head" "$scratch/$number.head"
  hand_over "$here" "$tail" "$scratch/$number.tail"
  frame END "$here" "token=$answer exit=$2 wall_ms=$3 cpu_us=$4 memory=$5 taint=$6 dirt=$7 dropped=$dropped lost=$lost timeout=$timed_out"
}

read_kept() { # HEAD TAIL DROPPED LOST
  head=$1 tail=$2 dropped=$3 lost=$4
}

# ---- start ---------------------------------------------------------------------------------------------------------

[ -r /proc/uptime ] && [ -r /proc/self/stat ] || give_up 'the machine has no /proc'
if [ "${3-}" = replay ]; then
  replay "$4" "$token"
  exit
fi
end_earlier "$token" # a runner that nobody asked again, or what it left
places=
while read -r rest place type rest; do
  case "$place $type" in '/run tmpfs' | '/dev/shm tmpfs') places="$places $place" ;; esac
done </proc/mounts
scratch=
for place in $places "$folder"; do
  rm -rf "$place/lisa-ci-run.$name"
done
for place in $places "$folder"; do
  # mkdir fails where the name exists, so nobody can prepare it for us.
  mkdir -m 700 "$place/lisa-ci-run.$name" 2>/dev/null && scratch=$place/lisa-ci-run.$name && break
done
[ -n "$scratch" ] || give_up 'no folder for scratch files can be written'
ln -sfn "$scratch" "$folder/scratch" || give_up 'no link can be made' # fits on a disk that is full
mkfifo -m 600 "$scratch/events" "$scratch/jobs" || give_up 'mkfifo does not work here'
dd=$(command -v dd) # found once: a long PATH costs a dozen system calls each time
echo x | "$dd" bs=2 count=1 iflag=fullblock "of=$scratch/measure" 2>/dev/null || give_up 'dd knows no iflag=fullblock'
exec 5<>"$scratch/events" 6<>"$scratch/jobs"

lisa_ci_session=$(command -v setsid)
"$lisa_ci_session" true 2>/dev/null || lisa_ci_session=
groups='' home=
for place in ${LISA_CI_GROUPS-/sys/fs/cgroup /sys/fs/cgroup/unified}; do
  [ -e "$place/cgroup.procs" ] || continue
  [ ! -e "$place/lisa-ci.$name" ] || rmdir "$place/lisa-ci.$name"/*/ "$place/lisa-ci.$name"
  mkdir "$place/lisa-ci.$name" || continue
  groups=$place/lisa-ci.$name
  { echo +memory >"$groups/cgroup.subtree_control"; } 2>/dev/null
  home=$place/cgroup.procs
  mkdir "$groups/0" && (echo 0 >"$groups/0/cgroup.procs" && echo 0 >"$home") 2>/dev/null &&
    [ -e "$groups/0/cpu.stat" ] && break
  rmdir "$groups/0" "$groups" 2>/dev/null
  groups=
done
watched_places=${LISA_CI_PLACES-/tmp /var/tmp /dev/shm /run/lock}
unset LISA_CI_GROUPS LISA_CI_PLACES
kmsg='' ratelimit='' loglevel=
if { : >/dev/kmsg; } 2>/dev/null; then
  kmsg=1
  # By default the kernel lets ten such lines through in five seconds.
  read -r ratelimit </proc/sys/kernel/printk_devkmsg
  [ "$ratelimit" = ratelimit ] && { echo on >/proc/sys/kernel/printk_devkmsg; } || ratelimit=
  # "quiet" keeps our lines, which are notices, off the console.
  read -r loglevel rest </proc/sys/kernel/printk
  [ "$loglevel" -lt 6 ] && { echo 6 >/proc/sys/kernel/printk; } || loglevel=
fi 2>/dev/null

number=0 acknowledged=0 go=0 made=0 spent=0 nest='' marked='' dirt=- watched='' mounts='' modules='' remains=''
: >"$folder/journal"
: >"$scratch/kept"
frame HELLO 0 "protocol=1 token=$token session=${lisa_ci_session:+1} groups=${groups:+1} kmsg=${kmsg:+1}"
(
  while kill -0 $$ 2>/dev/null && sleep 1; do echo T >&5; done
  echo T >&5 # for the supervisor of a main that is gone
) 3<&- 4>&- 6<&- &
ticker=$!
keep 3<&- 4>&- &
keeper=$!
supervise 3<&- &
supervisor=$!
exec 4>&-
echo "$token $$ $scratch ${groups:--} ${home:--} ${lisa_ci_session:--} $keeper $ticker $supervisor" >"$scratch/run"

# shellcheck source=/dev/null
. "$folder/cases"

mark 'end of cases'
while [ "$acknowledged" -lt "$number" ]; do listen; done # until then, somebody may ask for it again
echo Q >&5
wait "$supervisor"
