from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from lisa_ci import files
from lisa_ci.errors import LisaCiError, PipelineError
from lisa_ci.events import CaseEnded, Event, Message
from lisa_ci.execution.clock import Deadline, OutOfTimeError
from lisa_ci.execution.journal import Journal, locked, rewrite
from lisa_ci.execution.record import Log, Record, log_text
from lisa_ci.files import LegFolder
from lisa_ci.model import Case, Completed, Outcome, Result

FAILED = Result(suite="boot", case="a", outcome=Outcome.FAILED, message="no")
PASSED = Result(suite="boot", case="b", outcome=Outcome.PASSED)


def open_record(folder: Path, events: list[Event], **options: object) -> Record:
    return Record(LegFolder(folder), "leg", events.append, reproduce="repeat {it}", **options)  # type: ignore[arg-type]


def test_a_result_is_told_only_when_it_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    events: list[Event] = []
    with open_record(tmp_path, events) as record:
        record.add(FAILED)
        record.add(PASSED)
        assert (events, synced) == ([], [])
        record.sync()
        assert len(synced) == 1
        assert [event.reproduce for event in events if isinstance(event, CaseEnded)] == [
            "repeat {it} --case 'boot#a' --keep",
            "",
        ]
    assert list(files.read_journal(tmp_path / "journal.ndjson")) == [FAILED, PASSED]


def test_a_case_has_one_result_the_first(tmp_path: Path) -> None:
    with open_record(tmp_path, [], has=["boot#b"]) as record:
        record.add(FAILED)
        record.add(Result(suite="boot", case="a", outcome=Outcome.PASSED))
        record.add(PASSED)
        record.give_up([Case(suite="boot", id="a"), Case(suite="boot", id="c")], "the machine burnt")
    results = list(files.read_journal(tmp_path / "journal.ndjson"))
    assert [(result.case, result.outcome, result.message) for result in results] == [
        ("a", Outcome.FAILED, "no"),
        ("c", Outcome.ERRORED, "not run: the machine burnt"),
    ]


def test_a_case_that_failed_says_how_to_mend_it_and_no_other_does(tmp_path: Path) -> None:
    with open_record(tmp_path, []) as record:
        record.know([Case(suite="boot", id=name, mend="turn\n it on") for name in ("a", "b", "c")])
        record.add(FAILED)
        record.add(PASSED)
        record.give_up([Case(suite="boot", id="c")], "the machine burnt")
    assert [result.mend for result in files.read_journal(tmp_path / "journal.ndjson")] == ["turn it on", "", ""]


def test_output_is_a_file_with_a_note_where_bytes_are_gone(tmp_path: Path) -> None:
    with open_record(tmp_path, []) as record:
        record.add(FAILED, Completed(exit=1, output=b"headtail", head_bytes=4, dropped_bytes=9))
        record.add(PASSED, Completed(exit=0))
    assert (tmp_path / "cases/boot/a.log").read_bytes() == b"head\n[lisa-ci: 9 bytes dropped here]\ntail"
    assert [result.log for result in files.read_journal(tmp_path / "journal.ndjson")] == ["cases/boot/a.log", None]


def test_whole_output_has_no_note() -> None:
    assert log_text(Completed(exit=0, output=b"ab", head_bytes=2)) == b"ab"


def test_a_rewritten_journal_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "journal.ndjson"
    path.write_bytes(b'{"torn')
    rewrite(path, [FAILED])
    with Journal(path) as journal:
        journal.append(PASSED)
    assert list(files.read_journal(path)) == [FAILED, PASSED]


def test_a_journal_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "journal.ndjson").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LisaCiError, match="cannot write"):
        Journal(tmp_path / "journal.ndjson")


def test_two_runs_never_write_one_leg_at_the_same_time(tmp_path: Path) -> None:
    with locked(tmp_path, "leg"):
        with pytest.raises(PipelineError, match="another run writes leg leg"), locked(tmp_path, "leg"):
            pass
        with locked(tmp_path, "other"):
            pass
    with locked(tmp_path, "leg"):
        pass


def test_the_log_is_one_plain_line_an_event_whatever_it_says(tmp_path: Path) -> None:
    events: list[Event] = []
    log = Log(tmp_path / "log", events.append)
    log.emit(Message(text="two\nlines \x1b[31m"))
    log.close()
    log.emit(Message(text="late"))
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) == 2
    assert lines[1].endswith("info: two?lines ?[31m")
    assert len(events) == 2


def test_a_deadline_shortens_waits_and_ends_them() -> None:
    now = [100.0]
    deadline = Deadline(timedelta(seconds=10), clock=lambda: now[0])
    assert deadline.at_most(timedelta(seconds=3)) == timedelta(seconds=3)
    now[0] = 108.0
    assert deadline.at_most(timedelta(seconds=3)) == timedelta(seconds=2)
    deadline.check()
    now[0] = 110.0
    assert deadline.at_most(timedelta(seconds=3)) == timedelta(seconds=1)
    with pytest.raises(OutOfTimeError, match="ran out of its 10 s"):
        deadline.check()
