"""Worlds with one thing wrong, for the suites topology, time and gpu: the cases that claim it fail, the others do not.

The worlds are files in a mount namespace, so all of them take seconds; what needs a living machine (processors that go
offline, limits, huge pages, timers, a vmcore) is judged on one in tests/integration, and by worlds in memory in
tests/unit/scenarios.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lisa_ci.model import Outcome
from tests.doubles.fake_machine import FakeMachine, pci, two_sockets

CPU, NODE, MEMORY = (f"/sys/devices/system/{name}" for name in ("cpu", "node", "memory"))
INFO = "/proc/meminfo"

TOPOLOGY = (
    *("processors-up", "processors-alike", "sockets-and-cores", "threads-as-set", "caches", "numa-nodes"),
    *("node-memory", "node-distances", "memory-blocks", "gigantic-pages", "transparent-huge-pages", "balloon-driver"),
)
ALIKE = two_sockets().files["/proc/cpuinfo"]


def aarch64(page_bytes: int = 4096) -> FakeMachine:
    """The same machine with processors of arm's, whose kernel was built with pages of that size."""
    processors = "".join(
        f"processor\t: {cpu}\nBogoMIPS\t: 125.00\nFeatures\t: fp asimd evtstrm\nCPU implementer\t: 0x41\n"
        "CPU architecture: 8\nCPU variant\t: 0x4\nCPU part\t: 0xd0c\nCPU revision\t: 1\n\n"
        for cpu in range(4)
    )
    huge_bytes = page_bytes * page_bytes // 8  # a table of pages has a page's worth of entries, 8 bytes each
    known = {"/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages": "0\n"} if page_bytes == 4096 else {}
    changed = {"/proc/cpuinfo": processors, "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size": f"{huge_bytes}\n"}
    sizes = two_sockets().programs["getconf"].replace("case $1 in", f"case $1 in PAGESIZE) echo {page_bytes} ;;")
    return two_sockets().having({**changed, **known}).answering(uname="echo aarch64", getconf=sizes)


ARM_ALIKE = aarch64().files["/proc/cpuinfo"]
NO_SIZES: dict[str, str | None] = {
    f"{CPU}/cpu{cpu}/cache/index{index}/size": None for cpu in range(4) for index in range(3)
}
THP = "/sys/kernel/mm/transparent_hugepage"

