"""docs/mutation.md names each file of worlds, how many there are, and the packages that it asks a host for."""

from __future__ import annotations

import re
from pathlib import Path

from tests.mutation import conftest, test_network, test_network_pair, test_security, test_storage, test_topology

PAGE = (Path(__file__).parents[2] / "docs" / "mutation.md").read_text()
COUNTS = {
    "test_storage": [len(test_storage.WORLDS)],
    "test_network": [len(test_network.WORLDS)],
    # One more in the machine: a measurement behind the log.
    "test_security": [len(test_security.HOST_WORLDS), len(test_security.MACHINE_WORLDS) + 1],
    # Without the world in which nothing is wrong.
    "test_network_pair": [len(test_network_pair.WORLDS) - 1],
    "test_topology": [
        *(len(test_topology.TOPOLOGY_WORLDS), len(test_topology.ACCELERATED_WORLDS), len(test_topology.CLOCK_WORLDS))
    ],
}


def test_the_page_counts_the_worlds_that_there_are() -> None:
    files = {path.stem for path in Path(test_storage.__file__).parent.glob("test_*.py")}
    assert files == set(COUNTS) == set(conftest.NEEDS)
    for name, counts in COUNTS.items():
        (told,) = re.findall(rf"^\| `{name}.py` \| ([^|]*) \| [^|]* \| \[", PAGE, re.MULTILINE)
        assert [int(number) for number in re.findall(r"\d+", told)] == counts, name


def test_the_page_lists_every_package_that_a_file_asks_for() -> None:
    for name, programs in conftest.NEEDS.items():
        (row,) = re.findall(rf"^\|[^|\n]*`{name}.py`[^|\n]*\| ([^|\n]*) \|$", PAGE, re.MULTILINE)
        if row.startswith("the same"):
            row += "`mmdebstrap` `qemu-system-x86` `qemu-utils`"
        assert {f"`{package}`" for package in programs.values()} <= set(re.findall(r"`[^`]+`", row)), name


def test_what_is_missing_is_told_by_the_package_that_brings_it() -> None:
    programs = {"sh": "dash", "no-such-program": "one-package", "nor-this-one": "one-package"}
    assert list(conftest.packages_missing(programs)) == ["one-package"]
