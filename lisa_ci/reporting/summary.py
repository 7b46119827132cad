"""The job's summary page: the verdict first, then why, then what a person needs for each failure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from lisa_ci.github.limits import SUMMARY_TARGET_BYTES
from lisa_ci.github.outputs import cut_markdown
from lisa_ci.model import Leg, Outcome, Plan, Reason, Verdict
from lisa_ci.reporting import figures, receipts
from lisa_ci.reporting.highlights import Comeback, Highlight, Highlights, Said
from lisa_ci.reporting.markdown import block, cell, code, table
from lisa_ci.reporting.reasons import OF_CASES, Kind
from lisa_ci.reporting.words import headline

_LEFT_OUT: Final = 100
_SAID: Final = 20
_HEADING: Final = {
    Kind.CRASHED: "Crashed",
    Kind.FAILED: "Failed",
    Kind.ERRORED: "Not judged",
    Kind.LOST: "Lost to infrastructure",
}


def summary(plan: Plan, verdict: Verdict, highlights: Highlights) -> str:
    """Markdown of less than 1 MiB. Nothing in it that came from a machine is read as Markdown or HTML."""
    sections = (
        _verdict(verdict),
        _why(verdict),
        _legs(plan, verdict),
        _attempts(highlights),
        *(_failures(kind, highlights) for kind in _HEADING),
        _said([one for one in highlights.said() if not one.allowed]),
        _comebacks(highlights.comebacks()),
        receipts.section(highlights.receipts()),
        figures.section(highlights.figures.kept, highlights.figures.dropped),
        _allowed([one for one in highlights.said() if one.allowed], highlights.dropped),
        _skips(highlights),
        _left_out(plan),
        _subject(plan, verdict),
    )
    text = "\n\n".join(body for section in sections if (body := "\n".join(section)))
    return cut_markdown(text + "\n", SUMMARY_TARGET_BYTES)


def _verdict(verdict: Verdict) -> Iterator[str]:
    sign = "✅" if verdict.passed else "❌"
    told = headline(verdict).removeprefix(verdict.name).lstrip()
    yield f"## {sign} {code(verdict.name)} {told}"
    if verdict.reasons and all(reason.is_infrastructure for reason in verdict.reasons):
        yield "\nThe image was **not judged in full**: every reason is about infrastructure, and a retry may help."
        yield "Re-run the failed jobs: only what has no proof runs again."
    yield from (f"\n> {code(note)}" for note in (*_blocks(verdict), *verdict.notes))


def _blocks(verdict: Verdict) -> Iterator[str]:
    return (f"not for release: {block}" for block in verdict.blocks)


def _why(verdict: Verdict) -> Iterator[str]:
    told = [reason for reason in verdict.reasons if reason.kind not in OF_CASES]
    if not told:
        return
    yield "### Why the gate is shut\n"
    for reason in told:
        yield f"- {_reason(reason)}"


def _reason(reason: Reason) -> str:
    sign = "⚠️" if reason.is_infrastructure else "❌"
    where = "".join(f" {code(part)}" for part in (reason.leg, reason.case) if part)
    return f"{sign} **{reason.kind.replace('-', ' ')}**{where}: {code(reason.message, 600)}"


def _legs(plan: Plan, verdict: Verdict) -> Iterator[str]:
    if not plan.legs:
        return
    # The image's fault hides the world's: a leg with both is red.
    signs = {reason.leg: "⚠️" for reason in verdict.reasons if reason.is_infrastructure}
    signs |= {reason.leg: "❌" for reason in verdict.reasons if not reason.is_infrastructure}
    yield "### Legs\n"
    head = ("", "leg", "hardware", "suites", *(f"{outcome}:" for outcome in Outcome))
    yield from table(head, (_leg(leg, verdict, signs.get(leg.id, "✅")) for leg in plan.legs))


def _leg(leg: Leg, verdict: Verdict, sign: str) -> tuple[str, ...]:
    counts = verdict.legs.get(leg.id, {})
    suites = ", ".join(dict.fromkeys(task.suite for task in leg.tasks))
    return (sign, cell(leg.id), cell(_hardware(leg)), cell(suites), *(str(counts.get(name, 0)) for name in Outcome))


def _hardware(leg: Leg) -> str:
    profile = leg.profile
    buses = Counter(disk.bus.value for disk in profile.disks)
    disks = [f"{count} {bus} disk{'' if count == 1 else 's'}" for bus, count in buses.items()]
    nics = [f"{1 + len(profile.nics)} NICs"] if profile.nics else []
    size = f"{profile.cores} cores, {profile.memory_mib} MiB"
    return ", ".join([f"{profile.platform} {profile.arch} {profile.firmware}", size, *disks, *nics])


def _attempts(highlights: Highlights) -> Iterator[str]:
    carried = highlights.carried()
    if carried:
        told = ", ".join(f"{code(leg)} {count}" for leg, count in list(carried.items())[:_LEFT_OUT])
        yield f"Cases proven by an earlier attempt, and not run again: {told}"


def _failures(kind: Kind, highlights: Highlights) -> Iterator[str]:
    shown = highlights.of(kind)
    if not shown:
        return
    yield f"### {_HEADING[kind]}: {highlights.count(kind)}"
    for highlight in shown:
        yield from _failure(highlight)
    rest = highlights.count(kind) - len(shown)
    if rest:
        yield f"\n*{rest} more are in the report's `junit.xml`.*"


def _failure(one: Highlight) -> Iterator[str]:
    mark = "⚠️" if one.kind is Kind.LOST else "❌"
    yield f"\n#### {mark} {code(one.key)} on {code(one.leg)}\n"
    yield from (f"{code(text, 500)}\n" for text in (one.title, one.message) if text)
    told = (("machine lost by", one.loss), ("the console said", one.said), ("note", one.note))
    yield from (f"{what}: {code(text)}\n" for what, text in told if text)
    if one.mend:
        yield f"to mend it: {code(one.mend, 500)}\n"
    if one.file:
        yield f"at {code(one.file if one.line is None else f'{one.file}:{one.line}')}\n"
    if one.excerpt:
        yield block(one.excerpt)
    yield block(one.reproduce, "sh").rstrip("\n")


def _said(said: Sequence[Said]) -> Iterator[str]:
    if not said:
        return
    yield "### On the console, while no case ran\n"
    for one in said[:_SAID]:
        yield f"- {code(one.title)} on {code(one.leg)}: {code(one.category)}, fingerprint {code(one.fingerprint)}\n"
        if one.text:
            yield block(one.text)
    if len(said) > _SAID:
        yield f"*{len(said) - _SAID} more are in the legs' `run.json`.*"


def _comebacks(comebacks: Sequence[Comeback]) -> Iterator[str]:
    if not comebacks:
        return
    count = sum(one.count for one in comebacks)
    yield f"<details><summary>Machines brought back: {count} time{'' if count == 1 else 's'}</summary>\n"
    rows = [
        (cell(one.leg), cell(why), cell(case) if case else "", cell(method), f"{seconds:.1f}")
        for one in comebacks
        for why, case, method, seconds in one.first
    ]
    yield from table(("leg", "why", "after case", "how", "seconds:"), rows[:_LEFT_OUT])
    rest = count - len(rows[:_LEFT_OUT])
    if rest:
        yield f"\n*{rest} more are in the legs' `run.json`.*"
    yield "\n</details>"


def _allowed(said: Sequence[Said], dropped: int) -> Iterator[str]:
    if not said and not dropped:
        return
    yield f"<details><summary>Allowed on the console: {len(said)}</summary>\n"
    rows = (
        (cell(one.leg), cell(one.case) if one.case else "", cell(one.title), cell(one.fingerprint), cell(one.allowed))
        for one in said[:_LEFT_OUT]
    )
    yield from table(("leg", "case", "what", "fingerprint", "allowed because"), rows)
    rest = max(len(said) - _LEFT_OUT, 0) + dropped
    if rest:
        yield f"\n*{rest} more findings of consoles are in the legs' files.*"
    yield "\n</details>"


def _skips(highlights: Highlights) -> Iterator[str]:
    skips = highlights.skips()
    if not skips:
        return
    yield f"<details><summary>Skipped: {highlights.skipped()}</summary>\n"
    yield from table(
        ("cases:", "suite", "reason"), ((str(count), cell(suite), cell(why)) for suite, why, count in skips)
    )
    yield "\n</details>"


def _left_out(plan: Plan) -> Iterator[str]:
    if not plan.left_out:
        return
    yield f"<details><summary>Left out of the plan: {len(plan.left_out)}</summary>\n"
    rows = (
        (cell(one.profile), cell(one.suite if one.case is None else f"{one.suite}#{one.case}"), cell(one.reason))
        for one in plan.left_out[:_LEFT_OUT]
    )
    yield from table(("profile", "what", "why"), rows)
    if len(plan.left_out) > _LEFT_OUT:
        yield f"\n*{len(plan.left_out) - _LEFT_OUT} more are in `plan.json`.*"
    yield "\n</details>"


def _subject(plan: Plan, verdict: Verdict) -> Iterator[str]:
    image, kernel = plan.subject.image, plan.subject.kernel
    yield "<details><summary>What was tested</summary>\n"
    if image is not None:
        yield f"- image {code(image.path)} ({image.format}), {image.size_bytes >> 20} MiB"
        yield f"- disk digest `sha256:` {code(image.disk_digest)}"
    if plan.subject.cloud is not None:
        yield f"- image {code(plan.subject.cloud.name)} of {plan.subject.cloud.platform}: named, not held"
    if kernel is not None:
        yield f"- foreign kernel {code(kernel.path)}, digest {code(kernel.digest)}"
    yield f"- plan digest {code(verdict.plan_digest)}"
    yield "\n</details>"
