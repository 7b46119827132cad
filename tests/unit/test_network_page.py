"""docs/network.md tells how each case of its suites ended in a full run, and of each wrong world that is seeded."""

from __future__ import annotations

import re
from pathlib import Path

from lisa_ci import files, registry
from lisa_ci.pipeline.suites import load_suite
from tests.mutation.test_network import WORLDS

PAGE = (Path(__file__).parents[2] / "docs" / "network.md").read_text()
CASES = {
    name: [case.id for case in load_suite(files.shipped("suites") / name, registry.known()).cases or ()]
    for name in ("network", "performance")
}


def test_every_case_of_the_suites_is_in_the_table_of_the_full_run() -> None:
    rows = re.findall(r"^\| `(network|performance)#([a-z0-9-]+)` \| [^|]+ \| +[0-9]+ \|", PAGE, re.MULTILINE)
    assert rows == [(name, case) for name, cases in CASES.items() for case in cases]


def test_every_wrong_world_is_in_its_table_with_the_cases_that_find_it() -> None:
    for world in WORLDS:
        fails = ", ".join(f"`{case}`" for case in world.fails)
        holds = ", ".join(f"`{case}`" for case in world.holds)
        assert f"| {world.wrong} | {fails} | {holds} |\n" in PAGE


def test_the_worlds_are_about_cases_that_there_are_and_about_most_of_them() -> None:
    failed = {case for world in WORLDS for case in world.fails}
    assert failed | {case for world in WORLDS for case in world.holds} <= set(CASES["network"])
    assert len(failed) * 10 > len(CASES["network"]) * 7