TOPOLOGY_WORLDS: dict[str, tuple[FakeMachine, set[str]]] = {
    "a processor that did not start": (
        two_sockets().having({f"{CPU}/online": "0-2\n", "/proc/cpuinfo": ALIKE}),
        {"processors-up", "sockets-and-cores", "numa-nodes"},
    ),
    "a processor that /proc/stat forgets": (
        two_sockets().having({"/proc/stat": "cpu  1 2 3 4\ncpu0 1 2 3\ncpu1 1 2 3\ncpu2 1 2 3\n"}),
        {"processors-up"},
    ),
    "a processor with another feature": (
        two_sockets().having({"/proc/cpuinfo": ALIKE.replace("fpu sse2 avx2", "fpu sse2", 1)}),
        {"processors-alike"},
    ),
    "a processor of another stepping": (
        two_sockets().having({"/proc/cpuinfo": ALIKE.replace("stepping\t: 4", "stepping\t: 5", 1)}),
        {"processors-alike"},
    ),
    "a sibling that does not know it": (
        two_sockets().having({f"{CPU}/cpu0/topology/thread_siblings_list": "0-1\n"}),
        {"sockets-and-cores", "threads-as-set"},
    ),
    "a processor that is not in its own socket": (
        two_sockets().having({f"{CPU}/cpu3/topology/core_siblings_list": "0-1\n"}),
        {"sockets-and-cores"},
    ),
    "sockets of different sizes": (
        two_sockets().having({f"{CPU}/cpu1/topology/physical_package_id": "1\n"}),
        {"sockets-and-cores"},
    ),
    "threads that are said to be active": (two_sockets().having({f"{CPU}/smt/active": "1\n"}), {"threads-as-set"}),
    "threads that are forced off": (two_sockets().having({f"{CPU}/smt/control": "forceoff\n"}), {"threads-as-set"}),
    "a cache without a size": (two_sockets().having({f"{CPU}/cpu2/cache/index1/size": None}), {"caches"}),
    "a cache of nothing": (two_sockets().having({f"{CPU}/cpu2/cache/index1/size": "0K"}), {"caches"}),
    "a cache that one side shares only": (
        two_sockets().having({f"{CPU}/cpu0/cache/index2/shared_cpu_list": "0-3\n"}),
        {"caches"},
    ),
    "a large cache before a small one": (two_sockets().having({f"{CPU}/cpu1/cache/index1/size": "16K"}), {"caches"}),
    "a cache that the processor calls otherwise": (
        two_sockets().answering(getconf="case $1 in LEVEL2*) echo 1048576 ;; *NPROC*) echo 4 ;; *) echo 0 ;; esac"),
        {"caches"},
    ),
    "a node too few": (
        two_sockets().having({f"{NODE}/online": "0\n", f"{NODE}/node1": None, f"{NODE}/node0/distance": "10\n"}),
        {"numa-nodes", "node-memory"},
    ),
    "a profile with more nodes": (two_sockets().told(NUMA_NODES="3"), {"numa-nodes"}),
    "a processor in no node": (two_sockets().having({f"{NODE}/node1/cpulist": "2\n"}), {"numa-nodes"}),
    "a processor in two nodes": (two_sockets().having({f"{NODE}/node1/cpulist": "1-3\n"}), {"numa-nodes"}),
    "a node without memory": (
        two_sockets().having({f"{NODE}/node1/meminfo": "Node 1 MemTotal:       0 kB\n"}),
        {"node-memory"},
    ),
    "a node with a tenth of its share": (
        two_sockets().having(
            {
                f"{NODE}/node0/meminfo": "Node 0 MemTotal:       1900000 kB\n",
                f"{NODE}/node1/meminfo": "Node 1 MemTotal:       100000 kB\n",
            }
        ),
        {"node-memory"},
    ),
    "memory that is in no node": (
        two_sockets().having({f"{NODE}/node1/meminfo": "Node 1 MemTotal:       900000 kB\n"}),
        {"node-memory"},
    ),
    "a way that is longer back": (two_sockets().having({f"{NODE}/node1/distance": "21 10\n"}), {"node-distances"}),
    "a neighbour as near as oneself": (
        two_sockets().having({f"{NODE}/node0/distance": "10 10\n", f"{NODE}/node1/distance": "10 10\n"}),
        {"node-distances"},
    ),
    "a distance too few": (two_sockets().having({f"{NODE}/node1/distance": "10\n"}), {"node-distances"}),
    "a block that waits to be brought up": (
        two_sockets().having({f"{MEMORY}/memory9/state": "offline\n"}),
        {"memory-blocks"},
    ),
    "more memory than all blocks have": (
        two_sockets().having({f"{MEMORY}/block_size_bytes": "4000000\n"}),
        {"memory-blocks"},
    ),
    "pages of 1 GiB that the kernel does not know": (
        two_sockets().having({"/proc/cpuinfo": ALIKE.replace("avx2", "avx2 pdpe1gb")}),
        {"gigantic-pages"},
    ),
    "a policy that is none": (
        two_sockets().having({f"{THP}/enabled": "always madvise never\n"}),
        {"transparent-huge-pages"},
    ),
    "an aarch64 processor of another revision": (
        aarch64().having({"/proc/cpuinfo": ARM_ALIKE.replace("revision\t: 1", "revision\t: 2", 1)}),
        {"processors-alike"},
    ),
    "an aarch64 kernel that does not know pages of 1 GiB": (
        aarch64().having({"/sys/kernel/mm/hugepages/hugepages-1048576kB": None}),
        {"gigantic-pages"},
    ),
    "an aarch64 kernel whose large buffers get no huge page": (
        aarch64().having({f"{THP}/enabled": "[always] madvise never\n", "/proc/vmstat": "thp_fault_alloc 7\n"}),
        {"transparent-huge-pages"},
    ),
    "aarch64's firmware without any size of a cache": (aarch64().having(NO_SIZES), set()),
    "no cache with a size, where the processor tells them": (two_sockets().having(NO_SIZES), {"caches"}),
    "an aarch64 kernel with pages of 64 KiB, whose huge ones have 512 MiB": (
        aarch64(65536).having({f"{THP}/enabled": "[always] madvise never\n", "/proc/vmstat": "thp_fault_alloc 7\n"}),
        set(),
    ),
    "a balloon that nobody serves": (
        two_sockets().having({"/sys/bus/virtio/devices/virtio3/device": "0x0005\n"}),
        {"balloon-driver"},
    ),
}

