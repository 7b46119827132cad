"""The bundled suites: well made, and every check fails on what it is there to find.

A check runs here as in a machine, by ``sh`` in the suite's folder. What is broken is put before it in a mount namespace
of its own: a program that says something else (first in PATH), or a file bound over the system's.
"""

from __future__ import annotations

import os
import shlex
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from lisa_ci import files, process, registry
from lisa_ci.commands.suite import mistakes_of, warnings_of
from lisa_ci.drivers.shell import ShellDriver
from lisa_ci.model import Case, Completed, Firmware, Outcome, Profile, Result, unmet
from lisa_ci.pipeline.suites import bundled_suites, load_suite

ROOT = files.shipped("suites")
CHECKS = sorted(path for name in ("boot", "userland") for path in (ROOT / name).iterdir() if os.access(path, os.X_OK))
SHELLS = (["dash", "-n"], ["bash", "--posix", "-n"], ["busybox", "ash", "-n"])
TIMEOUT = timedelta(seconds=60)

# What is about a folder of the machine: words.sh is sourced, names of a list are split on purpose.
SHELLCHECK = ["shellcheck", "-s", "sh", "-S", "warning", "-e", "SC1090,SC1091,SC2034,SC2046,SC2086,SC2154"]


def test_the_bundled_suites_load_and_lint_without_a_word() -> None:
    assert set(bundled_suites()) >= {"boot", "reboot", "userland"}
    for name in bundled_suites():
        suite = load_suite(ROOT / name, registry.known(), name)
        assert list(mistakes_of(suite)) == []
        assert list(warnings_of(suite)) == []
        assert suite.description


def test_the_suites_hold_a_few_dozen_checks_that_each_say_when_they_fail() -> None:
    cases = [case for name in ("boot", "userland") for case in load_suite(ROOT / name, registry.known()).cases or ()]
    assert len(cases) == len(CHECKS) >= 40
    assert [case.id for case in cases if len(case.description) < 40] == []


def test_a_check_for_uefi_alone_fits_a_uefi_profile_alone() -> None:
    cases = {case.id: case for case in load_suite(ROOT / "boot", registry.known()).cases or ()}
    requires = cases["uefi-variables"].requires
    assert unmet(requires, Profile(name="u", firmware=Firmware.UEFI).capabilities) == ()
    assert unmet(requires, Profile(name="b", firmware=Firmware.BIOS).capabilities) != ()


def test_the_checks_share_their_words() -> None:
    words = {(ROOT / name / "words.sh").read_bytes() for name in ("boot", "userland")}
    assert len(words) == 1


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_every_check_is_read_by_every_shell(shell: list[str]) -> None:
    for path in [*CHECKS, *ROOT.glob("*/words.sh")]:
        process.check([*shell, path], timeout=TIMEOUT)


def test_shellcheck_has_nothing_to_say() -> None:
    process.check([*SHELLCHECK, *CHECKS], timeout=TIMEOUT)


def run(check: str, *prelude: str, **facts: str) -> Result:
    """The check's result, after the lines of ``prelude`` made the system what it is not."""
    path = next(path for path in CHECKS if path.name == check)
    environment = {"PATH": os.environ["PATH"], **{f"LISA_CI_{name}": value for name, value in facts.items()}}
    lines = [
        "set -e",
        "mount -t tmpfs none /mnt",
        "mkdir /mnt/bin /mnt/put",
        "PATH=/mnt/bin:$PATH",
        'program() { printf "#!/bin/sh\\n%s\\n" "$2" >"/mnt/bin/$1"; chmod +x "/mnt/bin/$1"; }',
        "cp -a /etc /mnt/etc",
        "mount --bind /mnt/etc /etc",
        # /etc is a copy; a link in it must not lead what is written to the system's own file.
        'put() { f=/mnt/put/file; case $1 in /etc/*) f=$1 && rm -f "$f" ;; esac; printf "%b" "$2" >"$f"',
        '  case $1 in /etc/*) ;; *) mount --bind "$f" "$1" ;; esac; }',
        "volatile() { mount -t tmpfs -o mode=755 none /run; mkdir -p /run/systemd/system; }",
        *prelude,
        "set +e",
        f"cd {shlex.quote(str(path.parent))}",
        f"exec ./{check}",
    ]
    script = "\n".join(lines)
    inside = ["unshare", "--mount", *(["--map-root-user"] if os.geteuid() else []), "sh", "-c", script]
    finished = process.run(inside, timeout=TIMEOUT, environment=environment)
    completed = Completed(exit=finished.exit, output=finished.stdout + finished.stderr)
    return ShellDriver().interpret(Case(suite=path.parent.name, id=check), completed)


SYSTEMD = "volatile"


