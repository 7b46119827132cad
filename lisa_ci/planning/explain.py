"""A plan in lines for people: every pair of profile and suite, in or out, with the reason."""

from __future__ import annotations

from lisa_ci.model import LeftOut, Plan


def explain(plan: Plan) -> str:
    """One line for each pair and each case left out, by ids (``profile/suite#case``), then notes and totals."""
    legs: dict[str, dict[str, list[str]]] = {}
    for leg in plan.legs:
        for task in leg.tasks:
            only = f" (only {', '.join(task.only)})" if task.only else ""
            legs.setdefault(leg.profile.name, {}).setdefault(f"{task.suite}{only}", []).append(leg.id)
    left_out: dict[str, list[LeftOut]] = {}
    for entry in plan.left_out:
        left_out.setdefault(entry.profile, []).append(entry)
    lines = []
    for profile in dict.fromkeys([*legs, *left_out]):
        for suite, ids in legs.get(profile, {}).items():
            lines.append(f"in   {profile}/{suite}: {', '.join(ids)}")
        for entry in left_out.get(profile, ()):
            case = f"#{entry.case}" if entry.case else ""
            lines.append(f"out  {profile}/{entry.suite}{case}: {entry.reason}")
    lines += [f"note {note}" for note in plan.notes]
    pairs = sum(len(suites) for suites in legs.values())
    outside = sum(entry.case is None for entry in plan.left_out)
    cases = len(plan.left_out) - outside
    legs_and_pairs = f"{counted(len(plan.legs), 'leg')}: {counted(pairs, 'pair')} in, {outside} out"
    lines.append(f"{legs_and_pairs}, {counted(cases, 'case')} left out")
    return "\n".join(lines) + "\n"


def counted(number: int, noun: str) -> str:
    """``1 leg``, ``2 legs``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
