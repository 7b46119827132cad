"""A run's summary: everything that queries ask for, and an id that is the same wherever it is made."""

from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest

from lisa_ci.archive.layout import ArchivedFile, Summary, summary_flaw
from lisa_ci.archive.summary import summarize
from lisa_ci.errors import DataError
from lisa_ci.files import LegFolder, read_leg
from lisa_ci.model import Category, Finding, Outcome
from tests.doubles.evidence import STARTED, make_plan, make_result, write_leg

FILE = ArchivedFile(path="run.json", sha256="ab" * 32, size_bytes=7, blob="ab" * 32)


def summary(folder: Path, *archived: ArchivedFile, keep: timedelta | None = None) -> Summary:
    evidence = read_leg(folder)
    assert evidence is not None
    return summarize(evidence, make_plan(), archived or (FILE,), labels={"team": "kernel"}, keep=keep)


def test_a_summary_says_how_every_case_ended(tmp_path: Path) -> None:
    results = [make_result("boot", case, outcome) for case, outcome in zip("abcd", Outcome, strict=True)]
    found = summary(write_leg(tmp_path, make_plan(), "small", results), keep=timedelta(days=30))
    assert found.cases == ("boot#a", "boot#b", "boot#c", "boot#d")
    assert found.outcomes == "pfes"
    assert found.wall_ms == (250,) * 4
    assert (found.name, found.leg, found.profile, found.attempt) == ("example", "small", "small", 1)
    assert (found.started, found.wall_seconds, found.is_complete) == (STARTED, 120, True)
    assert (found.files, found.size_bytes, found.delete_after) == (1, 7, date(2026, 2, 1))
    assert found.subject == make_plan().subject.digest
    assert summary_flaw(found) == ""


def test_findings_of_the_run_and_of_its_cases_count_once_each(tmp_path: Path) -> None:
    one = Finding(category=Category.OOPS, title="oops in\nfoo", fingerprint="f00d", case="boot#a")
    loose = Finding(category=Category.WARNING, title="w", fingerprint="beef", allowed="known")
    results = [make_result("boot", "a", findings=(one, one))]
    found = summary(write_leg(tmp_path, make_plan(), "small", results, findings=(loose,)))
    assert [(mark.fingerprint, mark.case, mark.allowed) for mark in found.findings] == [
        ("beef", None, True),
        ("f00d", "boot#a", False),
    ]
    assert found.findings[1].title == "oops in foo"


def test_secrets_do_not_get_into_it(tmp_path: Path) -> None:
    text = "failed with password=correct-horse-battery"
    mark = Finding(category=Category.OOPS, title=text, fingerprint="f00d")
    folder = write_leg(tmp_path, make_plan(), "small", error=text, facts={"k": text}, findings=(mark,))
    assert "correct-horse" not in repr(summary(folder))


def test_a_leg_that_died_on_the_way_has_a_summary(tmp_path: Path) -> None:
    folder = write_leg(tmp_path, make_plan(), "small", [make_result("boot", "a")], is_complete=False)
    with LegFolder(folder).journal.open("ab") as journal:
        journal.write(b"torn")
    found = summary(folder)
    assert (found.is_complete, found.outcomes, found.wall_seconds, found.problem) == (False, "p", 0, "")


def test_results_that_cannot_be_read_to_their_end_are_told(tmp_path: Path) -> None:
    folder = write_leg(tmp_path, make_plan(), "small", [make_result("boot", "a")])
    with LegFolder(folder).journal.open("ab") as journal:
        journal.write(b"{}\n")
    found = summary(folder)
    assert found.outcomes == "p"
    assert "is not a valid journalline file" in found.problem


def test_the_id_is_that_of_the_content_and_of_nothing_else(tmp_path: Path) -> None:
    first = summary(write_leg(tmp_path / "one", make_plan(), "small"))
    again = summary(write_leg(tmp_path / "two", make_plan(), "small"), keep=timedelta(days=1))
    other = summary(tmp_path / "one" / "small", dataclasses.replace(FILE, sha256="cd" * 32))
    assert first.id == again.id != other.id


def test_a_start_in_another_zone_is_told_in_utc(tmp_path: Path) -> None:
    started = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=5)))
    found = summary(write_leg(tmp_path, make_plan(), "small", started=started))
    assert found.started == datetime(2025, 12, 31, 20, tzinfo=UTC)
    assert found.day == date(2025, 12, 31)


@pytest.mark.parametrize("fields", [{"started": datetime(1, 1, 1, tzinfo=UTC)}, {"attempt": -1}])
def test_a_run_that_cannot_be_is_refused(tmp_path: Path, fields: dict[str, object]) -> None:
    with pytest.raises(DataError, match="cannot be"):
        summary(write_leg(tmp_path, make_plan(), "small", **fields))  # type: ignore[arg-type]