def services(*properties: str) -> str:
    """A systemctl that tells when services started, on a system that booted in 200 s."""
    said = "; ".join(f"echo {line}" for line in properties)
    return f"program systemctl 'case \"$*\" in *Finish*) echo 200000000 ;; *) {said} ;; esac'"


FROM, UNTIL = "InactiveExitTimestampMonotonic=1000000", "ActiveEnterTimestampMonotonic=121000000"
RUNNING = "program systemctl 'case \"$*\" in is-system-running*) echo running ;; esac'"


def lists(text: str) -> str:
    """A systemctl whose lists are ``text``, on a system that runs."""
    cases = f'list-*) printf "{text}" ;; is-sys*) echo running ;; is-*) echo enabled ;;'
    return f"program systemctl 'case \"$*\" in {cases} esac'"


def journal(text: str) -> str:
    """A journalctl that tells one line."""
    return f"put /etc/said {shlex.quote(text)}; program journalctl 'cat /etc/said; echo'"


def dmesg(*lines: str) -> str:
    """A dmesg that tells raw lines, on a system without systemd."""
    text = "\\n".join(lines)
    return f"put /etc/said {shlex.quote(text)}; program dmesg 'cat /etc/said; echo'"


def test_what_a_check_is_shown_stays_in_its_namespace() -> None:
    before = [Path(name).read_bytes() for name in ("/etc/os-release", "/etc/passwd", "/etc/hosts")]
    run("os-release", "put /etc/os-release x", "put /etc/hosts x", alters("/etc/passwd", "d"))
    assert [Path(name).read_bytes() for name in ("/etc/os-release", "/etc/passwd", "/etc/hosts")] == before


def alters(path: str, expression: str) -> str:
    """A file below /etc, changed by sed."""
    return f"sed -i {shlex.quote(expression)} {path}"


