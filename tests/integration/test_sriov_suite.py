"""The suite ``sriov``: its cases of network cards, in a /sys of our own, as a cloud shows it: a synthetic card, and a
virtual function that serves it. What no machine here has, is played: the kernel and the network are the programs
``ip``, ``ping`` and ``sleep`` before the system's. Its cases of NVMe run in a real machine (test_storage_suite.py).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from lisa_ci import files, process, registry
from lisa_ci.drivers.shell import ShellDriver
from lisa_ci.model import Case, Completed, Nic, Outcome, Profile, Result, unmet
from lisa_ci.pipeline.suites import load_suite

SUITE = files.shipped("suites") / "sriov"
TIMEOUT = timedelta(seconds=120)
NIC_CASES = ("nic-vf-present", "nic-vf-driver", "nic-vf-mtu", "nic-vf-datapath", "nic-vf-hot-remove", "nic-vfs-several")

# $WRONG is what is wrong. A packet goes over the virtual function where it is there and up.
IP = r"""
case $* in
  *"route show default dev"*) [ "$WRONG" = alone ] || echo "default via 10.0.0.1 proto dhcp src 10.0.0.4" ;;
  *"mtu"*)
    echo "$6" >"$LISA_CI_SYSFS/class/net/$4/mtu"
    for low in "$LISA_CI_SYSFS/class/net/$4"/lower_*; do
      [ "$WRONG" = mtu ] || [ ! -e "$low" ] || echo "$6" >"$low/mtu"
    done ;;
  *down) echo down >"$LISA_CI_SYSFS/class/net/$4/operstate"; echo 0 >"$LISA_CI_SYSFS/class/net/$4/carrier"
    [ "$WRONG" != together ] || for c in "$LISA_CI_SYSFS"/class/net/enP*; do echo down >"$c/operstate"; done ;;
  *up) [ "$WRONG" = "no way back" ] ||
    { echo up >"$LISA_CI_SYSFS/class/net/$4/operstate"; echo 1 >"$LISA_CI_SYSFS/class/net/$4/carrier"; } ;;
esac
"""
PING = r"""
count=1 card=
while [ $# -gt 0 ]; do case $1 in -c) count=$2 ;; -I) card=$2 ;; esac; shift; done
got=$count
for low in "$LISA_CI_SYSFS/class/net/$card"/lower_*; do
  up=; [ ! -e "$low" ] || read -r up <"$low/operstate"
  case $up:$WRONG in
    up:synthetic) ;;
    up:* | down:"leaks")
      read -r sent <"$low/statistics/tx_packets"
      echo $((sent + count)) >"$low/statistics/tx_packets" ;;
    *:"loses") got=$((count / 2)) ;;
  esac
