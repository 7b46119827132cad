#!/bin/sh
# The in-machine runner of lisa-ci: runs the cases of one leg and speaks frames on its standard output.
# The format of the frames and the reasons for this shape: docs/runner.md.
#
#   sh runner.sh FOLDER TOKEN      FOLDER holds the file "cases" (calls of "lisa_case"); TOKEN comes back in HELLO
#
# POSIX sh plus what every Linux has: dd with iflag=fullblock, mkfifo, cat, tail, sleep, /proc. Each case costs two
# forks (the case itself, and dd, which caps its output); everything else is done by builtins.
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
held= # frames that go out together with the next one
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

# ---- ending the processes of a case --------------------------------------------------------------------------------

end_tree() { # SIGNAL NUMBER: every process of case NUMBER
  if [ -n "$groups" ]; then
    [ -e "$groups/$2/cgroup.procs" ] || return 0
    if [ "$1" = KILL ] && [ -e "$groups/$2/cgroup.kill" ]; then
      echo 1 >"$groups/$2/cgroup.kill"
      return 0
    fi
    while read -r process; do
      kill -s "$1" "$process" 2>/dev/null
    done <"$groups/$2/cgroup.procs"
    return 0
  fi
  leader=
  [ ! -e "$scratch/$2.leader" ] || read -r leader <"$scratch/$2.leader"
  [ -n "$leader" ] || return 0
  [ -z "$lisa_ci_session" ] || kill "-$1" "-$leader" 2>/dev/null # the one form of a group that all three shells take
  end_relatives "$1" "$2"
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

end_child() { # PARENT PROCESS STATE PARENT...
  [ "$4" != "$1" ] || kill -s KILL "$2" 2>/dev/null
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
  LC_ALL=C "$dd" "bs=$2" count=1 iflag=fullblock "of=$1" <&8 2>"$scratch/measure" 5<&- 6<&- 8<&-
  size=0 is_full='' full=''
  read -r full rest <"$scratch/measure"
  case $full in
    0+0) ;;
    1+0) is_full=1 size=$2 ;;
    0+1) size=$(($(wc -c <"$1"))) ;;
    *) return 1 ;;
  esac
}

keep() {
  while read -r job <&6; do
    exec 8<"$scratch/$job.pipe" # waits for the case
    lost=0 head=0 tail=0 dropped=0
    if block "$scratch/$job.head" "$head_limit"; then
      head=$size
      [ -z "$is_full" ] || keep_tail
    else
      lost=1
    fi
    exec 8<&-
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
  current='' following='' ended='' kept='' strikes=0 timed_out=0 leaving='' farewell=
  while [ -z "$farewell" ] && read -r event number rest <&5; do
    case $event in
      T) tick ;;
      S) if [ -n "$current" ]; then following="$number $rest"; else start "$number" $rest; fi ;;
      E) ended=$rest strikes=0 ;;
      O) kept=$rest ;;
      Q) leaving=BYE ;;
    esac
    [ -z "$ended" ] || [ -z "$kept" ] || finish $ended $kept
    [ -n "$current" ] || farewell=${farewell:-$leaving}
  done
  [ -z "$current" ] || end_tree KILL "$current"
  # The machine may stay in use after us: leave nothing of ours behind.
  [ "$farewell" = BYE ] || kill -s KILL $$ 2>/dev/null
  kill -s KILL "$ticker" "$keeper" 2>/dev/null
  each_process end_child "$keeper"
  tidy
  case $farewell in BYE) frame BYE 0 '' ;; *) frame ABORT 0 "$farewell" ;; esac
}

start() { # NUMBER LIMIT KEY
  ended='' kept='' following=
  clock
  current=$1 deadline=$((now + $2)) strikes=0 timed_out=0
  frame START "$1" "$3"
}

finish() { # STATUS WALL CPU PEAK HEAD TAIL DROPPED LOST; the case's processes and its output have both come to an end
  hand_over "$5" "$scratch/$current.head"
  hand_over "$6" "$scratch/$current.tail"
  facts="exit=$1 wall_ms=$2 cpu_us=$3 memory=$4 dropped=$7 lost=$8 timeout=$timed_out"
  if [ -n "$following" ]; then
    held="END $current ${#facts}
$facts"
    start $following
  else
    frame END "$current" "$facts"
    current='' ended='' kept=
  fi
}

