"""docs/storage.md has each case of its suites, with its description and its end in a full run, and each wrong world."""

from __future__ import annotations

import json
from pathlib import Path

from tests.mutation.test_storage import WORLDS
from tests.storage_page import PAGE, Ended, cases, page_with, read, rows_of


def test_the_page_has_the_cases_of_the_suites_as_they_are() -> None:
    """Else: python -m tests.storage_page"""
    page = PAGE.read_text()
    assert page_with(page, rows_of(page)) == page
    assert list(rows_of(page)) == [case.key for case in cases()]


def test_every_wrong_world_is_in_its_table_and_is_about_cases_that_there_are() -> None:
    page = PAGE.read_text()
    known = {case.id for case in cases() if case.suite == "storage"}
    for world in WORLDS:
        assert f"\n| {world.wrong} | {', '.join(f'`{case}`' for case in world.fails)} |" in page
        assert {*world.fails, *world.holds} <= known
    assert len({case for world in WORLDS for case in world.fails}) * 10 > len(known) * 6


def test_a_case_that_ran_is_worth_more_than_one_that_was_skipped(tmp_path: Path) -> None:
    lines = [
        {"suite": "storage", "case": "luks", "outcome": "skipped", "message": "no cryptsetup | here", "wall": "PT0.1S"},
        {"suite": "storage", "case": "luks", "outcome": "passed", "message": "", "wall": "PT1M2.6S"},
        {"suite": "storage", "case": "luks", "outcome": "skipped", "message": "later", "wall": "PT3S"},
        {"suite": "storage", "case": "lvm", "outcome": "skipped", "message": "no lvm | here", "wall": "PT0.1S"},
    ]
    (tmp_path / "journal.ndjson").write_text(
        "".join(json.dumps({"result": line, "schema": 1}) + "\n" for line in lines)
    )
    assert read([tmp_path]) == {
        "storage#luks": Ended(how="passed", seconds="63"),
        "storage#lvm": Ended(how="skipped: no lvm / here", seconds="0"),
    }
