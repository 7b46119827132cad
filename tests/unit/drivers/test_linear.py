"""What a driver costs grows with the output, not faster: counted, not timed by the clock on the wall.

Three counts over outputs of 1, 2 and 4 sizes: lines of Python that are executed; bytes that are allocated at once; and,
because a regular expression is one step to Python however long it takes, processor time over lines made to be hard.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

import pytest

from lisa_ci import registry
from lisa_ci.model import Case, Completed, Outcome, Result
from lisa_ci.protocols import Driver

CASE: Final = Case(suite="s", id="c")
SIZES: Final = (1, 2, 4)
OURS = "lisa_ci"  # in the path of what is counted
UNIT: Final = 120  # tests in an output of size 1


def tap(count: int) -> str:
    lines = [f"# before {n}\n{'not ' if n % 3 == 0 else ''}ok {n} - test {n} # SKIP why\n" for n in range(1, count + 1)]
    return f"TAP version 14\n1..{count}\n" + "".join(lines)


def nested(count: int) -> str:
    inner = "".join(f"    # note\n    {'not ' if n % 5 == 0 else ''}ok {n} inner\n" for n in range(1, 11))
    outer = [f"    # Subtest: suite{n}\n    1..10\n{inner}ok {n} suite{n}\n" for n in range(1, count // 10 + 1)]
    return f"KTAP version 1\n1..{count // 10}\n" + "".join(outer)


def deep(count: int) -> str:
    return "".join(f"{'    ' * (n % 40)}ok {n} deep\n" for n in range(count))


def yaml_blocks(count: int) -> str:
    return "".join(f"not ok {n} x\n  ---\n  message: m\n  file: a.c\n  line: {n}\n  ...\n" for n in range(count))


def unclosed_blocks(count: int) -> str:
    return "".join(f"not ok {n} x\n  ---\n  message: m\n" for n in range(count))


def kernel_log(count: int) -> str:
    return "".join(f"[{n:5}.000001] ok {n} - from the log\n[{n:5}.000002] usb 1-1: new\n" for n in range(count))


def ltp(count: int) -> str:
    lines = [f"a.c:{n}: {'TFAIL' if n % 4 == 0 else 'TPASS'}: said {n}\nold 1 TPASS : x\n" for n in range(count)]
    return "".join(lines) + f"\nSummary:\npassed   {count}\nfailed   0\nbroken   0\nskipped  0\nwarnings 0\n"


def gtest(count: int) -> str:
    body = "".join(
        f"[ RUN      ] S.T{n}\na.cc:{n}: Failure\nExpected: x\n[  FAILED  ] S.T{n} (0 ms)\n" for n in range(count)
    )
    return f"[==========] Running {count} tests from 1 test suite.\n{body}[  FAILED  ] {count} tests, listed below:\n"


def junit(count: int) -> str:
    cases = "".join(f'<testcase name="t{n}"><failure message="m">text</failure></testcase>' for n in range(count))
    return f'<testsuites><testsuite name="s" tests="{count}" failures="{count}">{cases}</testsuite></testsuites>'


def noise(count: int) -> str:
    return "".join(f"line {n} of a program that talks\n" for n in range(count))


SAMPLES: Final[dict[str, tuple[Callable[[int], str], ...]]] = {
    "shell": (noise,),
    "tap": (tap, nested, deep, yaml_blocks, unclosed_blocks, kernel_log, noise),
    "kselftest": (tap, nested, deep, yaml_blocks, unclosed_blocks, noise),
    "ktap": (tap, nested, deep, unclosed_blocks, kernel_log, noise),
    "ltp": (ltp, noise),
    "gtest": (gtest, noise),
    "junit": (junit, noise),
}
PAIRS: Final = [(name, sample) for name, samples in SAMPLES.items() for sample in samples]
IDS: Final = [f"{name}-{sample.__name__}" for name, sample in PAIRS]


def completed(text: str) -> Completed:
    return Completed(exit=1, output=text.encode())


def lines_executed(driver: Driver, text: str) -> int:
    """Lines of our own code (a library's reading of JUnit has its own tests)."""
    count = 0

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        if OURS not in frame.f_code.co_filename:
            return None
        count += event == "line"
        return trace

    given = completed(text)
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        driver.interpret(CASE, given)
    finally:
        sys.settrace(before)
    return count


def bytes_at_once(driver: Driver, text: str) -> int:
    given = completed(text)
    tracemalloc.start()
    try:
        driver.interpret(CASE, given)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_every_driver_is_looked_at() -> None:
    assert SAMPLES.keys() == registry.known().drivers


@pytest.mark.parametrize(("name", "sample"), PAIRS, ids=IDS)
def test_the_lines_of_code_grow_as_the_output_does(name: str, sample: Callable[[int], str]) -> None:
    driver = registry.driver(name)
    one, two, four = (lines_executed(driver, sample(UNIT * size)) for size in SIZES)
    assert four - two <= 2.1 * (two - one) + 200  # the second doubling adds twice what the first did
    assert four <= 4.2 * one + 200


class LooksBack:
    """For each line it looks at all before: what must not go unnoticed."""

    def interpret(self, case: Case, completed: Completed) -> Result:
        lines = completed.output.splitlines()
        same = 0
        for number in range(len(lines)):
            for earlier in range(number):
                same += lines[earlier] == lines[number]
        return Result(suite=case.suite, case=case.id, outcome=Outcome.PASSED, message=str(same))


def test_the_count_sees_a_driver_that_looks_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "OURS", __file__)
    one, two, four = (lines_executed(LooksBack(), noise(UNIT * size)) for size in SIZES)  # type: ignore[arg-type]
    assert four - two > 2.1 * (two - one) + 200
    assert four > 4.2 * one + 200


