from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci import files
from lisa_ci.errors import DataError, StorageError
from lisa_ci.files import JournalLine, LegFolder
from lisa_ci.model import Inventory, Outcome, Plan, Result, Run, SubResult


def run_of(leg: str) -> Run:
    return Run(leg=leg, plan_digest="d", subject_digest="s", attempt=1, started=datetime(2026, 1, 2, tzinfo=UTC))


@given(st.text(), st.binary(max_size=40))
def test_what_is_written_is_read_back(text: str, data: bytes) -> None:
    result = Result(
        suite="s",
        case="c",
        outcome=Outcome.FAILED,
        message=text,
        detail=data.decode("latin-1"),
        wall=timedelta(microseconds=1_500_001),
        children=(
            SubResult(name=text, outcome=Outcome.PASSED, children=(SubResult(name="x", outcome=Outcome.SKIPPED),)),
        ),
    )
    line = files.encode_line(JournalLine(result=result))
    assert line.count(b"\n") == 1
    read = files.decode(JournalLine, line, place="here").result
    if text.isprintable():
        assert read == result
    assert files.encode_line(JournalLine(result=read)) == line


@given(st.binary(max_size=200))
def test_anything_that_is_no_plan_is_told_with_its_place(data: bytes) -> None:
    with pytest.raises(DataError, match=r"plan\.json is not a valid plan file"):
        files.decode(Plan, data, place="plan.json")


def test_another_schema_is_refused() -> None:
    data = files.encode(run_of("a")).replace(b'"schema": 1', b'"schema": 9')
    with pytest.raises(DataError, match="schema 9"):
        files.decode(Run, data, place="run.json")


def test_a_last_line_torn_by_a_crash_is_left_out(tmp_path: Path) -> None:
    line = files.encode_line(JournalLine(result=Result(suite="s", case="c", outcome=Outcome.PASSED)))
    journal = tmp_path / "journal.ndjson"
    for cut in range(len(line)):
        journal.write_bytes(line + line[:cut])
        assert len(list(files.read_journal(journal))) == 1


def test_a_broken_line_in_the_middle_is_told_with_its_number(tmp_path: Path) -> None:
    line = files.encode_line(JournalLine(result=Result(suite="s", case="c", outcome=Outcome.PASSED)))
    journal = tmp_path / "journal.ndjson"
    journal.write_bytes(line + b"{}\n" + line)
    with pytest.raises(DataError, match=r"journal\.ndjson:2 is not a valid"):
        list(files.read_journal(journal))


def test_a_line_without_an_end_is_refused_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LINE_LIMIT", 1 << 20)
    journal = tmp_path / "journal.ndjson"
    journal.write_bytes(b"x" * (3 << 20))
    with pytest.raises(DataError, match="longer than 1 MiB"):
        list(files.read_journal(journal))


def test_links_devices_and_large_files_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"x" * 100)
    (tmp_path / "link").symlink_to("real")
    os.mkfifo(tmp_path / "fifo")
    for name, limit in (("link", 1000), ("fifo", 1000), ("real", 10), ("missing", 10)):
        with pytest.raises(DataError):
            files.read_bounded(tmp_path / name, limit)
    assert len(files.read_bounded(tmp_path / "real", 100)) == 100


def test_results_are_found_by_leg_and_links_are_passed_over(tmp_path: Path) -> None:
    for name in ("bios", "lisa-ci-leg-uefi-2", "Not An Id"):
        leg = LegFolder(tmp_path / name)
        leg.root.mkdir()
        leg.run.write_bytes(files.encode(run_of("bios")))
    (tmp_path / "linked").symlink_to("bios")
    (tmp_path / "empty").mkdir()
    leg = LegFolder(tmp_path / "bios")
    leg.inventory.write_bytes(files.encode(Inventory(leg="bios", suites={"s": ("c",)})))
    found = list(files.read_results(tmp_path))
    assert [evidence.folder.name for evidence in found] == ["bios", "lisa-ci-leg-uefi-2"]
    assert found[0].inventory == Inventory(leg="bios", suites={"s": ("c",)})
    assert list(found[0].results()) == []


def test_writing_leaves_the_old_file_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "sub" / "file"
    files.write_atomically(target, b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        files.write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    assert [path.name for path in target.parent.iterdir()] == ["file"]


def test_a_tree_digest_sees_names_bytes_and_executable_bits(tmp_path: Path) -> None:
    def digest() -> str:
        return files.tree_digest(tmp_path)

    (tmp_path / "a").write_text("1")
    seen = {digest()}
    (tmp_path / "a").chmod(0o755)
    seen.add(digest())
    (tmp_path / "a").write_text("2")
    seen.add(digest())
    (tmp_path / "a").rename(tmp_path / "b")
    seen.add(digest())
    (tmp_path / "c").symlink_to("b")
    seen.add(digest())
    assert len(seen) == 5
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/x.pyc").write_text("")
    assert digest() in seen