GPU = {
    **pci("0000:00:01.0", kind="0x030000", vendor="0x1234"),
    **pci(
        "0000:41:00.0",
        kind="0x030200",
        vendor="0x10de",
        driver="nvidia",
        current_link_width="16\n",
        max_link_width="16\n",
    ),
    **pci("0000:42:00.0", kind="0x120000", vendor="0x1002", driver="amdgpu"),
    **pci("0000:43:00.0", kind="0x120000", vendor="0x10ee", driver="xocl"),
}
SMI = """case $* in -L) printf 'GPU 0: A100 (UUID: GPU-1)\\nGPU 1: MI300 (UUID: GPU-2)\\n' ;;
*topo*) printf ' \\tGPU0\\tGPU1\\n GPU0\\tX\\tOK\\n GPU1\\tOK\\tX\\n' ;;
*--gpu-reset*) echo 'GPU was successfully reset' ;;
*) printf '0, 81920, 0\\n1, 65536, [N/A]\\n' ;; esac"""
ADDER = "echo 'Test PASSED'"
ACCELERATED = FakeMachine(
    files=GPU,
    programs={"nvidia-smi": SMI, "vectorAdd": ADDER, "dmesg": "echo all is well", "journalctl": "echo all is well"},
    facts={"GPUS": "2", "FPGAS": "1"},
)
ACCELERATORS = (
    *("gpu-present", "gpu-driver", "gpu-link", "gpu-tool", "gpu-memory", "gpu-compute", "gpu-peers", "gpu-reset"),
    *("gpu-errors", "fpga-present", "fpga-driver"),
)
CARD = "/sys/bus/pci/devices/0000:41:00.0"

ACCELERATED_WORLDS: dict[str, tuple[FakeMachine, set[str]]] = {
    "a card that fell off the bus": (
        ACCELERATED.having({"/sys/bus/pci/devices/0000:42:00.0": None}),
        {"gpu-present"},
    ),
    "a card without a driver": (ACCELERATED.having({f"{CARD}/driver": None}), {"gpu-driver"}),
    "a card with a driver that only draws": (
        ACCELERATED.having({f"{CARD}/driver": "->../../drivers/nouveau", "/sys/bus/pci/drivers/nouveau/": ""}),
        {"gpu-driver"},
    ),
    "a card with half its lanes": (ACCELERATED.having({f"{CARD}/current_link_width": "8\n"}), {"gpu-link"}),
    "a tool that finds one": (
        ACCELERATED.answering(nvidia_smi=SMI.replace("\\nGPU 1: MI300 (UUID: GPU-2)", "")),
        {"gpu-tool"},
    ),
    "a tool that fails": (
        ACCELERATED.answering(nvidia_smi="echo 'Driver/library version mismatch' >&2; exit 18"),
        {"gpu-tool", "gpu-memory", "gpu-peers", "gpu-reset"},
    ),
    "a card with broken memory": (
        ACCELERATED.answering(nvidia_smi=SMI.replace("81920, 0", "81920, 3")),
        {"gpu-memory"},
    ),
    "a card that computes wrongly": (
        ACCELERATED.answering(vectorAdd="echo 'Result verification failed'"),
        {"gpu-compute"},
    ),
    "cards that do not reach each other": (
        ACCELERATED.answering(nvidia_smi=SMI.replace("X\\tOK", "X\\tCNS")),
        {"gpu-peers"},
    ),
    "a reset that fails": (
        ACCELERATED.answering(
            nvidia_smi=SMI.replace("echo 'GPU was successfully reset'", "echo 'Unknown Error'; exit 1")
        ),
        {"gpu-reset"},
    ),
    "a fault in the log": (
        ACCELERATED.answering(
            dmesg="echo 'NVRM: Xid (PCI:0000:41:00): 79, GPU has fallen off the bus.'",
            journalctl="echo 'NVRM: Xid (PCI:0000:41:00): 79, GPU has fallen off the bus.'",
        ),
        {"gpu-errors"},
    ),
    "an FPGA too few": (
        ACCELERATED.having({"/sys/bus/pci/devices/0000:43:00.0": None}),
        {"fpga-present", "fpga-driver"},
    ),
    "an FPGA without a driver": (
        ACCELERATED.having({"/sys/bus/pci/devices/0000:43:00.0/driver": None}),
        {"fpga-driver"},
    ),
}

