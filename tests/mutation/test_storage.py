"""Wrong worlds, seeded in a real machine: the case that claims a thing fails where it is not so, the others do not.

Run by ``pytest tests/mutation/test_storage.py``; one boot, then some ten minutes where the machine is emulated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from lisa_ci.model import Outcome
from tests.doubles.storage_machine import StorageMachine, storage_machine

FS, SEALED = "/dev/mapper/lisa-ci-fs", "/dev/mapper/lisa-ci-sealed"
TRUE = "lisa-ci-0:virtio:512:1:0:0 lisa-ci-1:nvme:512:2:2:0 lisa-ci-2:scsi:1024:1:2:0 lisa-ci-3:sata:512:1:0:0"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """``fails``: case -> a part of what it says. ``holds``: cases that are about something else, and pass."""

    wrong: str
    fails: dict[str, str]
    holds: tuple[str, ...] = ()
    prelude: tuple[str, ...] = ()
    facts: dict[str, str] = field(default_factory=dict)


def profile_says(old: str, new: str) -> dict[str, str]:
    """The disks are what they are; it is the profile that says otherwise."""
    assert old in TRUE
    return {"LISA_CI_PROFILE_DISKS": TRUE.replace(old, new)}


def program(name: str, body: str) -> tuple[str, ...]:
    return (f"program {name} '{body}'",)


def liar(table: str) -> tuple[str, ...]:
    """The largest disk of ours is in truth a device that lies."""
    target = f"0 $((512 * 2048)) {table}"
    return (
        "modprobe dm-flakey",
        f'dmsetup create lisa-ci-liar --table "{target}" || exit 98',
        "trap 'dmsetup remove --retry lisa-ci-liar; rm -rf \"$world\"' EXIT",
        # The case picks it by the name that the device mapper gave it.
        'mv storage.sh honest.sh; cat >storage.sh <<"END"',
        ". ./honest.sh",
        "pick() { shape; serial=lisa-ci-2 device=/dev/mapper/lisa-ci-liar sectors=$((512 * 2048))",
        '  disk=$(readlink -f "$device"); disk=${disk#/dev/}; }',
        "END",
    )


SCSI = "/dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_lisa-ci-2"

WORLDS = (
    World(
        wrong="a disk is a MiB smaller than the profile says",
        facts=profile_says("scsi:1024", "scsi:1025"),
        fails={"sizes": "the profile says 1074790400"},
        holds=("serials", "buses"),
    ),
    World(
        wrong="a namespace is missing",
        facts=profile_says("nvme:512:2", "nvme:512:3"),
        fails={
            "serials": "2 block devices have the serial number lisa-ci-1, the profile says 3",
            "nvme-identify": "lists 2 active namespaces, the profile says 3",
            "nvme-namespaces": "the profile says 3",
        },
        holds=("sizes", "buses"),
    ),
    World(
        wrong="two disks have each other's serial numbers",
        facts=profile_says("lisa-ci-0:virtio:512:1:0:0", "lisa-ci-0:sata:512:1:0:0")
        | {
            "LISA_CI_PROFILE_DISKS": TRUE.replace("lisa-ci-0:virtio", "lisa-ci-0:sata").replace(
                "lisa-ci-3:sata", "lisa-ci-3:virtio"
            )
        },
        fails={"buses": "lisa-ci-0 (vdb) is on bus virtio, the profile says sata"},
        holds=("serials", "sizes"),
    ),
    World(
        wrong="a disk is missing",
        facts={"LISA_CI_PROFILE_DISKS": f"{TRUE} lisa-ci-4:virtio:512:1:0:0"},
        fails={"serials": "0 block devices have the serial number lisa-ci-4", "sizes": "lisa-ci-4 is not there"},
        holds=("sectors",),
    ),
    World(
        wrong="a disk has one queue only",
        facts=profile_says("lisa-ci-3:sata:512:1:0", "lisa-ci-3:sata:512:1:2"),
        fails={"queues": "has 1 queues, the profile says 2"},
        holds=("serials", "nvme-queue-count"),
    ),
    World(
        wrong="the interrupts of queues do not come",
        prelude=('cp /proc/interrupts "$world/still" && mount --bind "$world/still" /proc/interrupts',),
        fails={"queue-interrupts": "raised the interrupt of its queue"},
        holds=("queues",),
    ),
    World(
        wrong="a stable name leads to another disk",
        prelude=(
            "mount -t tmpfs none /dev/disk/by-id",
            "for n in 0 1 2 3; do ln -s ../../vdb /dev/disk/by-id/any-lisa-ci-$n; done",
        ),
        fails={"stable-names": "leads to"},
        holds=("serials",),
    ),
    World(
        wrong="the controller identifies itself as another",
        prelude=program("nvme", '$real "$@" | sed "s/^sn .*/sn : another/"'),
        fails={"nvme-identify": "identifies itself as 'another'"},
        holds=("nvme-namespaces",),
    ),
    World(
        wrong="the SMART log stands still",
        prelude=(
            *program(
                "nvme",
                '[ "$1" = smart-log ] || exec $real "$@"; [ -e /run/smart ] || $real "$@" >/run/smart; cat /run/smart',
            ),
            "rm -f /run/smart",
        ),
        fails={"nvme-smart": "raised host_read_commands by 0"},
        holds=("nvme-flush",),
    ),
    World(
        wrong="a disk ignores discard and zeroing",
        prelude=program("blkdiscard", "exit 0"),
        fails={"nvme-discard": "DLFEAT", "write-zeroes": "after MiB 4 to 8 were zeroed"},
        holds=("discard", "direct-io"),
    ),
    World(
        wrong="a discard takes its neighbours too",
        prelude=program(
            "blkdiscard",
            'for last; do :; done; dd if=/dev/zero of="$last" bs=1M count=12 conv=notrunc,fsync 2>/dev/null',
        ),
        fails={"discard": "beside what was discarded", "nvme-discard": "", "write-zeroes": "zeroed"},
    ),
    World(
        wrong="an unmap takes its neighbours too",
        prelude=program(
            "sg_unmap", 'for last; do :; done; dd if=/dev/zero of="$last" bs=1M count=12 conv=notrunc,fsync 2>/dev/null'
        ),
        fails={"scsi-unmap": "UNMAP changed blocks before its own"},
        holds=("scsi-inquiry",),
    ),
    World(
        wrong="a format leaves the data where it is",
        prelude=program(
            "nvme",
            '[ "$1" = format ] || exec $real "$@"; dd if="$2" of=/run/before bs=1M count=4 2>/dev/null; $real "$@"; '
            's=$?; sleep 1; dd if=/run/before of="$2" bs=1M conv=notrunc,fsync 2>/dev/null; exit $s',
        ),
        fails={"nvme-format": "data is still there after the format"},
    ),
    World(
        wrong="a reset costs what was written",
        prelude=program(
            "nvme",
            '[ "$1" = reset ] || exec $real "$@"; $real "$@"; s=$?; (sleep 15; '
            "for d in /dev/nvme*n*; do dd if=/dev/zero of=$d bs=1M count=1 conv=notrunc,fsync; done) >/dev/null 2>&1; "
            "exit $s",
        ),
        fails={"nvme-reset": "data written during resets came back wrong"},
    ),
    World(
        wrong="a device accepts any command",
        prelude=program("nvme", '$real "$@"; exit 0'),
        fails={"nvme-refusals": "a read past the end was not refused"},
        holds=("nvme-identify",),
    ),
    World(
        wrong="the kernel takes a volatile cache for a safe one",
        prelude=(
            "for f in /sys/block/nvme*/queue/write_cache; do echo write through >$f; done",
            "trap 'for f in /sys/block/nvme*/queue/write_cache; do echo write back >$f; done; rm -rf \"$world\"' EXIT",
        ),
        fails={"nvme-flush": "treats its cache as 'write through'"},
    ),
    World(
        wrong="flushes do not reach a disk",
        prelude=(
            "for d in vdb sda sdb; do [ -e /sys/block/$d ] || continue; cp /sys/block/$d/stat $world/$d",
            "mount --bind $world/$d /sys/block/$d/stat; done",
        ),
        fails={"flush-counted": "sent"},
    ),
    World(
        wrong="a read-only disk takes writes",
        prelude=program("blockdev", 'case $1 in --setro) exit 0 ;; --getro) echo 1 ;; *) exec $real "$@" ;; esac'),
        fails={"read-only": "a write to a read-only disk was not refused"},
        holds=("direct-io",),
    ),
    World(
        wrong="the kernel does not hear of a new partition table",
        # udev too tells the kernel, except of a disk that somebody holds a lock on.
        prelude=(f"exec 8<{SCSI} && flock 8", *program("sfdisk", 'exec $real --no-reread --no-tell-kernel "$@"')),
        fails={"partition-table": "partition 1 has a device: not within"},
    ),
    World(
        wrong="a file system is damaged while it is not mounted",
        prelude=program(
            "umount",
            f'$real "$@"; s=$?; dd if=/dev/urandom of={FS} bs=4096 seek=20 count=60 conv=notrunc,fsync 2>/dev/null; '
            "exit $s",
        ),
        fails={"ext4": "is not clean"},
        holds=("loop-direct",),
    ),
    World(
        wrong="a disk gives back other bytes than were written",
        # Spoilt on its way in: Linux 6.1's dm-flakey leaves what is read as it is.
        prelude=liar(f"flakey {SCSI} 0 0 180 5 corrupt_bio_byte 200 w 7 0"),
        fails={"fio-psync": "fio with psync", "direct-io": "differ"},
        holds=("serials",),
    ),
    World(
        wrong="a disk calls safe what it drops",
        prelude=(
            "rm -f /run/dropped",
            *program(
                "sync",
                "case $1 in */here) [ -e /run/dropped ] || { touch /run/dropped; set -- $(dmsetup table lisa-ci-fs); "
                'dmsetup load lisa-ci-fs --table "0 $2 flakey $4 $5 0 180 1 drop_writes" && dmsetup suspend --nolockfs '
                "lisa-ci-fs && dmsetup resume lisa-ci-fs; } ;; esac; exec $real",
            ),
        ),
        fails={"crash-ext4": "lost"},
        holds=("verity",),
    ),
    World(
        wrong="power is never cut",
        prelude=program("dmsetup", 'case "$*" in *drop_writes*) exit 0 ;; *) exec $real "$@" ;; esac'),
        fails={"crash-ext4": "nothing was cut off"},
    ),
    World(
        wrong="dm-verity looks away",
        prelude=program("veritysetup", '[ "$1" != open ] || set -- "$@" --ignore-corruption; exec $real "$@"'),
        fails={"verity": "a block with a flipped bit was not refused"},
        holds=("luks-header",),
    ),
    World(
        wrong="the sealed device is the bare disk",
        prelude=program(
            "veritysetup",
            f'[ "$1" = open ] || exec $real "$@"; dmsetup create lisa-ci-sealed --table "0 65536 linear {FS} 0"',
        ),
        fails={"verity": "the sealed device is no dm-verity"},
    ),
    World(
        wrong="dm-integrity looks away",
        # From the second time on that it is opened: in this mode nothing can be written.
        prelude=(
            "rm -f /run/opened",
            *program(
                "integritysetup",
                '[ "$1" != open ] || { [ ! -e /run/opened ] || set -- "$@" --integrity-recovery-mode; '
                'touch /run/opened; }; exec $real "$@"',
            ),
        ),
        fails={"integrity": "a sector with a flipped bit was not refused"},
    ),
    World(
        wrong="any key opens a LUKS device",
        prelude=program(
            "cryptsetup",
            'for w; do shift; case $w in */wrong) w=${w%wrong}right ;; esac; set -- "$@" "$w"; done; exec $real "$@"',
        ),
        fails={"luks": "a wrong key was not refused"},
    ),
    World(
        wrong="dm-crypt encrypts nothing",
        prelude=program(
            "cryptsetup",
            f'[ "$1" = open ] || exec $real "$@"; dmsetup create lisa-ci-clear --table "0 65536 linear {FS} 32768"',
        ),
        fails={"luks": "the opened device is no dm-crypt"},
    ),
    World(
        wrong="a mirror's leg holds other data than it says",
        # On the disk below: udev would take a leg that was written to into an array of its own.
        prelude=program(
            "mdadm",
            f'$real "$@"; s=$?; [ "$1" != --stop ] || dd if=/dev/urandom of={SCSI} bs=1M seek=20 count=1 '
            "conv=notrunc,fsync 2>/dev/null; exit $s",
        ),
        fails={"raid1": "the rebuilt leg alone"},
    ),
    World(
        wrong="a merge of a snapshot keeps the change",
        prelude=program("lvm", '[ "$1" != lvconvert ] || exit 0; exec $real "$@"'),
        fails={"lvm-snapshot": "the snapshot is merged: not within"},
        holds=("lvm",),
    ),
    World(
        wrong="a quota is counted and not enforced",
        prelude=program("setquota", "exit 0"),
        fails={"quota-ext4": "5 MiB were written with a limit of 4"},
    ),
    World(
        wrong="fstrim gives nothing back",
        prelude=program("fstrim", 'echo "/x: 0 B (0 bytes) trimmed"'),
        fails={"trim": "fstrim gave back '0' bytes"},
    ),
    World(
        wrong="a file system does not grow",
        prelude=program("resize2fs", "exit 0"),
        fails={"grow-ext4": "wanted are 160 MiB more"},
    ),
    World(
        wrong="swap is not used",
        prelude=program("swapon", "exit 0"),
        fails={"swap": ""},
    ),
    World(
        wrong="a loop device caches twice",
        prelude=program(
            "losetup", 'for w; do shift; [ "$w" = --direct-io=on ] || set -- "$@" "$w"; done; exec $real "$@"'
        ),
        fails={"loop-direct": "does not do direct I/O"},
    ),
    World(
        wrong="bad sectors give data",
        prelude=program(
            "dmsetup",
            'for w; do :; done; case "$w" in */table) sed -i "s/8 error/8 zero/" "$w" ;; esac; exec $real "$@"',
        ),
        fails={"io-errors": "a read of bad sectors was not refused"},
    ),
    World(
        wrong="btrfs keeps no checksums",
        prelude=program("mount", 'exec $real -o nodatasum "$@"'),
        fails={"bit-rot": ""},
    ),
)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StorageMachine]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        with storage_machine(tmp_path_factory.mktemp("machine")) as found:
            yield found


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.wrong.replace(" ", "-"))
def test_the_cases_that_claim_it_fail_and_the_others_do_not(machine: StorageMachine, world: World) -> None:
    for case, says in world.fails.items():
        result = machine.case("storage", case, *world.prelude, facts=world.facts)
        machine.clean()
        assert result.outcome is Outcome.FAILED, f"{case}: {result.message}"
        assert says in result.message, f"{case}: {result.message}"
    for case in world.holds:
        result = machine.case("storage", case, *world.prelude, facts=world.facts)
        machine.clean()
        assert result.outcome is Outcome.PASSED, f"{case}: {result.message}"


def test_in_the_world_as_it_is_every_one_of_these_cases_passes(machine: StorageMachine) -> None:
    cases = dict.fromkeys(case for world in WORLDS for case in (*world.fails, *world.holds))
    results = {case: machine.case("storage", case) for case in cases}
    assert {case: result.message for case, result in results.items() if result.outcome is not Outcome.PASSED} == {}
