"""Wrong worlds, each seeded where a case of the suite ``security`` has to find it.

Two kinds: on this host in a mount namespace (root only, under two minutes), and in a machine without Secure Boot whose
profile says that it has it, with a TPM whose programs lie (one boot). ``pytest tests/mutation/test_security.py``; with
``-k host`` or ``-k machine`` one of them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from lisa_ci.model import Firmware, Outcome, Profile
from tests.doubles.demo_image import field_image_path
from tests.doubles.security_machine import SecurityMachine, security_machine
from tests.doubles.security_world import run


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """``good`` makes a world in which the check passes, ``wrong`` then the one in which it says ``says``."""

    check: str
    says: str
    good: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)
    wrong_variables: dict[str, str] = field(default_factory=dict)


def setting(name: str, value: object) -> str:
    return f"setting {name} {value}"


EFI = (
    "tree /sys/firmware",
    "mkdir -p /sys/firmware/efi/efivars; cd /sys/firmware/efi/efivars",
    "printf '\\6\\0\\0\\0\\1' >SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c",
    "printf '\\6\\0\\0\\0\\0' >SetupMode-8be4df61-93ca-11d2-aa0d-00e098032b8c; cd /mnt/suite",
    "program dmesg 'echo \"secureboot: Secure boot enabled\"'; program mokutil 'echo SecureBoot enabled'",
    "tree /run",
)
SECURE = {"LISA_CI_FIRMWARE": "uefi", "LISA_CI_SECURE_BOOT": "True"}
SECURITYFS = ("tree /sys/kernel", "mkdir -p /sys/kernel/security")
LOCKED = (*SECURITYFS, "echo 'none [integrity] confidentiality' >/sys/kernel/security/lockdown")
# A file that cannot be written is what a lock is; the immutable bit holds root too.
POWER = (*LOCKED, "tree /sys/power", "echo 'freeze mem' >/sys/power/state", "echo '[disabled]' >/sys/power/disk")
LSM = (
    *SECURITYFS,
    "echo lockdown,capability,selinux >/sys/kernel/security/lsm",
    "tree /sys/fs",
    "mkdir /sys/fs/selinux",
)
SELINUX = (*LSM, "echo 1 >/sys/fs/selinux/enforce")
CPU = (
    "tree /sys/devices/system/cpu",
    "mkdir /sys/devices/system/cpu/vulnerabilities",
    "put /proc/cpuinfo 'model name: x'",
)
CPU = (*CPU, "echo 'Mitigation: PTI' >/sys/devices/system/cpu/vulnerabilities/meltdown", "put /proc/cmdline quiet")
SPECTRE = "echo 'Vulnerable' >/sys/devices/system/cpu/vulnerabilities/spectre_v2"
TPM = ("tree /sys/class", "mkdir -p /sys/class/tpm/tpm0/pcr-sha256; cd /sys/class/tpm/tpm0/pcr-sha256")
TPM = (*TPM, "for n in $(seq 0 23); do printf '%064x\\n' $((n + 1)) >$n; done; cd /mnt/suite")
KERNEL_SETTINGS = tuple(
    setting(name, value)
    for name, value in {"kernel.randomize_va_space": 2, "kernel.kptr_restrict": 1, "kernel.dmesg_restrict": 1}.items()
)
FILE_SETTINGS = tuple(
    setting(f"fs.{name}", value)
    for name, value in {
        "protected_symlinks": 1,
        "protected_hardlinks": 1,
        "protected_fifos": 1,
        "protected_regular": 2,
        "suid_dumpable": 0,
    }.items()
)
OTHERS = "kernel.yama.ptrace_scope kernel.perf_event_paranoid kernel.unprivileged_bpf_disabled kernel.sysrq"
ANY = {"SECURITY_SYSCTLS": " ".join(f"{name}=any" for name in f"{OTHERS} vm.unprivileged_userfaultfd".split())}
OPTIONS = (
    "sed -i 's|/proc/config.gz|/mnt/put/config|' security.sh",
    "sed -n -e '/^#/d' -e 's/^\\([A-Z_0-9]*\\)[|A-Z_0-9]* y .*/CONFIG_\\1=y/p' kernel-options >/mnt/put/config",
)
FIPS = (
    "sed -i -e 's|/proc/sys/crypto/fips_enabled|/mnt/put/fips|' -e 's|/proc/crypto|/mnt/put/crypto|' fips",
    "echo 1 >/mnt/put/fips; printf 'name : aes\\nselftest : passed\\n' >/mnt/put/crypto",
    "program openssl 'case $* in *md5*) exit 1 ;; esac'",
)
SSHD = {
    "permitrootlogin": "prohibit-password",
    "permitemptypasswords": "no",
    "strictmodes": "yes",
    "x11forwarding": "no",
    "maxauthtries": "6",
    "logingracetime": "120",
    "ciphers": "chacha20-poly1305@openssh.com,aes256-gcm@openssh.com",
}


def sshd(**changes: str) -> str:
    """An SSH server that shows these settings."""
    lines = "; ".join(f"echo {name} {value}" for name, value in {**SSHD, **changes}.items())
    bound = "chmod +x /mnt/put/sshd; mount --bind /mnt/put/sshd /usr/sbin/sshd"
    return f"printf '#!/bin/sh\\n{lines}\\n' >/mnt/put/sshd; {bound}"


PORT_HEAD = "  sl  local_address rem_address   st tx_queue rx_queue\\n"
SSH_PORT = "   0: 00000000:0016 00000000:0000 0A 0 0\\n   1: 0100007F:1F90 00000000:0000 0A 0 0\\n"


def ports(kind: str, *lines: str) -> str:
    text = PORT_HEAD + "".join(lines)
    return f"net_{kind}=1; mkdir -p /mnt/net; printf '{text}' >/mnt/net/{kind}"


PORTS = (
    "mkdir -p /mnt/net; for kind in tcp tcp6 udp udp6; do echo head >/mnt/net/$kind; done",
    "sed 's|/proc/net/|/mnt/net/|g' listening-ports >/mnt/put/checked; cat /mnt/put/checked >listening-ports",
    ports("tcp", SSH_PORT),
)

HOST_WORLDS: tuple[World, ...] = (
    World(
        check="secure-boot-state",
        good=EFI,
        variables=SECURE,
        says="Secure Boot is off, the profile says on",
        wrong=("printf '\\6\\0\\0\\0\\0' >/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c",),
    ),
    World(
        check="secure-boot-state",
        good=EFI,
        variables=SECURE,
        says="in setup mode",
        wrong=("printf '\\6\\0\\0\\0\\1' >/sys/firmware/efi/efivars/SetupMode-8be4df61-93ca-11d2-aa0d-00e098032b8c",),
    ),
    World(
        check="secure-boot-state",
        good=EFI,
        variables=SECURE,
        says="the kernel says nothing",
        wrong=("program dmesg 'echo nothing'",),
    ),
    World(
        check="secure-boot-state",
        good=EFI,
        variables=SECURE,
        says="shim does not check",
        wrong=("program mokutil 'echo SecureBoot enabled; echo SecureBoot validation is disabled in shim'",),
    ),
    World(
        check="secure-boot-state",
        good=EFI,
        variables=SECURE,
        says="Secure Boot is on, the profile says off",
        wrong_variables={"LISA_CI_SECURE_BOOT": "False"},
    ),
    World(
        check="hibernation-refused", good=POWER, says="offers disk", wrong=("echo 'freeze mem disk' >/sys/power/state",)
    ),
    World(
        check="hibernation-refused",
        good=POWER,
        says="not locked down",
        wrong=("echo '[none] integrity confidentiality' >/sys/kernel/security/lockdown",),
    ),
    World(
        check="tpm-banks",
        good=TPM,
        says="PCR 4 is zero",
        wrong=("printf '%064x\\n' 0 >/sys/class/tpm/tpm0/pcr-sha256/4",),
    ),
    World(check="tpm-banks", good=TPM, says="PCR 23 cannot be read", wrong=("rm /sys/class/tpm/tpm0/pcr-sha256/23",)),
    World(check="tpm-banks", good=TPM, says="no bank of SHA-256", wrong=("rm -r /sys/class/tpm/tpm0/pcr-sha256",)),
    World(
        check="tpm-banks",
        good=TPM,
        says="PCR 0 and 4 are the same",
        wrong=("cp /sys/class/tpm/tpm0/pcr-sha256/0 /sys/class/tpm/tpm0/pcr-sha256/4",),
    ),
    World(
        check="kernel-options-set",
        good=OPTIONS,
        says="not as they should be: STRICT_KERNEL_RWX",
        wrong=("sed -i 's/^CONFIG_STRICT_KERNEL_RWX=y/# CONFIG_STRICT_KERNEL_RWX is not set/' /mnt/put/config",),
    ),
    World(
        check="kernel-options-set",
        good=OPTIONS,
        says="not as they should be: DEVKMEM",
        wrong=("echo CONFIG_DEVKMEM=y >>/mnt/put/config",),
    ),
    World(
        check="kernel-options-set",
        good=OPTIONS,
        says="CFI_CLANG",
        wrong_variables={"SECURITY_KERNEL_OPTIONS": "CFI_CLANG=y"},
    ),
    World(
        check="kernel-options-set",
        good=OPTIONS,
        says="is not a whole one",
        wrong=("echo CONFIG_BUG=y >/mnt/put/config",),
    ),
    World(
        check="sysctls kernel",
        good=KERNEL_SETTINGS,
        variables=ANY,
        says="kernel.randomize_va_space=0",
        wrong=(setting("kernel.randomize_va_space", 0),),
    ),
    World(
        check="sysctls kernel",
        good=KERNEL_SETTINGS,
        variables=ANY,
        says="kernel.kptr_restrict=0",
        wrong=(setting("kernel.kptr_restrict", 0),),
    ),
    World(
        check="sysctls files",
        good=FILE_SETTINGS,
        says="fs.protected_symlinks=0",
        wrong=(setting("fs.protected_symlinks", 0),),
    ),
    World(
        check="sysctls files", good=FILE_SETTINGS, says="fs.suid_dumpable=1", wrong=(setting("fs.suid_dumpable", 1),)
    ),
    World(
        check="sysctls network",
        variables={"SECURITY_SYSCTLS": "net.ipv4.ip_forward=any"},
        says="net.ipv4.tcp_syncookies=0",
        wrong=(setting("net.ipv4.tcp_syncookies", 0),),
    ),
    World(check="cpu-vulnerabilities", good=CPU, says="vulnerable to: spectre_v2", wrong=(SPECTRE,)),
    World(
        check="cpu-vulnerabilities",
        good=CPU,
        says="switched off on the kernel's command line: mitigations=off",
        wrong=("umount /proc/cmdline; put /proc/cmdline 'quiet mitigations=off'",),
    ),
    World(
        check="mandatory-access",
        good=SELINUX,
        says="none of these is active",
        wrong=("echo lockdown,capability >/sys/kernel/security/lsm",),
    ),
    World(
        check="mandatory-access",
        good=SELINUX,
        says="none of these is active: apparmor",
        wrong_variables={"SECURITY_LSM": "apparmor"},
    ),
    World(check="mandatory-access", good=SELINUX, says="no policy loaded", wrong=("rm /sys/fs/selinux/enforce",)),
    World(
        check="listening-ports",
        good=PORTS,
        variables={"SECURITY_PORTS": "tcp/22 udp/68"},
        says="expected: tcp/8080",
        wrong=(ports("tcp", SSH_PORT, "   2: 00000000:1F90 00000000:0000 0A 0 0\\n"),),
    ),
    World(
        check="listening-ports",
        good=PORTS,
        variables={"SECURITY_PORTS": "tcp/22"},
        says="expected: udp/5355",
        wrong=(ports("udp6", f"   2: {'0' * 32}:14EB {'0' * 32}:0000 07 0 0\\n"),),
    ),
    World(
        check="listening-ports",
        good=PORTS,
        variables={"SECURITY_PORTS": "tcp/22"},
        says="expected: tcp/22",
        wrong_variables={"SECURITY_PORTS": "tcp/2222"},
    ),
    World(
        check="setuid-programs",
        says="/mnt/look/su(place)",
        wrong=("cp /bin/true /mnt/look/su; chmod 4755 /mnt/look/su",),
    ),
    World(check="setuid-programs", says="(mode 4777)", wrong=("cp /bin/true /mnt/look/su; chmod 4777 /mnt/look/su",)),
    World(
        check="setuid-programs",
        says="(owner 65534)",
        wrong=("cp /bin/true /mnt/look/x; chown 65534 /mnt/look/x; chmod 4755 /mnt/look/x",),
    ),
    World(
        check="setuid-programs",
        variables={"SECURITY_SETUID": "/mnt/look/ours"},
        says="/mnt/look/theirs(place)",
        good=("cp /bin/true /mnt/look/ours; chmod 2755 /mnt/look/ours",),
        wrong=("cp /bin/true /mnt/look/theirs; chmod 2755 /mnt/look/theirs",),
    ),
    World(
        check="world-writable",
        says="world-writable: /mnt/look/open",
        good=("mkdir -m 1777 /mnt/look/tmp",),
        wrong=("echo x >/mnt/look/open; chmod 666 /mnt/look/open",),
    ),
    World(check="world-writable", says="world-writable: /mnt/look/folder", wrong=("mkdir -m 777 /mnt/look/folder",)),
    World(
        check="unowned-files",
        says="1 files of nobody: /mnt/look/x",
        wrong=("echo x >/mnt/look/x; chown 54321:0 /mnt/look/x",),
    ),
    World(check="passwords", says="guest(empty)", wrong=("echo guest::1:::::: >>/etc/shadow",)),
    World(check="passwords", says="old(DES or MD5)", wrong=("echo 'old:$1$abc$def:1::::::' >>/etc/shadow",)),
    World(check="passwords", says="ancient(DES or MD5)", wrong=("echo 'ancient:abJnggxhB/yWI:1::::::' >>/etc/shadow",)),
    World(check="passwords", says="admin(a password)", wrong=("echo 'admin:$y$j9T$x$y:1::::::' >>/etc/shadow",)),
    World(check="ssh-server", good=(sshd(),), says="permitrootlogin", wrong=(sshd(permitrootlogin="yes"),)),
    World(check="ssh-server", good=(sshd(),), says="maxauthtries", wrong=(sshd(maxauthtries="99"),)),
    World(check="ssh-server", good=(sshd(),), says="ciphers", wrong=(sshd(ciphers="aes256-ctr,3des-cbc"),)),
    World(
        check="ssh-server",
        good=(sshd(passwordauthentication="yes"),),
        says="passwordauthentication",
        wrong_variables={"SECURITY_SSH": "passwordauthentication=no"},
    ),
    World(check="aslr", says="in at most 2 places", wrong=("program cat 'exec setarch -R /bin/cat \"$@\"'",)),
    World(check="no-execute", says="data was executed", wrong=("sed -i 's/^program 6 /program 7 /' no-execute",)),
    World(
        check="no-execute",
        says="nothing is known of the other",
        wrong=("sed -i 's/^program 7 /program 6 /' no-execute",),
    ),
    World(
        check="core-dumps",
        good=(setting("kernel.core_pattern", "core"), setting("fs.suid_dumpable", 0)),
        says="fs.suid_dumpable=1",
        wrong=(setting("fs.suid_dumpable", 1),),
    ),
    World(
        check="core-dumps",
        good=(setting("kernel.core_pattern", "core"), setting("fs.suid_dumpable", 0)),
        says="the working folder 'core'",
        wrong=(setting("fs.suid_dumpable", 2),),
    ),
    World(
        check="core-dumps",
        good=(setting("kernel.core_pattern", "core"), setting("fs.suid_dumpable", 0)),
        says="everybody can change /mnt/look/dumper",
        wrong=(
            "cp /bin/true /mnt/look/dumper; chmod 777 /mnt/look/dumper",
            setting("kernel.core_pattern", "'|/mnt/look/dumper %p'"),
        ),
    ),
    World(
        check="user-namespaces",
        says="the settings say that user namespaces are allowed, they are refused",
        good=("program unshare 'exit 0'", setting("user.max_user_namespaces", 99)),
        wrong=("program unshare 'exit 1'",),
    ),
    World(
        check="user-namespaces",
        says="wants them refused",
        good=("program unshare 'exit 0'", setting("user.max_user_namespaces", 99)),
        wrong_variables={"SECURITY_USER_NAMESPACES": "refused"},
    ),
    World(
        check="kernel-log-closed",
        says="reads the kernel's log",
        good=("program dmesg '[ $(id -u) = 0 ] && echo line'",),
        wrong=("program dmesg 'echo line'",),
    ),
    World(
        check="kernel-write-execute",
        says="FAILED",
        good=("tree /run; program dmesg 'echo x86/mm: Checked W+X mappings: passed'",),
        wrong=("program dmesg 'echo x86/mm: Checked W+X mappings: FAILED, 3 W+X pages found.'",),
    ),
    World(
        check="file-capabilities",
        says="/usr/bin/ping(cap_sys_admin)",
        good=("program getcap 'echo /usr/bin/ping cap_net_raw=ep'", "cp /bin/true /mnt/look/"),
        wrong=("program getcap 'echo /usr/bin/ping cap_net_raw,cap_sys_admin=ep'",),
    ),
    World(
        check="file-capabilities",
        says="/mnt/look/ping(cap_net_raw)",
        good=("program getcap 'echo /usr/bin/ping cap_net_raw=ep'", "cp /bin/true /mnt/look/"),
        wrong=("program getcap 'echo /mnt/look/ping = cap_net_raw+ep'",),
    ),
    World(
        check="file-capabilities",
        says="getcap: broken",
        good=("program getcap 'echo /usr/bin/ping cap_net_raw=ep'", "cp /bin/true /mnt/look/"),
        wrong=("program getcap 'echo broken >&2; exit 1'",),
    ),
    World(
        check="fips",
        says="FIPS mode is off",
        good=(*FIPS, "put /proc/cmdline fips=1"),
        wrong=("echo 0 >/mnt/put/fips",),
    ),
    World(
        check="fips",
        says="not passed: aes",
        good=FIPS,
        wrong=("printf 'name : aes\\nselftest : unknown\\n' >/mnt/put/crypto",),
    ),
    World(check="fips", says="OpenSSL computes MD5", good=FIPS, wrong=("program openssl 'exit 0'",)),
)

BARE = 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"'
FILTER = "case $* in *SystemCallFilter*) echo Operation not permitted >&2; exit 1 ;; esac"

HOST_WORLDS = (
    *HOST_WORLDS,
    World(
        check="seccomp",
        says="mkdir worked under a filter",
        good=("tree /run; mkdir -p /run/systemd/system", f"program systemd-run '{FILTER}; {BARE}'"),
        wrong=(f"program systemd-run '{BARE}'",),
    ),
    World(
        check="seccomp",
        says="was not refused by the filter: broken",
        good=("tree /run; mkdir -p /run/systemd/system", f"program systemd-run '{FILTER}; {BARE}'"),
        wrong=(f"program systemd-run '{FILTER.replace('Operation not permitted', 'broken')}; {BARE}'",),
    ),
)

NEIGHBOURS = ("passwords", "unowned-files", "world-writable", "setuid-programs", "no-execute", "core-dumps")


@functools.cache
def before(check: str) -> Outcome:
    return run(check).outcome


@pytest.mark.parametrize("world", HOST_WORLDS, ids=lambda world: f"{world.check}: {world.says}")
def test_host_a_wrong_world_is_found_by_its_case_and_by_no_other(world: World) -> None:
    good = run(world.check, *world.good, **world.variables)
    assert good.outcome is Outcome.PASSED, good
    wrong = run(world.check, *world.good, *world.wrong, **(world.variables | world.wrong_variables))
    assert wrong.outcome is Outcome.FAILED, wrong
    assert world.says in wrong.message
    for check in NEIGHBOURS:
        if check != world.check and "suid_dumpable" not in world.says and "/mnt/look" not in " ".join(world.wrong):
            assert run(check, *world.good, *world.wrong).outcome is before(check), check


# ---- in a machine --------------------------------------------------------------------------------------------------

UNSECURED = Profile(name="unsecured", firmware=Firmware.UEFI, memory_mib=1024, tpm=True)
CLAIMS = {"LISA_CI_SECURE_BOOT": "True"}

MACHINE_WORLDS = (
    ("secure-boot-state", (), "Secure Boot is off, the profile says on"),
    ("unsigned-module", (), "without its signature was loaded"),
    ("lockdown-state", (), "locked down to 'none'"),
    ("kexec-refused", (), "not locked down: 'none'"),
    ("msr-writes", (), "not locked down: 'none'"),
    ("hibernation-refused", (), "not locked down: 'none'"),
    ("altered-module", ("program insmod 'echo busy >&2; exit 1'",), "as it was delivered is refused"),
    (
        "altered-module",
        ("program insmod 'case $1 in */altered*) echo Invalid format >&2; exit 1 ;; esac; $real \"$@\"'",),
        "not refused for its signature",
    ),
    ("tpm-self-test", ("program tpm2_gettestresult 'echo \"status:   failed\"'",), "failed"),
    ("tpm-self-test", ("program tpm2_getcap 'echo inLockout: 1'",), "locked out"),
    ("tpm-random", ("program tpm2_getrandom 'head -c 32 /dev/zero >$2'",), "not random"),
    ("tpm-random", ("program tpm2_getrandom 'seq 100 | head -c 32 >$2'",), "same bytes twice|not random"),
    ("tpm-random", ("program tpm2_getrandom 'head -c 16 /dev/urandom >$2'",), "gave 16 bytes"),
    ("tpm-seal", ("program tpm2_pcrextend 'exit 0'",), "although PCR 23 had changed"),
    ("tpm-seal", ("program tpm2_unseal 'for f; do :; done; cat secret >$f'",), "without its policy"),
    ("tpm-seal", ("program tpm2_unseal 'echo other >found'",), "not what was sealed"),
    ("tpm-quote", ("program tpm2_checkquote 'exit 0'",), "good for another number"),
    ("tpm-quote", ("program tpm2_checkquote 'case $* in *8|*other*) exit 1 ;; esac; exit 1'",), "tpm2_checkquote"),
    ("apparmor-denies", ("program apparmor_parser 'exit 0'",), "what the profile does not allow was read"),
    (
        "seccomp",
        ('program systemd-run \'while [ "$1" != -- ]; do shift; done; shift; exec "$@"\'',),
        "mkdir worked under a filter",
    ),
    (
        "listening-ports",
        (
            "perl -MIO::Socket::INET -e 'IO::Socket::INET->new(LocalPort => 4242, Listen => 1) and sleep 60' &",
            "trap 'kill $!; rm -rf \"$world\"' EXIT",
            "sleep 5",
        ),
        "tcp/4242",
    ),
    (
        "file-capabilities",
        (
            "cp /bin/true /usr/local/bin/x; setcap cap_sys_admin=ep /usr/local/bin/x",
            "trap 'rm -f /usr/local/bin/x; rm -rf \"$world\"' EXIT",
        ),
        "/usr/local/bin/x(cap_sys_admin)",
    ),
    (
        "setuid-programs",
        (
            "cp /bin/true /usr/local/bin/x; chmod 4755 /usr/local/bin/x",
            "trap 'rm -f /usr/local/bin/x; rm -rf \"$world\"' EXIT",
        ),
        "/usr/local/bin/x",
    ),
    ("world-writable", ("echo x >/srv/x; chmod 666 /srv/x", "trap 'rm -f /srv/x; rm -rf \"$world\"' EXIT"), "/srv/x"),
    ("unowned-files", ("echo x >/srv/x; chown 54321 /srv/x", "trap 'rm -f /srv/x; rm -rf \"$world\"' EXIT"), "/srv/x"),
    ("kernel-pointers", ("program setpriv 'while [ $1 != -- ]; do shift; done; shift; exec \"$@\"'",), "sees"),
    (
        "dev-mem",
        ("program dd 'case $* in *if=*mem*) echo memory >${2#of=} ;; *) exec $real \"$@\" ;; esac'",),
        "can be read",
    ),
)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecurityMachine]:
    folder = tmp_path_factory.mktemp("unsecured")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        with security_machine(folder, UNSECURED, field_image_path()) as found:
            yield found


@pytest.mark.parametrize(
    ("check", "wrong", "says"), MACHINE_WORLDS, ids=[f"{row[0]}: {row[2] or 'fails'}" for row in MACHINE_WORLDS]
)
def test_machine_a_wrong_world_is_found(
    machine: SecurityMachine, check: str, wrong: tuple[str, ...], says: str
) -> None:
    result = machine.case(check, *wrong, facts=CLAIMS)
    assert result.outcome is Outcome.FAILED, result
    assert any(part in result.message for part in says.split("|")), result


@pytest.mark.parametrize(
    "check", sorted({row[0] for row in MACHINE_WORLDS} - {row[0] for row in MACHINE_WORLDS if not row[1]})
)
def test_machine_the_same_case_passes_where_nothing_is_wrong(machine: SecurityMachine, check: str) -> None:
    # The field image has tgt and systemd-resolved, whose ports a distribution would have to name.
    facts = {"SECURITY_PORTS": "tcp/22 udp/68 udp/546 tcp/3260 tcp/5355 udp/5355"}
    result = machine.case(check, facts=facts)
    assert result.outcome is Outcome.PASSED, result


def test_machine_a_measurement_behind_the_log_is_found(machine: SecurityMachine) -> None:
    """The last of the table: what is extended stays so until the next boot."""
    assert machine.not_passed("measured-boot") == {}
    machine.sh(f"tpm2_pcrextend 4:sha1={'ab' * 20} -T device:/dev/tpmrm0")
    assert machine.not_passed("measured-boot") == {"sha1": Outcome.FAILED}
    machine.sh(f"tpm2_pcrextend 10:sha256={'ab' * 32} -T device:/dev/tpmrm0")
    assert machine.not_passed("measured-boot") == {"sha1": Outcome.FAILED, "ima-list": Outcome.FAILED}
