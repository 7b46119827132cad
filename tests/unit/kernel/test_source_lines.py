"""Frames of a kernel's report: which are read, in which order, and that nothing a machine prints takes them apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.kernel.source_lines import FRAMES, Frame, SourceLines, frames
from lisa_ci.model import Kernel

OOPS = (Path(__file__).parents[2] / "cases/console/oops-null-x86.log").read_text()
ARM = (Path(__file__).parents[2] / "cases/console/oops-null-arm64.log").read_text()


def test_the_place_of_the_fault_comes_first_then_the_callers_and_no_guess() -> None:
    found = list(frames(OOPS))
    assert found[0] == Frame(name="crash_write", offset=0x1A, module="crasher")
    assert [frame.name for frame in found[1:4]] == ["do_one_initcall", "do_init_module", "__do_sys_finit_module"]
    assert found[1].offset == 0x59


def test_arm_s_program_counter_is_read_as_well() -> None:
    assert next(frames(ARM)).offset > 0


def test_a_module_with_flags_behind_its_name_is_that_module() -> None:
    text = "RIP: 0010:broken+0x10/0x20 [my-module(OE+)]\n"
    assert list(frames(text)) == [Frame(name="broken", offset=0x10, module="my_module")]


def test_a_long_trace_is_cut() -> None:
    text = "Call Trace:\n" + "".join(f" step{number}+0x1/0x2\n" for number in range(1000))
    assert len(list(frames(text))) == FRAMES


@given(st.text(alphabet="RIP: 0010:a+0x/[] \nCall Trace", max_size=300))
def test_any_text_gives_frames_or_none(text: str) -> None:
    assert len(list(frames(text))) <= FRAMES


def test_a_delivery_that_is_gone_tells_nothing_and_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lisa_ci.process.find", lambda _: "/usr/bin/tool")
    lines = SourceLines(Kernel(source=str(tmp_path / "gone"), delivery="a" * 64))
    assert lines.place(OOPS) == ""
    assert lines.place(OOPS) == ""


def test_without_binutils_nothing_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lisa_ci.process.find", lambda _: None)
    assert SourceLines(Kernel(image="vmlinuz")).place(OOPS) == ""