@pytest.mark.parametrize(("name", "sample"), PAIRS, ids=IDS)
def test_the_memory_grows_as_the_output_does(name: str, sample: Callable[[int], str]) -> None:
    driver = registry.driver(name)
    bytes_at_once(driver, sample(UNIT))  # whatever is loaded once
    one, four = bytes_at_once(driver, sample(UNIT)), bytes_at_once(driver, sample(4 * UNIT))
    assert four <= 4.5 * one + 65_536


def test_the_sub_tests_that_are_kept_have_an_end() -> None:
    driver = registry.driver("tap")
    few, many = (bytes_at_once(driver, tap(count)) for count in (10_500, 13_000))
    # Beyond 10,000 sub-tests only the text itself grows.
    grown = len(tap(13_000)) - len(tap(10_500))
    assert many - few <= 3 * grown + (1 << 19)


HARD: Final = {
    "blanks": lambda size: " " * size,
    "hashes": lambda size: "# " * (size // 2),
    "digits": lambda size: "1" * size,
    "an endless name": lambda size: "not ok 1 " + "a " * (size // 2),
    "backslashes": lambda size: "ok 1 " + "\\\\# " * (size // 4) + "# SKI",
    "stamps": lambda size: "[    1.000000] " * (size // 15),
    "colons": lambda size: "a.c:1: " * (size // 7),
    "old LTP": lambda size: "name 1 TPASS " * (size // 13),
    "brackets": lambda size: "[  FAILED  ] " * (size // 13),
    "dots": lambda size: "1.." * (size // 3),
    "tabs and blanks": lambda size: "x" + " \t" * (size // 2) + "x",
    "escapes": lambda size: "\x1b[1;" * (size // 4),
    "dashes": lambda size: "ok 1 " + "-" * size,
    "open XML": lambda size: "<a " + 'b="c" ' * (size // 6),
}
LINE: Final = 40_000  # characters of a hard line of size 1


@pytest.mark.parametrize("name", sorted(SAMPLES))
@pytest.mark.parametrize("hard", HARD, ids=lambda hard: str(hard).replace(" ", "-"))
def test_no_regular_expression_is_slow_on_a_line_made_for_it(name: str, hard: str) -> None:
    """Four times the line takes sixteen times as long where an expression tries every end for every start."""
    driver, make = registry.driver(name), HARD[hard]

    def seconds(size: int) -> float:
        given = completed(make(size))
        taken = []
        for _ in range(3):
            began = time.process_time()
            driver.interpret(CASE, given)
            taken.append(time.process_time() - began)
        return min(taken)

    assert seconds(4 * LINE) <= 8 * seconds(LINE) + 0.05
