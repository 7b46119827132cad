from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_ci.drivers.metrics import LIMIT, metrics
from lisa_ci.drivers.shell import ShellDriver
from lisa_ci.drivers.tap import TapDriver
from lisa_ci.model import Case, Completed, Outcome

CASE = Case(suite="s", id="c")


def done(output: bytes, status: int = 0) -> Completed:
    return Completed(exit=status, output=output)


def test_figures_stand_on_lines_of_their_own() -> None:
    output = b"warming up\nMETRIC tcp_mbit_per_s=812.5\n METRIC not_this_s=1\nMETRIC read_iops=1.2e4\r\nend\n"
    assert metrics(done(output)) == ({"tcp_mbit_per_s": 812.5, "read_iops": 12000.0}, "")


@pytest.mark.parametrize("driver", [ShellDriver(), TapDriver()])
@pytest.mark.parametrize(("status", "outcome"), [(0, Outcome.PASSED), (1, Outcome.FAILED)])
def test_a_case_has_its_figures_whether_it_passes_or_fails(
    driver: ShellDriver | TapDriver, status: int, outcome: Outcome
) -> None:
    output = b"1..1\nMETRIC wake_us=7.25\n%s 1 - a\n" % (b"not ok" if status else b"ok")
    result = driver.interpret(CASE, done(output, status))
    assert (result.outcome, result.metrics, result.note) == (outcome, {"wake_us": 7.25}, "")


@pytest.mark.parametrize(
    "line",
    [
        "METRIC speed_mbit",
        "METRIC speed=5",
        "METRIC speed_mbit=fast",
        "METRIC speed_mbit=nan",
        "METRIC speed_mbit=inf",
        "METRIC speed_mbit=1e99",
        "METRIC speed_mbit=1e19",
        "METRIC Speed_mbit=1",
        "METRIC speed_mbit=1 2",
        "METRIC speed__mbit=1",
        f"METRIC {'a' * 60}_s=1",
        f"METRIC a_s={'1' * 61}",
        "METRIC geschwindigkeit_\u00b5s=1",
        "METRIC a_s=\u0661",
    ],
)
def test_what_is_no_figure_is_named_and_not_taken(line: str) -> None:
    found, note = metrics(done(f"{line}\nMETRIC good_s=1\n".encode()))
    assert found == {"good_s": 1.0}
    assert note.startswith("no figure: 'METRIC ")


def test_the_last_figure_of_a_name_counts() -> None:
    assert metrics(done(b"METRIC a_s=1\nMETRIC a_s=2\n")) == ({"a_s": 2.0}, "")


def test_figures_beyond_the_limit_are_counted_and_left_out() -> None:
    found, note = metrics(done(b"".join(b"METRIC n%d_s=1\n" % number for number in range(LIMIT + 3))))
    assert len(found) == LIMIT
    assert note == f"3 figures beyond {LIMIT} were left out"


def test_a_figure_that_was_cut_out_of_the_output_is_not_half_read() -> None:
    output = b"METRIC a_s=1\nMETRIC b_s=123" + b"45\nMETRIC c_s=3\n"
    cut = Completed(exit=0, output=output, head_bytes=27, dropped_bytes=1000)
    assert metrics(cut)[0] == {"a_s": 1.0, "c_s": 3.0}


@given(st.binary(max_size=300), st.integers(0, 300))
def test_whatever_is_printed_gives_bounded_finite_figures(output: bytes, head: int) -> None:
    found, note = metrics(Completed(exit=0, output=b"METRIC a_s=" + output, head_bytes=head, dropped_bytes=head))
    assert len(note) < 300
    assert all(re.fullmatch("[a-z0-9_]{3,60}", name) and math.isfinite(value) for name, value in found.items())