BROKEN = [
    ("boot-finished", [SYSTEMD, "program systemctl 'echo starting'"], {}, "the system is 'starting'"),
    ("failed-units", [SYSTEMD, lists("a.service loaded failed\\n")], {}, "failed: a.service"),
    ("failed-units", [SYSTEMD, "program systemctl 'exit 1'"], {}, "failed:"),
    ("broken-units", [SYSTEMD, lists("b.mount error\\n")], {}, "cannot be loaded: b.mount"),
    (
        "boot-time",
        [SYSTEMD, services("Id=a.service", FROM, "", "Id=wait-online.service", FROM, UNTIL)],
        {},
        "wait-online.service took 120 s",
    ),
    ("boot-time", [SYSTEMD, services("")], {}, "systemd tells of no service"),
    ("boot-time", [SYSTEMD, "program systemctl 'echo 0'"], {}, "does not say when the boot was over"),
    ("unit-timeouts", [SYSTEMD, RUNNING, journal("Timed out waiting for device dev-x.device")], {}, "dev-x.device"),
    ("ordering-cycles", [SYSTEMD, journal("a.service: Found ordering cycle on b.service/start")], {}, "ordering cycle"),
    ("kernel-errors", [SYSTEMD, journal("I/O error, dev vda, sector 5")], {}, "1 kernel errors, the first: I/O error"),
    ("kernel-errors", [SYSTEMD, "program journalctl 'echo no >&2; exit 1'"], {}, "failed: no"),
    (
        "kernel-errors",
        [dmesg("<3>[    1.0] I/O error, dev vda, sector 5", "<27>[    2.0] systemd[1]: Failed to start a.")],
        {},
        "1 kernel errors, the first: I/O error, dev vda, sector 5",
    ),
    ("kernel-errors", ["program dmesg 'echo no >&2; exit 1'"], {}, "dmesg -r failed: no"),
    ("kernel-splats", [SYSTEMD, journal("WARNING: CPU: 1 PID: 7 at mm/x.c:3")], {}, "WARNING: CPU: 1"),
    ("kernel-splats", [dmesg("<4>[    1.0] WARNING: CPU: 1 PID: 7 at mm/x.c:3")], {}, "WARNING: CPU: 1"),
    (
        "kernel-splats",
        [SYSTEMD, journal("Internal error: synchronous external abort: 0000000096000410 [#1] SMP")],
        {},
        "Internal error: synchronous external abort",
    ),
    ("kernel-taint", ["program cat 'echo 512'"], {}, "the kernel is tainted by warning (512)"),
    ("cores", [], {"CORES": "4095"}, "the profile says 4095"),
    ("memory", [], {"MEMORY_MIB": "1000000000"}, "of 1000000000 MiB"),
    ("memory", [], {"MEMORY_MIB": "1"}, "more than the profile's 1 MiB"),
    ("architecture", [], {"ARCH": "riscv128"}, "the profile says riscv128"),
    ("firmware-mode", [], {"FIRMWARE": "punched cards"}, "the profile says punched cards"),
    ("network-cards", [], {"NICS": "4095"}, "the profile says 4095"),
    ("data-disks", [], {"DISKS": "1"}, "no disk has the serial number lisa-ci-0"),
    ("root-writable", [SYSTEMD, journal("EXT4-fs error (device vda1): x")], {}, "EXT4-fs error"),
    ("free-space", ["program df 'printf \"h\\n/dev/x 10 9 1 95%% /\\n\"'"], {}, "/ is 95 % full"),
    ("stable-root", ["put /proc/cmdline 'quiet root=/dev/sda1 ro\\n'"], {}, "root=/dev/sda1 depends on the order"),
    ("fstab", ["put /etc/fstab '/dev/x /not/mounted ext4 defaults 0 2\\n'"], {}, "is in /etc/fstab and is not mounted"),
    ("fstab", ["put /etc/fstab 'UUID=none-such / ext4 defaults 0 1\\n'"], {}, "no device has the UUID none-such"),
    (
        "swap",
        ["put /etc/fstab '/dev/a none swap sw 0 0\\n/dev/b none swap sw 0 0\\n'", "put /proc/swaps 'h\\n'"],
        {},
        "declares 2",
    ),
    ("clock-runs", ["program date 'read -r u r </proc/uptime; echo $((${u%%.*} * 9))'"], {}, "the clock of the day by"),
    ("os-release", ["put /etc/os-release 'NAME=x\\n'"], {}, "has no ID"),
    ("machine-id", ["put /etc/machine-id '00000000000000000000000000000000\\n'"], {}, "/etc/machine-id is '0000"),
    ("machine-id", ["put /etc/machine-id ''"], {}, "missing or empty"),
    ("localhost-resolves", ["program getent 'echo 10.0.0.1 localhost'"], {}, "localhost is '10.0.0.1"),
    ("own-name-resolves", ["program getent 'exit 2'"], {}, "does not resolve"),
    ("resolver", ["put /etc/resolv.conf 'search example\\n'"], {"OUTBOUND": "True"}, "names no server"),
    ("name-services", ["program getent 'exit 2'"], {}, "getent does not find root"),
    (
        "locale",
        ["put /etc/default/locale 'LANG=xx_YY.UTF-8\\n'", "put /etc/locale.conf 'LANG=xx_YY.UTF-8\\n'"],
        {},
        "xx_YY",
    ),
    ("package-database", ["program dpkg 'echo half-installed: x'"], {}, "dpkg --audit: half-installed: x"),
    ("package-dependencies", ["program apt-get 'echo x needs y; exit 100'"], {}, "apt-get check: x needs y"),
    (
        "packages-intact",
        ["program dpkg-query 'echo ii'", "program dpkg 'echo \"??5??????   /bin/ls\"'"],
        {},
        "changed: ??5?????? /bin/ls",
    ),
    ("journal-intact", [SYSTEMD, "program journalctl 'echo FAIL: /x; exit 1'"], {}, "FAIL: /x"),
    ("journal-reads", [SYSTEMD, "program journalctl 'exit 0'"], {}, "has no kernel line"),
    ("tmp-sticky", ["mount -t tmpfs -o mode=777 none /var/tmp"], {}, "/var/tmp has mode and owner 777 0"),
    ("password-files", ["chmod 644 /etc/shadow"], {}, "/etc/shadow has mode 644"),
    ("path-folders", ["mount -t tmpfs -o mode=777 none /usr/local/bin"], {}, "not root's: /usr/local/bin"),
    ("etc-files", ["chmod 666 /etc/passwd"], {}, "world-writable: /etc/passwd"),
    (
        "setuid-places",
        ["mount -t tmpfs none /srv", "cp /bin/true /srv/x", "chmod 4755 /srv/x"],
        {},
        "setuid or setgid: /srv/x",
    ),
    ("only-root-is-root", [alters("/etc/passwd", "$ a toor:x:0:0::/root:/bin/sh")], {}, "user id 0: toor"),
    ("no-empty-passwords", [alters("/etc/shadow", "$ a guest::1::::::")], {}, "empty passwords: guest"),
    ("unique-ids", [alters("/etc/passwd", "$ a root:x:4242:4242::/x:/bin/sh")], {}, "names twice: root"),
    ("login-shells", [alters("/etc/passwd", "$ a who:x:4242:4242::/x:/bin/gone")], {}, "/bin/gone, is not there"),
    ("login-umask", ["put /etc/profile 'umask 0\\n'"], {}, "the umask of a login is 0000"),
    ("login-path", ["put /etc/profile 'PATH=/bin::/usr/bin\\n'"], {}, "empty or relative part: "),
    ("program-links", ["mount -t tmpfs none /usr/local/bin", "ln -s /gone /usr/local/bin/x"], {}, "/usr/local/bin/x"),
    ("core-pattern", ["program cat 'echo \"|/gone/dumper %p\"'"], {}, "core dumps go to /gone/dumper"),
    ("checksums", ["program sha256sum 'echo 00'"], {}, "SHA-256 of 'abc' is 00"),
    (
        "no-history",
        ["mount -t tmpfs none /root", "echo ls >/root/.bash_history"],
        {},
        "/root/.bash_history has a history",
    ),
    (
        "no-private-hosts",
        ["put /etc/environment 'http_proxy=http://10.1.1.1:3128\\n'"],
        {},
        "http_proxy=http://10.1.1.1",
    ),
    ("timers", [SYSTEMD, lists("x.timer loaded inactive\\n")], {}, "x.timer is enabled and"),
    ("libraries", ["program ldconfig 'echo none'"], {}, "does not know libc"),
    (
        "libraries",
        ["program ldd 'echo /bin/tar:; echo \"libx.so => not found\"'"],
        {},
        "/bin/tar: libx.so => not found",
    ),
    ("mount-options", ["mount -t tmpfs -o suid,dev none /dev/shm"], {}, "/dev/shm is mounted without"),
    (
        "control-groups",
        ["mount -t tmpfs none /sys/fs/cgroup", "echo cpu >/sys/fs/cgroup/cgroup.controllers"],
        {},
        "memory",
    ),
    (
        "unit-syntax",
        [SYSTEMD, "program systemd-analyze 'echo x.service: bad; exit 1'"],
        {},
        "systemd-analyze verify: x",
    ),
    ("sudoers", ["program visudo 'echo \"/etc/sudoers:3: syntax error\"; exit 1'"], {}, "syntax error"),
    ("hostname-set", ["put /proc/sys/kernel/hostname '(none)\\n'"], {}, "the hostname is '(none)'"),
    (
        "serial-getty",
        [
            SYSTEMD,
            "program systemctl 'case $1 in is-active) echo inactive; exit 3 ;; esac'",
            "program cat 'echo tty0 ttyAMA0'",
            "put /proc/cmdline 'root=LABEL=x\\n'",
        ],
        {},
        "the console is ttyAMA0, and serial-getty@ttyAMA0.service is inactive",
    ),
    ("time-zone", ["program date 'echo'"], {}, "date knows no time zone"),
]


