"""Run workflows for real with act on this host, without Docker and without a network.

Every ``uses:`` of a public action is mapped to a stand-in; one without a stand-in fails the test before act starts.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
STANDINS = Path(__file__).parent / "actions"
COMMIT = "1234567890123456789012345678901234567890"
"""Where a workflow under test pins lisa-ci, and the commit that it runs for."""

PULL_REQUEST: Mapping[str, Any] = {
    "pull_request": {"number": 7, "head": {"ref": "topic", "sha": COMMIT}, "base": {"ref": "main"}}
}
"""The payload of the event."""

COMMAND = re.compile(r"^::(?P<name>[a-z-]+)(?: (?P<properties>.*?))?::(?P<data>.*)$")


@dataclass
class Annotation:
    level: str
    message: str
    properties: dict[str, str]


@dataclass
class ActRun:
    """What a workflow run left: per job its log lines and last result, annotations, outputs of steps, summaries."""

    exit: int = 0
    text: str = ""
    lines: dict[str, list[str]] = field(default_factory=dict)
    annotations: list[Annotation] = field(default_factory=list)
    steps: dict[tuple[str, str], str] = field(default_factory=dict)
    summaries: list[str] = field(default_factory=list)

    def job_failed(self, job: str) -> bool:
        return any(name == job and result == "failure" for (name, _), result in self.steps.items())

    def ran(self, job: str) -> bool:
        return any(name == job for name, _ in self.steps)


def used_actions(*files: Path) -> Iterator[str]:
    """Every ``uses:`` in the files that names another repository."""

    def walk(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            uses = value.get("uses")
            if isinstance(uses, str) and not uses.startswith("./"):
                yield uses
            for child in value.values():
                yield from walk(child)
        elif isinstance(value, list):
            for child in value:
                yield from walk(child)

    for file in files:
        yield from walk(yaml.safe_load(file.read_text()))


def run_act(
    caller: Path,
    workflow: str,
    *,
    event: str,
    payload: Mapping[str, Any],
    work: Path,
    repositories: Mapping[str, Path],
    environment: Mapping[str, str],
    secrets: Mapping[str, str] | None = None,
    attempt: int = 1,
    timeout_seconds: int = 900,
) -> ActRun:
    """Run one workflow of ``caller``. ``repositories`` maps OWNER/NAME to the folder that stands for it."""
    work.mkdir(parents=True, exist_ok=True)
    (work / "event.json").write_text(json.dumps(payload))
    checkouts = work / "repositories"
    for name, folder in repositories.items():
        (checkouts / name).parent.mkdir(parents=True, exist_ok=True)
        (checkouts / name).symlink_to(folder, target_is_directory=True)
    state = work / "state"
    state.mkdir()
    arguments: list[str | Path] = [
        Path(sys.executable).with_name("act"), event, "-C", caller, "-W", workflow, "--json",
        "-P", "ubuntu-24.04=-self-hosted", "--no-skip-checkout", "--no-cache-server", "--action-offline-mode",
        "--pull=false", "--container-daemon-socket", "-", "--secret-file", os.devnull, "--env-file", os.devnull,
        "--var-file", os.devnull, "--input-file", os.devnull, "-e", work / "event.json",
    ]  # fmt: skip
    settings = {
        "STANDIN_ARTIFACTS": str(work / "artifacts"),
        "STANDIN_REPOSITORIES": str(checkouts),
        "GITHUB_RUN_ATTEMPT": str(attempt),
        **environment,
    }
    arguments += [word for name, value in settings.items() for word in ("--env", f"{name}={value}")]
    arguments += [word for name, value in (secrets or {}).items() for word in ("-s", f"{name}={value}")]
    mapped: set[str] = set()
    workflows = [caller / workflow, *(ROOT / ".github/workflows").glob("*.yml"), ROOT / "action.yml"]
    for uses in used_actions(*workflows):
        owner_name, _, ref = uses.partition("@")
        repository = "/".join(owner_name.split("/")[:2])
        folder = repositories.get(repository) or STANDINS / repository.removeprefix("actions/")
        assert folder.is_dir(), f"{uses} has no stand-in: act would reach for the network"
        mapped.add(f"{repository}@{ref}={folder}")
    arguments += [word for each in sorted(mapped) for word in ("--local-repository", each)]
    nowhere = "http://127.0.0.1:9"
    finished = subprocess.run(
        arguments,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(state),
            "XDG_CACHE_HOME": str(state / "cache"),
            "XDG_CONFIG_HOME": str(state / "config"),
            "LANG": "C.UTF-8",
            "ACT_DISABLE_VERSION_CHECK": "1",
            "HTTPS_PROXY": nowhere,
            "HTTP_PROXY": nowhere,
            "NO_PROXY": "127.0.0.1,localhost",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=timeout_seconds,
        text=True,
        errors="replace",
        check=False,
    )
    shutil.rmtree(state, ignore_errors=True)
    return read_log(finished.returncode, finished.stdout + "\n" + finished.stderr)


def read_log(exit_code: int, text: str) -> ActRun:
    run = ActRun(exit=exit_code, text=text)
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        job = str(entry.get("job", "")).strip().rpartition("/")[2]
        command, raw = entry.get("command"), entry.get("raw")
        if entry.get("raw_output"):
            run.lines.setdefault(job, []).append(entry["msg"].rstrip())
        elif command == "summary":
            run.summaries.append(entry["content"])
        elif command in {"error", "warning", "notice"} and raw and (found := COMMAND.match(raw.rstrip())):
            given = dict(pair.split("=", 1) for pair in (found["properties"] or "").split(",") if "=" in pair)
            properties = {key: unescaped(value) for key, value in given.items()}
            run.annotations.append(Annotation(found["name"], unescaped(found["data"]), properties))
        elif entry.get("stepResult"):
            run.steps[job, "/".join(entry.get("stepID") or [entry.get("step", "")])] = entry["stepResult"]
    return run


def unescaped(text: str) -> str:
    """As the runner decodes: %25 last."""
    for code, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, character)
    return text
