from __future__ import annotations

from lisa_ci.model import Outcome, Result
from lisa_ci.reporting.figures import LIMIT, Figures, section


def measured(case: str = "tcp", **metrics: float) -> Result:
    return Result(suite="performance", case=case, outcome=Outcome.PASSED, metrics=metrics)


def page(figures: Figures) -> str:
    return "\n".join(section(figures.kept, figures.dropped))


def test_a_figure_has_its_spread_beside_it() -> None:
    figures = Figures()
    figures.take("bios", measured(loopback_tcp_mbit_per_s=812.5, loopback_tcp_spread_percent=3.25))
    text = page(figures)
    assert "<summary>Measured: 1</summary>" in text
    assert "performance#tcp" in text
    assert "loopback_tcp_mbit_per_s" in text
    assert "| 812.5 | 3.25 |" in text
    assert "spread_percent" not in text


def test_the_spread_with_the_longest_name_that_fits_is_a_figures_own() -> None:
    figures = Figures()
    figures.take(
        "bios", measured(read_ns=1, read_again_ns=2, read_spread_percent=5, read_again_spread_percent=6, write_ns=3)
    )
    assert {one.name: one.spread for one in figures.kept} == {"read_ns": 5, "read_again_ns": 6, "write_ns": None}


def test_without_figures_there_is_no_section() -> None:
    figures = Figures()
    figures.take("bios", measured())
    assert page(figures) == ""


def test_figures_without_end_are_counted_and_names_are_nothing_but_text() -> None:
    figures = Figures()
    for number in range(LIMIT + 5):
        figures.take("bios", measured(f"<b>|{number}", **{"a|b<script>_ns": float(number)}))
    text = page(figures)
    assert len(figures.kept) == LIMIT
    assert "*5 more figures are in the legs' files.*" in text
    assert {line.count("|") for line in text.splitlines() if line.startswith("|")} == {6}
    assert "`a\u00a6b<script>_ns`" in text  # a code span, in which nothing is HTML and no bar ends a cell