SOURCE = "/sys/devices/system/clocksource/clocksource0"
TIMERS = "".join(
    f"cpu: {cpu}\n  .hres_active    : 1\nTick Device: mode:     1\nPer CPU device: {cpu}\nClock Event Device: lapic\n"
    for cpu in range(4)
)
TIMED = replace(
    two_sockets().having(
        {
            f"{SOURCE}/current_clocksource": "tsc\n",
            f"{SOURCE}/available_clocksource": "tsc hpet acpi_pm\n",
            "/proc/timer_list": f"now at 5 nsecs\n{TIMERS}",
            "/sys/class/ptp/ptp0/clock_name": "KVM virtual PTP\n",
        }
    ),
    facts={"OUTBOUND": "false"},
)
CLOCKS = ("clock-source-fits", "high-resolution", "hardware-clock-runs", "time-zones", "leap-seconds")
CLOCK_WORLDS: dict[str, tuple[FakeMachine, set[str]]] = {
    "time that is counted in ticks": (
        TIMED.having({f"{SOURCE}/current_clocksource": "jiffies\n"}),
        {"clock-source-fits"},
    ),
    "a slow source beside a quick one": (
        TIMED.having({f"{SOURCE}/current_clocksource": "acpi_pm\n"}),
        {"clock-source-fits"},
    ),
    "a processor without fine timers": (
        TIMED.having({"/proc/timer_list": f"now at 5 nsecs\n{TIMERS.replace(': 1', ': 0', 1)}"}),
        {"high-resolution"},
    ),
    "a processor without an event device": (
        TIMED.having({"/proc/timer_list": f"now at 5 nsecs\n{TIMERS.replace('Device: lapic', 'Device: <NULL>', 1)}"}),
        {"high-resolution"},
    ),
    "a hardware clock that stands still": (
        TIMED.having({"/sys/class/rtc/rtc0/since_epoch": "1795876800\n"}),
        {"hardware-clock-runs"},
    ),
    "a table of zones with one in another's place": (
        TIMED.having(
            {f"/usr/share/zoneinfo/{name}": zone for name, zone in {"Europe/Berlin": "", "Asia/Kolkata": ""}.items()}
        ),
        {"time-zones"},
    ),
    "a leap of two seconds": (
        TIMED.having({"/usr/share/zoneinfo/leap-seconds.list": "2272060800 10\n2287785600 12\n"}),
        {"leap-seconds"},
    ),
    "a list of leap seconds that was cut off": (
        TIMED.having({"/usr/share/zoneinfo/leap-seconds.list": "2272060800 10\n2287785600 11\n"}),
        {"leap-seconds"},
    ),
}


def outcomes(machine: FakeMachine, suite: str, cases: tuple[str, ...], folder: Path) -> dict[str, tuple[Outcome, str]]:
    found = {}
    for case in cases:
        own = folder / case
        own.mkdir()
        result = machine.run(suite, case, own)
        found[case] = result.outcome, result.message
    return found


RIGHT = {
    "topology": (two_sockets(), TOPOLOGY, {"gigantic-pages", "balloon-driver"}),
    "gpu": (ACCELERATED, ACCELERATORS, set()),
    "time": (TIMED, CLOCKS, {"hardware-clock-runs", "leap-seconds", "time-zones"}),
}


@pytest.mark.parametrize("suite", RIGHT)
def test_in_a_right_world_no_case_fails(suite: str, tmp_path: Path) -> None:
    machine, cases, may_skip = RIGHT[suite]
    for case, (outcome, message) in outcomes(machine, suite, cases, tmp_path).items():
        expected = {Outcome.PASSED, Outcome.SKIPPED} if case in may_skip else {Outcome.PASSED}
        assert outcome in expected, f"{case}: {message}"


@pytest.mark.parametrize(
    ("suite", "world"),
    [
        *(("topology", name) for name in TOPOLOGY_WORLDS),
        *(("gpu", name) for name in ACCELERATED_WORLDS),
        *(("time", name) for name in CLOCK_WORLDS),
    ],
)
def test_the_case_that_claims_it_fails_and_no_other(suite: str, world: str, tmp_path: Path) -> None:
    machine, failed = {**TOPOLOGY_WORLDS, **ACCELERATED_WORLDS, **CLOCK_WORLDS}[world]
    found = outcomes(machine, suite, RIGHT[suite][1], tmp_path)
    assert {case: message for case, (outcome, message) in found.items() if outcome is Outcome.FAILED}.keys() == failed
    assert all(outcome is not Outcome.ERRORED for outcome, _ in found.values())
