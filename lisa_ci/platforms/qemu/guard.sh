#!/bin/sh
# The owner of one QEMU process and of its scratch folder, in a session of its own.
#
# usage: guard.sh HOLD_FD FOLDER LINK      (stdin: the socket that QEMU gets as file descriptor 4)
#
# lisa-ci holds the other end of the pipe HOLD_FD. When that end closes, for whatever reason - the normal end, a crash,
# SIGKILL - QEMU is killed and FOLDER and LINK are removed. QEMU dies with this shell, too (the kernel sees to that).
# Words on the pipe: "start" runs the command in FOLDER/command; "keep SECONDS" outlives lisa-ci for that long.
set -u
folder=$2 link=$3 qemu='' timer='' seconds=0

finish() {
    trap '' TERM HUP INT
    [ -z "$timer" ] || kill -TERM "$timer" 2>/dev/null # not KILL: it has a sleep to end
    [ -z "$qemu" ] || kill -KILL "$qemu" 2>/dev/null
    wait
    if [ -f "$folder/lease.json" ]; then # only ever what lisa-ci marked as its own
        for entry in "$folder"/* "$folder"/.[!.]*; do # the lease last: a sweep knows by it whose this is
            [ "${entry##*/}" = lease.json ] || rm -rf -- "$entry"
        done
        rm -rf -- "$folder"
        rm -f -- "$link"
        # Who kept the machine is gone, and left the folder around ours for it.
        [ "$seconds" -eq 0 ] || rmdir -- "${folder%/*}" 2>/dev/null
    fi
}
trap finish EXIT
trap 'exit 143' TERM HUP
trap '' INT

exec 3<"/proc/self/fd/$1" 4<&0 0</dev/null
while read -r word value <&3; do
    case $word in
    start)
        sh "$folder/command" 3<&- >"$folder/qemu.out" 2>"$folder/qemu.err" &
        qemu=$!
        exec 4<&-
        ;;
    keep) seconds=$value ;;
    esac
done
[ "$seconds" -gt 0 ] || exit 0
(
    sleeper=''
    trap 'kill -KILL $sleeper 2>/dev/null; exit' TERM
    sleep "$seconds" &
    sleeper=$!
    wait
    kill -TERM $$
) 3<&- &
timer=$!
wait "$qemu" # until the machine powers itself off, the time is over, or someone ends us
