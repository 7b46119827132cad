"""The job's summary page: the verdict first, then why, then what a person needs for each failure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from lisa_ci.github.limits import SUMMARY_TARGET_BYTES
from lisa_ci.github.outputs import cut_markdown
from lisa_ci.model import Leg, Outcome, Plan, Reason, Verdict
from lisa_ci.reporting.findings import Finding, Findings
from lisa_ci.reporting.markdown import block, cell, code, table
from lisa_ci.reporting.reasons import Kind
from lisa_ci.reporting.words import headline

_LEFT_OUT: Final = 100
_TOLD_BY_FINDINGS: Final = frozenset({Kind.FAILED, Kind.ERRORED})
_MARK: Final = {Outcome.FAILED: "❌", Outcome.ERRORED: "⚠️"}
_HEADING: Final = {Outcome.FAILED: "Failed", Outcome.ERRORED: "Not judged"}


def summary(plan: Plan, verdict: Verdict, findings: Findings) -> str:
    """Markdown of less than 1 MiB. Nothing in it that came from a machine is read as Markdown or HTML."""
    sections = (
        _verdict(verdict),
        _why(verdict),
        _legs(plan, verdict),
        _failures(Outcome.FAILED, findings),
        _failures(Outcome.ERRORED, findings),
        _skips(findings),
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
    yield from (f"\n> {code(note)}" for note in verdict.notes)


def _why(verdict: Verdict) -> Iterator[str]:
    told = [reason for reason in verdict.reasons if reason.kind not in _TOLD_BY_FINDINGS]
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


def _failures(outcome: Outcome, findings: Findings) -> Iterator[str]:
    shown = findings.of(outcome)
    if not shown:
        return
    yield f"### {_HEADING[outcome]}: {findings.count(outcome)}"
    for finding in shown:
        yield from _failure(finding)
    rest = findings.count(outcome) - len(shown)
    if rest:
        yield f"\n*{rest} more are in the report's `junit.xml`.*"


def _failure(finding: Finding) -> Iterator[str]:
    yield f"\n#### {_MARK[finding.outcome]} {code(finding.key)} on {code(finding.leg)}\n"
    yield from (f"{code(text, 500)}\n" for text in (finding.title, finding.message) if text)
    if finding.file:
        yield f"at {code(finding.file if finding.line is None else f'{finding.file}:{finding.line}')}\n"
    if finding.excerpt:
        yield block(finding.excerpt)
    yield block(finding.reproduce, "sh").rstrip("\n")


def _skips(findings: Findings) -> Iterator[str]:
    skips = findings.skips()
    if not skips:
        return
    yield f"<details><summary>Skipped: {findings.count(Outcome.SKIPPED)}</summary>\n"
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
    if kernel is not None:
        yield f"- foreign kernel {code(kernel.image)}, digest {code(kernel.digest)}"
    yield f"- plan digest {code(verdict.plan_digest)}"
    yield "\n</details>"