@pytest.mark.parametrize(("check", "prelude", "facts", "message"), BROKEN, ids=[row[0] for row in BROKEN])
def test_a_check_fails_on_what_it_is_there_to_find(
    check: str, prelude: list[str], facts: dict[str, str], message: str
) -> None:
    result = run(check, *prelude, **facts)
    assert result.outcome is Outcome.FAILED, result
    assert message in result.message


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        ("integrity: Couldn't get UEFI MokListRT", Outcome.PASSED),
        ("RETBleed: WARNING: Spectre v2 mitigation leaves CPU vulnerable", Outcome.PASSED),
        ("EXT4-fs (vda1): integrity: Couldn't get UEFI", Outcome.FAILED),
        ("ata1.00: failed command: READ DMA", Outcome.FAILED),
    ],
)
def test_a_kernel_error_is_allowed_only_by_its_own_line_of_the_list(line: str, outcome: Outcome) -> None:
    assert run("kernel-errors", SYSTEMD, journal(line)).outcome is outcome


def test_work_that_a_timer_starts_does_not_count_as_boot_time() -> None:
    daily = services("Id=daily.service", FROM, UNTIL, "TriggeredBy=daily.timer", "", "Id=a.service", FROM)
    assert run("boot-time", SYSTEMD, daily).outcome is Outcome.PASSED


def test_every_allowed_kernel_error_has_its_reason() -> None:
    lines = (ROOT / "boot" / "kernel-errors.allowed").read_text().splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    assert rows
    assert [row for row in rows if len(row) != 2 or len(row[1]) < 20] == []


def test_most_checks_are_seen_to_fail() -> None:
    assert len({row[0] for row in BROKEN}) * 2 > len(CHECKS)


@pytest.mark.parametrize("check", ["cores", "memory", "network-cards", "firmware-mode", "architecture", "data-disks"])
def test_a_check_skips_where_the_profile_says_nothing(check: str) -> None:
    result = run(check)
    assert result.outcome is Outcome.SKIPPED
    assert "the profile does not say LISA_CI_" in result.message


@pytest.mark.parametrize(
    "check", ["checksums", "shell-works", "no-empty-passwords", "unique-ids", "clock-runs", "os-release"]
)
def test_a_check_passes_on_a_system_in_order(check: str) -> None:
    assert run(check).outcome is Outcome.PASSED


def test_a_check_leaves_nothing_behind() -> None:
    before = set(Path("/tmp").glob("lisa-ci-check.*"))
    run("randomness")
    assert set(Path("/tmp").glob("lisa-ci-check.*")) <= before
    assert shutil.which("unshare")