done
echo "$count packets transmitted, $got received, 0% packet loss, time 1ms"
"""
KERNEL = r"""
sys=$LISA_CI_SYSFS
for f in "$sys"/devices/pci/*/remove; do
  [ -s "$f" ] && [ "$WRONG" != stays ] || continue
  place=${f%/remove}; : >"$f"
  mkdir -p "$sys/gone"; mv "$place" "$sys/gone/"
  mv "$sys/class/net/enP${place##*-}" "$sys/gone/"; rm -f "$sys"/class/net/eth"${place##*-}"/lower_*
  [ "$WRONG" != "takes the address" ] || echo 00:0d:3a:ff:ff:ff >"$sys/class/net/eth${place##*-}/address"
done
if [ -s "$sys/bus/pci/rescan" ] && [ -d "$sys/gone" ] && [ "$WRONG" != "stays away" ]; then
  : >"$sys/bus/pci/rescan"
  for place in "$sys"/gone/vf-*; do
    n=${place##*-}
    mv "$place" "$sys/devices/pci/"; mv "$sys/gone/enP$n" "$sys/class/net/"
    ln -s "../enP$n" "$sys/class/net/eth$n/lower_enP$n"
    [ "$WRONG" != "another address" ] || echo 00:0d:3a:ff:ff:ff >"$sys/class/net/enP$n/address"
  done
fi
exec /bin/sleep 0.01
"""


@dataclass
class World:
    """Cards eth0 and so on, each with a virtual function enP0 and so on. ``wrong``: what kernel or network do."""

    folder: Path
    cards: int = 1
    wrong: str = ""
    is_hurried: bool = False

    def __post_init__(self) -> None:
        self.sys = self.folder / "sys"
        self.bin = self.folder / "bin"
        self.bin.mkdir()
        for name, text in (("ip", IP), ("ping", PING), ("sleep", KERNEL)):
            (self.bin / name).write_text(f"#!/bin/sh\n{text}")
            (self.bin / name).chmod(0o755)
        self.put("bus/pci/rescan", "")
        for number in range(self.cards):
            self._card(number)

    def put(self, name: str, text: str) -> None:
        (self.sys / name).parent.mkdir(parents=True, exist_ok=True)
        (self.sys / name).write_text(text)

    def link(self, name: str, target: str) -> None:
        (self.sys / name).parent.mkdir(parents=True, exist_ok=True)
        (self.sys / name).unlink(missing_ok=True)
        (self.sys / name).symlink_to(target)

    def _card(self, number: int) -> None:
        for card, device, driver in (
            (f"eth{number}", f"vmbus/net-{number}", "hv_netvsc"),
            (f"enP{number}", f"pci/vf-{number}", "mlx5_core"),
        ):
            for file, text in (
                ("address", f"00:0d:3a:00:00:0{number}\n"),
                ("mtu", "1500\n"),
                ("operstate", "up\n"),
                ("carrier", "1\n"),
                ("statistics/tx_packets", "7\n"),
            ):
                self.put(f"class/net/{card}/{file}", text)
            (self.sys / "devices" / device).mkdir(parents=True)
            (self.sys / "bus/drivers" / driver).mkdir(parents=True, exist_ok=True)
            self.link(f"class/net/{card}/device", f"../../../devices/{device}")
            self.link(f"devices/{device}/driver", f"../../../bus/drivers/{driver}")
        self.put(f"devices/pci/vf-{number}/class", "0x020000\n")
        self.put(f"devices/pci/vf-{number}/remove", "")
        self.link(f"class/net/eth{number}/lower_enP{number}", f"../enP{number}")
        self.link(f"class/net/enP{number}/master", f"../eth{number}")

    def run(self, case: str) -> Result:
        suite = self.folder / "suite"
        shutil.copytree(SUITE, suite, dirs_exist_ok=True)
        if self.is_hurried:  # what never comes is not waited for as long as in a real machine
            steps = suite / "steps.sh"
            steps.write_text(steps.read_text().replace("end=$((${up%%.*} + limit))", "end=$((${up%%.*} + 2))"))
        environment = {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "LISA_CI_SYSFS": str(self.sys),
            "LISA_CI_NIC_VFS": str(self.cards),
            "WRONG": self.wrong,
        }
        done = process.run(["sh", "-c", f"cd {suite} && exec ./{case}"], timeout=TIMEOUT, environment=environment)
        completed = Completed(exit=done.exit, output=done.stdout + done.stderr)
        return ShellDriver().interpret(Case(suite="sriov", id=case), completed)


@pytest.mark.parametrize("case", NIC_CASES)
def test_in_a_right_world_each_case_of_cards_passes(case: str, tmp_path: Path) -> None:
    result = World(folder=tmp_path, cards=2).run(case)
    assert (result.outcome, result.message) == (Outcome.PASSED, "")


def change(world: World, *files: tuple[str, str]) -> World:
    for name, text in files:
        world.put(name, text)
    return world


@pytest.mark.parametrize(
    ("case", "wrong", "says"),
    [
        ("nic-vf-mtu", "mtu", "after a change to 1400 eth0 has an MTU of 1400, its virtual function enP0 one of 1500"),
        ("nic-vf-mtu", "alone", "no card with a virtual function has a gateway"),
        ("nic-vf-datapath", "synthetic", "at first, 0 of 20 packets went over enP0"),
        ("nic-vf-datapath", "leaks", "30 packets went over enP0 while it was down"),
        ("nic-vf-datapath", "loses", "15 of 30 packets to 10.0.0.1 were lost"),
        ("nic-vf-datapath", "no way back", "enP0 has a carrier again: not within 30 s"),
        ("nic-vf-hot-remove", "stays", "enP0 leaves: not within 30 s"),
        ("nic-vf-hot-remove", "takes the address", "without its virtual function, eth0 has the address 00:0d:3a:ff"),
        ("nic-vf-hot-remove", "stays away", "a virtual function joins eth0 again: not within 60 s"),
        ("nic-vf-hot-remove", "another address", "came back has the address 00:0d:3a:ff:ff:ff"),
        ("nic-vfs-several", "together", "enP1 is down, and it was enP0 that was set down"),
    ],
)
def test_a_wrong_kernel_or_network_fails_the_case_that_claims_it(
    case: str, wrong: str, says: str, tmp_path: Path
) -> None:
    result = World(folder=tmp_path, cards=2, wrong=wrong, is_hurried=True).run(case)
    assert result.outcome is (Outcome.SKIPPED if wrong == "alone" else Outcome.FAILED)
    assert says in result.message


@pytest.mark.parametrize(
    ("case", "files", "says"),
    [
        (
            "nic-vf-present",
            [("class/net/enP0/address", "00:0d:3a:99:00:00\n")],
            "its virtual function enP0 has 00:0d:3a:99",
        ),
        ("nic-vf-driver", [("class/net/enP0/operstate", "down\n")], "enP0 is down"),
        ("nic-vf-driver", [("class/net/enP0/carrier", "0\n")], "enP0 has no carrier"),
        (
            "nic-vfs-several",
            [("class/net/enP1/address", "00:0d:3a:00:00:00\n")],
            "two virtual functions have the address",
        ),
    ],
)
def test_a_wrong_fact_fails_the_case_that_claims_it(
    case: str, files: Sequence[tuple[str, str]], says: str, tmp_path: Path
) -> None:
    result = change(World(folder=tmp_path, cards=2), *files).run(case)
    assert result.outcome is Outcome.FAILED
    assert says in result.message


def test_a_card_on_its_synthetic_path_alone_is_found_by_each_case(tmp_path: Path) -> None:
    world = World(folder=tmp_path, cards=2)
    (world.sys / "class/net/eth1/lower_enP1").unlink()
    assert "1 cards are served by a virtual function, the profile says 2" in world.run("nic-vf-present").message
    (world.sys / "class/net/eth0/lower_enP0").unlink()
    results = {case: world.run(case) for case in NIC_CASES}
    assert {result.outcome for result in results.values()} == {Outcome.FAILED}


@pytest.mark.parametrize(
    ("driver", "says"), [("", "enP0 has no driver"), ("e1000e", "none for virtual functions"), ("iavf", "of Hyper-V")]
)
def test_a_virtual_function_with_another_driver_is_found(driver: str, says: str, tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    (world.sys / "devices/pci/vf-0/driver").unlink()
    if driver:
        world.link("devices/pci/vf-0/driver", f"../../../bus/drivers/{driver}")
    result = world.run("nic-vf-driver")
    assert result.outcome is Outcome.FAILED
    assert says in result.message


def test_a_function_that_serves_another_card_is_found(tmp_path: Path) -> None:
    world = World(folder=tmp_path, cards=2)
    world.link("class/net/enP0/master", "../eth1")
    assert "enP0 serves eth0, and its master is 'eth1'" in world.run("nic-vf-present").message


def test_a_bond_of_somebodys_is_no_virtual_function(tmp_path: Path) -> None:
    world = World(folder=tmp_path, cards=1)
    world.put("class/net/bond0/address", "00:0d:3a:00:00:00\n")
    world.link("class/net/bond0/lower_eth0", "../eth0")
    assert world.run("nic-vf-present").outcome is Outcome.PASSED


def test_where_the_host_gives_the_functions_no_card_is_asked_to_make_any(tmp_path: Path) -> None:
    world = World(folder=tmp_path)
    assert world.run("nic-vfs-made").outcome is Outcome.SKIPPED
    world.put("devices/pci/vf-0/sriov_totalvfs", "2\n")
    world.put("devices/pci/vf-0/sriov_numvfs", "0\n")
    result = world.run("nic-vfs-made")
    assert "more virtual functions than the 2 there are was not refused" in result.message


def test_the_cases_ask_for_what_qemu_has_or_for_what_a_cloud_gives() -> None:
    cases = {case.id: case for case in load_suite(SUITE, registry.known()).cases or ()}
    accelerated = Profile(name="azure", platform="azure", nics=(Nic(vfs=1), Nic(vfs=1)))
    fit = {case_id for case_id, case in cases.items() if not unmet(case.requires, accelerated.capabilities)}
    assert fit == {*NIC_CASES, "nic-vfs-made"}
    plain = Profile(name="plain", nics=(Nic(),))
    assert all(unmet(case.requires, plain.capabilities) for case in cases.values())
