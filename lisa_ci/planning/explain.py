"""A plan in lines for people: every pair of profile and suite, in or out, with the reason."""

from __future__ import annotations

from collections.abc import Iterator

from lisa_ci.model import LeftOut, Plan, Task

_Pair = tuple[str, str]


def explain(plan: Plan) -> str:
    """One line for each pair and each case left out, by ids (``profile/suite#case``), then notes and totals."""
    legs: dict[_Pair, list[tuple[str, Task]]] = {}
    for leg in plan.legs:
        for task in leg.tasks:
            legs.setdefault((leg.profile.name, task.suite), []).append((leg.id, task))
    left_out: dict[_Pair, list[LeftOut]] = {}
    for entry in plan.left_out:
        left_out.setdefault((entry.profile, entry.suite), []).append(entry)
    lines: list[str] = []
    for profile in dict.fromkeys(profile for profile, _ in (*legs, *left_out)):
        for suite in plan.suites:
            pair = (profile, suite.name)
            lines += _lines(pair, legs.get(pair, []), left_out.get(pair, []))
    lines += [f"note {note}" for note in plan.notes]
    outside = sum(entry.case is None for entry in plan.left_out)
    totals = f"{counted(len(plan.legs), 'leg')}: {counted(len(legs), 'pair')} in, {outside} out"
    lines.append(f"{totals}, {counted(len(plan.left_out) - outside, 'case')} left out")
    return "\n".join(lines) + "\n"


def _lines(pair: _Pair, legs: list[tuple[str, Task]], left_out: list[LeftOut]) -> Iterator[str]:
    name = "/".join(pair)
    if legs:
        only = legs[0][1].only
        selected = f" (only {', '.join(only)})" if only else ""
        yield f"in   {name}: {', '.join(leg_id for leg_id, _ in legs)}{selected}"
    for entry in left_out:
        case = f"#{entry.case}" if entry.case else ""
        yield f"out  {name}{case}: {entry.reason}"


def counted(number: int, noun: str) -> str:
    """``1 leg``, ``2 legs``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
