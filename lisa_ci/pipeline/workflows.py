"""What goes wrong around a pipeline file: the workflows beside it that call lisa-ci.

Only what breaks a run, or weakens it, on GitHub is told, and only in workflows that call lisa-ci; linters such as
actionlint and zizmor say the rest. A mistake makes ``check`` fail, advice does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lisa_ci.errors import Problem
from lisa_ci.pipeline.document import MAX_BYTES, ListNode, MappingNode, Node, ScalarNode, parse_document

_CALL: Final = re.compile(r"[\w.-]+/[\w.-]+/\.github/workflows/(?P<which>pipeline|release)\.yml@(?P<ref>\S+)")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowFindings:
    """``mistakes`` break the run or its safety; ``advice`` is what its author will want to know."""

    mistakes: tuple[Problem, ...]
    advice: tuple[Problem, ...]


def check_workflows(folder: Path) -> WorkflowFindings:
    """Findings in ``folder``'s workflows (``.github/workflows/*.yml``) that call lisa-ci; none where there are none.

    PipelineError for a file that cannot be read as YAML at all.
    """
    mistakes: list[Problem] = []
    advice: list[Problem] = []
    places = folder / ".github/workflows"
    for path in sorted([*places.glob("*.yml"), *places.glob("*.yaml")]):
        with path.open("rb") as file:
            root, problems = parse_document(file.read(MAX_BYTES + 1), str(path))
        calls = list(_calls(root))
        if not calls or not isinstance(root, MappingNode):
            continue
        mistakes += problems
        found = _Workflow(root, calls)
        mistakes += found.mistakes()
        advice += found.advice()
    return WorkflowFindings(mistakes=tuple(mistakes), advice=tuple(advice))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """A job that calls one of our workflows."""

    name: str
    which: str
    ref: str
    uses: ScalarNode
    job: MappingNode


class _Workflow:
    def __init__(self, root: MappingNode, calls: list[_Call]) -> None:
        self._root = root
        self._calls = calls
        self._triggers = dict(_triggers(_get(root, "on")))

    def mistakes(self) -> Iterator[Problem]:
        if "pull_request_target" in self._triggers:
            yield _problem(
                self._triggers["pull_request_target"],
                "pull_request_target runs a stranger's image with this repository's secrets",
                "use pull_request",
            )
        for call in self._calls:
            yield from self._call_mistakes(call)

    def _call_mistakes(self, call: _Call) -> Iterator[Problem]:
        if call.ref == "0" * 40:
            yield _problem(
                call.uses, "the commit of lisa-ci is not filled in", "put the commit you trust behind the '@'"
            )
        permissions = _get(call.job, "permissions") or _get(self._root, "permissions")
        if isinstance(permissions, MappingNode) and _text(permissions, "contents") not in {"read", "write"}:
            yield _problem(
                permissions,
                f"job '{call.name}' may not read the repository",
                "give the job 'permissions: {contents: read}'",
            )
        secrets = _get(call.job, "secrets")
        if call.which == "release" and not (
            (isinstance(secrets, MappingNode) and _get(secrets, "signing-key") is not None) or _is(secrets, "inherit")
        ):
            yield _problem(call.uses, f"job '{call.name}' passes no signing-key", "pass it under 'secrets:'")
        yield from self._artifact_mistakes(call)

    def _artifact_mistakes(self, call: _Call) -> Iterator[Problem]:
        """The artifact a leg downloads has to be uploaded by a job that is over by then."""
        inputs = _get(call.job, "with")
        wanted = _get(inputs, "image-artifact") if isinstance(inputs, MappingNode) else None
        if not isinstance(wanted, ScalarNode) or not wanted.text or "${{" in wanted.text:
            return
        uploads = {name: job for name, job in _jobs(self._root) if wanted.text in set(_uploads(job))}
        if not uploads:
            yield _problem(wanted, f"no job uploads an artifact '{wanted.text}'", "upload the image in an earlier job")
        elif call.which == "pipeline" and not set(_needs(call.job)) & set(uploads):
            yield _problem(
                call.uses,
                f"job '{call.name}' does not wait for the job that uploads '{wanted.text}'",
                f"add 'needs: {next(iter(uploads))}'",
            )

    def advice(self) -> Iterator[Problem]:
        pull_request = self._triggers.get("pull_request")
        if pull_request is not None and "merge_group" not in self._triggers:
            yield _problem(
                pull_request,
                "without merge_group a merge queue waits for this gate for ever",
                "add 'merge_group:' beside pull_request",
            )
        filters = _get(pull_request, "paths") or _get(pull_request, "paths-ignore")
        if filters is not None:
            yield _problem(
                filters,
                "where no path fits, the gate never reports, and a required check waits for ever",
                "leave the filter out, or do not make the gate required",
            )
        for call in self._calls:
            if call.ref != "0" * 40 and not _COMMIT.fullmatch(call.ref):
                yield _problem(call.uses, f"'@{call.ref}' can be moved to other code", "pin a full commit")
            if call.which == "pipeline" and _is(_get(call.job, "secrets"), "inherit"):
                yield _problem(call.uses, "the pipeline needs no secrets", "leave out 'secrets: inherit'")
            if call.which == "release" and "releasable" not in (_text(call.job, "if") or ""):
                yield _problem(
                    call.uses,
                    f"job '{call.name}' starts even where nothing is proven, and then fails",
                    "add 'if: needs.JOB.outputs.releasable == 'true'', JOB being the one that calls pipeline.yml",
                )


# ---- reading the tree ----------------------------------------------------------------------------------------------


def _get(node: Node | None, key: str) -> Node | None:
    if not isinstance(node, MappingNode):
        return None
    return next((value for name, value in node.entries if name.text == key), None)


def _text(node: Node | None, key: str) -> str | None:
    value = _get(node, key)
    return value.text if isinstance(value, ScalarNode) else None


def _is(node: Node | None, text: str) -> bool:
    return isinstance(node, ScalarNode) and node.text == text


def _problem(node: Node, message: str, hint: str) -> Problem:
    return Problem(message=message, hint=hint, location=node.location)


def _jobs(root: Node | None) -> Iterator[tuple[str, MappingNode]]:
    jobs = _get(root, "jobs")
    if isinstance(jobs, MappingNode):
        yield from ((name.text, job) for name, job in jobs.entries if isinstance(job, MappingNode))


def _calls(root: Node | None) -> Iterator[_Call]:
    for name, job in _jobs(root):
        uses = _get(job, "uses")
        if isinstance(uses, ScalarNode) and (found := _CALL.fullmatch(uses.text)):
            yield _Call(name=name, which=found["which"], ref=found["ref"], uses=uses, job=job)


def _triggers(on: Node | None) -> Iterator[tuple[str, Node]]:
    match on:
        case ScalarNode():
            yield on.text, on
        case ListNode():
            yield from ((item.text, item) for item in on.items if isinstance(item, ScalarNode))
        case MappingNode():
            yield from ((name.text, value if isinstance(value, MappingNode) else name) for name, value in on.entries)
        case None:
            return


def _needs(job: MappingNode) -> Iterator[str]:
    match _get(job, "needs"):
        case ScalarNode(text=text):
            yield text
        case ListNode(items=items):
            yield from (item.text for item in items if isinstance(item, ScalarNode))
        case _:
            return


def _uploads(job: MappingNode) -> Iterator[str]:
    steps = _get(job, "steps")
    for step in steps.items if isinstance(steps, ListNode) else ():
        if (_text(step, "uses") or "").startswith("actions/upload-artifact@"):
            yield _text(_get(step, "with"), "name") or "artifact"
