"""What a machine is asked for its telemetry: shell lines that are harmless where their programs are missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_KIB: Final = 1024

FACTS: Final = r"""
say() { [ -z "$2" ] || printf '%s=%s\n' "$1" "$2"; }
say kernel "$(uname -r)"
say machine "$(uname -m)"
PRETTY_NAME=
[ -r /etc/os-release ] && . /etc/os-release
say system "$PRETTY_NAME"
say systemd "$(systemctl --version 2>/dev/null | head -n 1)"
cpu=$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1)
[ -n "$cpu" ] || cpu=$(LC_ALL=C lscpu 2>/dev/null | sed -n 's/^ *Model name: *//p' | head -n 1) # aarch64: numbers alone
say cpu "$cpu"
say cores "$(grep -c '^processor' /proc/cpuinfo)"
say memory_kib "$(sed -n 's/^MemTotal: *\([0-9]*\).*/\1/p' /proc/meminfo)"
say virtualization "$(systemd-detect-virt 2>/dev/null)"
say shell "$(readlink -f /bin/sh)"
say command_line "$(cat /proc/cmdline)"
"""

# $1 token, then NAME LIMIT LINE for each file. Every file is behind a line with the token; only its end counts. "try"
# runs a program where there is one. A line runs in a process of its own: it may set, exit and fail as it likes.
COLLECT: Final = r"""
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin LC_ALL=C SYSTEMD_COLORS=0
export PATH LC_ALL SYSTEMD_COLORS
token=$1
shift
try() { command -v "$1" >/dev/null 2>&1 && "$@"; }
while [ $# -gt 2 ]; do
  printf '\n%s %s\n' "$token" "$1"
  { eval "$3"; } </dev/null 2>&1 | tail -c "$2"
  shift 3
done
printf '\n%s \n' "$token"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """``line`` prints the file ``name``; at most ``limit`` bytes of its end are kept. A core comes whole, or not."""

    name: str
    line: str
    limit: int = 256 * _KIB
    is_core: bool = False


_DMESG: Final = Question(name="dmesg.txt", line="dmesg", limit=1024 * _KIB)
_JOURNAL: Final = Question(
    name="journal.txt", line="try journalctl -b --no-pager -o short-precise -n 20000", limit=2048 * _KIB
)
_FAILED_UNITS: Final = Question(
    name="failed-units.txt",
    line="try systemctl --no-pager --plain --failed list-units && "
    "try systemctl --no-pager --lines=20 --state=failed status '*'",
)
_OS_RELEASE: Final = Question(name="os-release.txt", line="cat /etc/os-release", limit=16 * _KIB)
_PACKAGES: Final = Question(
    name="packages.txt",
    line="try dpkg-query -W || try rpm -qa || try apk info -v || try pacman -Q || try opkg list-installed",
    limit=512 * _KIB,
)
_MODULES: Final = Question(name="modules.txt", line="cat /proc/modules")
_INTERRUPTS: Final = Question(name="interrupts.txt", line="cat /proc/interrupts")
_COMMAND_LINE: Final = Question(name="command-line.txt", line="cat /proc/cmdline", limit=16 * _KIB)

AT_THE_END: Final = (
    _DMESG,
    _JOURNAL,
    _FAILED_UNITS,
    _OS_RELEASE,
    _COMMAND_LINE,
    _PACKAGES,
    _MODULES,
    _INTERRUPTS,
)

# What counts most comes first: the time may end.
ON_FAILURE: Final = (
    _DMESG,
    _JOURNAL,
    Question(
        name="journal-previous.txt",
        line="[ ! -d /var/log/journal ] || try journalctl -b -1 --no-pager -o short-precise -n 5000 2>/dev/null",
        limit=1024 * _KIB,
    ),
    _FAILED_UNITS,
    Question(
        name="processes.txt",
        line="ps axwwo pid,ppid,stat,wchan:24,rss,etime,args 2>/dev/null || ps w 2>/dev/null || ps",
    ),
    Question(
        name="blocked-tasks.txt",
        line='for entry in /proc/[0-9]*; do read -r line <"$entry/stat" || continue; case ${line##*") "} in D*) '
        'echo "${entry#/proc/}: ${line%%")"*})"; cat "$entry/stack" 2>/dev/null;; esac; done 2>/dev/null',
    ),
    Question(name="memory.txt", line="cat /proc/meminfo /proc/vmstat /proc/buddyinfo; cat /proc/pressure/*"),
    Question(name="mounts.txt", line="cat /proc/self/mountinfo; cat /proc/swaps"),
    Question(name="sockets.txt", line="try ss -anptuw || try netstat -an"),
    Question(
        name="network.txt",
        line="if command -v ip >/dev/null; then ip -d address; ip route; ip -6 route; ip rule; ip -s link; "
        "else try ifconfig -a; try route -n; fi; cat /proc/net/dev",
    ),
    _MODULES,
    _COMMAND_LINE,
    Question(name="cpu.txt", line="cat /proc/cpuinfo; grep -r . /sys/devices/system/cpu/vulnerabilities"),
    _INTERRUPTS,
    Question(
        name="coredumps.txt",
        line="cat /proc/sys/kernel/core_pattern; try coredumpctl --no-pager -q info; "
        "ls -l /var/lib/systemd/coredump /var/crash /var/spool/abrt 2>/dev/null",
    ),
    # What kdump left: the log of a kernel that crashed.
    Question(
        name="crash-dmesg.txt",
        line="[ ! -d /var/crash ] || find /var/crash -xdev -type f -name '*dmesg*' -exec tail -c 262144 {} +",
        limit=512 * _KIB,
    ),
    Question(name="pci.txt", line="try lspci -nnvv || cat /proc/bus/pci/devices"),
    Question(name="slab.txt", line="cat /proc/slabinfo"),
    Question(
        name="devices.txt",
        line="cat /proc/partitions /proc/diskstats /proc/mdstat /proc/scsi/scsi 2>/dev/null; try lsblk -a",
    ),
    Question(name="sysctl.txt", line="try sysctl -a 2>/dev/null"),
    Question(name="environment.txt", line="uname -a; date; id; cat /proc/self/limits /proc/uptime /proc/loadavg"),
    _OS_RELEASE,
    _PACKAGES,
    # Last, since it may hang on a file system that does not answer.
    Question(name="disk-space.txt", line="df -k; df -i"),
)

# The newest one of this boot; only as a plain ELF file, since what is compressed cannot be searched for secrets.
CORE: Final = Question(
    name="core",
    line=r"""exec 2>/dev/null
boot=$(tr -d - </proc/sys/kernel/random/boot_id)
try coredumpctl -q -1 dump "_BOOT_ID=$boot" && exit
newest=
for file in /var/lib/systemd/coredump/core* /var/crash/core*; do
  [ -f "$file" ] && [ ! -L "$file" ] || continue
  [ -n "$newest" ] && [ ! "$file" -nt "$newest" ] || newest=$file
done
[ -z "$newest" ] || [ "$(head -c 4 "$newest" | tail -c 3)" != ELF ] || cat "$newest"
""",
    limit=8192 * _KIB,
    is_core=True,
)