hand_over() { # SIZE FILE: one DATA frame
  [ "$1" -gt 0 ] || return 0
  printf 'DATA %s %s\n' "$current" "$1" >&4
  cat "$2" >&4
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
  rm -rf "$scratch"
  [ -z "$groups" ] || rmdir "$groups"/*/ "$groups" 2>/dev/null
}

# ---- main: one case after the other --------------------------------------------------------------------------------

listen() { # waits for one line from the host
  read -r word value <&3 || exit 1
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
    jobs="$jobs$i
" pipes="$pipes $scratch/$i.pipe" nests="$nests $groups/$i"
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

used_before() { # children's CPU time so far, in microseconds, where no control group tells
  [ -z "$groups" ] || return 0
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
    read -r left <"$groups/$number/cgroup.procs"
    read -r rest cpu <"$groups/$number/cpu.stat"
    [ ! -e "$groups/$number/memory.peak" ] || read -r peak <"$groups/$number/memory.peak"
    [ -z "$left" ] || end_tree KILL "$number"
  else
    earlier=$spent
    used_before
    cpu=$((spent - earlier))
    read -r left <"$scratch/$number.leader"
    [ -z "$lisa_ci_session" ] || kill -KILL "-$left" 2>/dev/null
  fi
}

lisa_case() { # NUMBER KEY LIMIT(1/100 s) AHEAD SETUP COUNT NAME=VALUE... COMMAND...
  number=$1 key=$2 limit=$3 ahead=$4 setup=$5 lisa_ci_count=$6
  shift 6
  [ "$number" -le "$made" ] || make_batch
  while [ $((number - 1 - acknowledged)) -ge "$ahead" ]; do listen; done
  echo "S $number $limit $key" >&5
  clock
  began=$now
  printf 'S %s %s %s\n' "$number" "$key" "$began" >>"$folder/journal"
  mark "case $key"
  if [ "$ahead" = 1 ]; then # the machine may die: START must be with the host first, the journal on the disk
    sync
    while [ "$go" != "$number" ]; do listen; done
  fi
  used_before
  (
    if [ -n "$groups" ]; then
      echo 0 >"$groups/$number/cgroup.procs"
    else
      read -r self rest </proc/self/stat
      echo "$self" >"$scratch/$number.leader"
    fi
    exec 3<&- 4>&- 5<&- 6<&-
    export "LISA_CI_SUITE=${key%%"#"*}" "LISA_CI_CASE=${key#*"#"}" "LISA_CI_RUN=$token.$number."
    "$setup" || exit 126
    while [ "$lisa_ci_count" -gt 0 ]; do
      # shellcheck disable=SC2163 # $1 is NAME=VALUE
      export "$1"
      shift
      lisa_ci_count=$((lisa_ci_count - 1))
    done
    exec $lisa_ci_session "$@"
  ) >"$scratch/$number.pipe" 2>&1 </dev/null
  status=$?
  clock
  account
  mark "end"
  wall=$(((now - began) * 10))
  echo "E $number $status $wall $cpu $peak" >&5
  printf 'E %s %s %s\n' "$number" "$status" "$wall" >>"$folder/journal"
}

# ---- start ---------------------------------------------------------------------------------------------------------

[ -r /proc/uptime ] && [ -r /proc/self/stat ] || give_up 'the machine has no /proc'
places=
while read -r rest place type rest; do
  case "$place $type" in '/run tmpfs' | '/dev/shm tmpfs') places="$places $place" ;; esac
done </proc/mounts
scratch=
for place in $places "$folder"; do
  # mkdir fails where the name exists, so nobody can prepare it for us.
  mkdir -m 700 "$place/lisa-ci-run.$$" 2>/dev/null && scratch=$place/lisa-ci-run.$$ && break
done
[ -n "$scratch" ] || give_up 'no folder for scratch files can be written'
mkfifo -m 600 "$scratch/events" "$scratch/jobs" || give_up 'mkfifo does not work here'
dd=$(command -v dd) # found once: a long PATH costs a dozen system calls each time
echo x | "$dd" bs=2 count=1 iflag=fullblock "of=$scratch/measure" 2>/dev/null || give_up 'dd knows no iflag=fullblock'
exec 5<>"$scratch/events" 6<>"$scratch/jobs"

lisa_ci_session=$(command -v setsid)
"$lisa_ci_session" true 2>/dev/null || lisa_ci_session=
groups=
for place in ${LISA_CI_GROUPS-/sys/fs/cgroup /sys/fs/cgroup/unified}; do
  [ -e "$place/cgroup.procs" ] || continue
  mkdir "$place/lisa-ci.$$" 2>/dev/null || continue
  groups=$place/lisa-ci.$$
  { echo +memory >"$groups/cgroup.subtree_control"; } 2>/dev/null
  mkdir "$groups/0" && (echo 0 >"$groups/0/cgroup.procs") 2>/dev/null && [ -e "$groups/0/cpu.stat" ] && break
  rmdir "$groups/0" "$groups" 2>/dev/null
  groups=
done
unset LISA_CI_GROUPS
kmsg='' ratelimit=
if { : >/dev/kmsg; } 2>/dev/null; then
  kmsg=1
  # By default the kernel lets ten such lines through in five seconds.
  read -r ratelimit </proc/sys/kernel/printk_devkmsg
  [ "$ratelimit" = ratelimit ] && { echo on >/proc/sys/kernel/printk_devkmsg; } || ratelimit=
fi 2>/dev/null

acknowledged=0 go=0 made=0 spent=0
frame HELLO 0 "protocol=1 token=$token session=${lisa_ci_session:+1} groups=${groups:+1} kmsg=${kmsg:+1}"
(while kill -0 $$ 2>/dev/null && sleep 1; do echo T >&5; done) 3<&- 4>&- 6<&- &
ticker=$!
keep 3<&- 4>&- &
keeper=$!
supervise 3<&- &
supervisor=$!
exec 4>&-

# shellcheck source=/dev/null
. "$folder/cases"

mark 'end of cases'
echo Q >&5
wait "$supervisor"
