"""``lisa-ci run`` as people call it, against a machine that can be made to fail: a folder and a pipeline of one leg."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from lisa_ci import files
from lisa_ci.model import Result
from lisa_ci.ssh import make_key
from tests.doubles.faulty_server import Fault, FaultyServer, Told
from tests.doubles.small_world import SmallWorld

PROGRAM = Path(sys.executable).with_name("lisa-ci")
_PIPELINE = """\
name: far
access: {{user: root, way_in: key, key: {key}}}
profiles:
  - name: desk
    platform: ssh
    endpoint: {{host: 127.0.0.1, port: {port}, host_key: "{host_key}"}}
suites: [{{suite: ./s}}]
timeouts: {{boot: 10s, case: 6s, leg: 60s, silence: 5s}}
"""


class FarDesk:
    """``cases`` maps a case's id to its shell line; without any, ``listing`` is a shell line that lists them."""

    def __init__(
        self,
        folder: Path,
        cases: Mapping[str, str],
        *,
        told: Told,
        faults: list[Fault] | None = None,
        seed: int = 0,
        listing: str = "",
    ) -> None:
        self.folder = folder
        self.leg = folder / "results" / "desk"
        keys = (make_key(folder, "host"), make_key(folder, "client"))
        self.world = SmallWorld(folder / "machine")
        self.server = FaultyServer(self.world, keys, faults or [], random.Random(seed), told)
        (folder / "s").mkdir()
        listed = [{"id": name, "run": ["sh", "-c", line]} for name, line in cases.items()]
        suite = {
            "schema": 1,
            "name": "s",
            "description": "A suite for tests.",
            "driver": "shell",
            "environment": {"TRUTH": str(folder / "truth")},
            **({"listing": ["sh", "-c", listing]} if listing else {"cases": listed}),
        }
        (folder / "s/suite.yaml").write_text(json.dumps(suite))
        (folder / "lisa-ci.yml").write_text(
            _PIPELINE.format(key=keys[1].private, port=self.server.port, host_key=keys[0].public)
        )

    def __enter__(self) -> Self:
        self.world.boot()
        self.server.__enter__()
        finished = self.lisa_ci("plan", "--out", "plan.json")
        assert finished.returncode == 0, finished.stderr
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.__exit__(kind, error, trace)

    def command(self, *arguments: str) -> list[str]:
        return [str(PROGRAM), *arguments]

    @property
    def run_command(self) -> list[str]:
        return self.command("run", "desk", "--plan", "plan.json", "--out", "results")

    def lisa_ci(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.call(self.command(*arguments))

    def call(
        self, command: list[str], environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=120,
            check=False,
            env={**os.environ, **(environment or {})},
        )

    def start(self) -> subprocess.Popen[bytes]:
        """``lisa-ci run`` in the background."""
        return subprocess.Popen(
            # Tests that a shell started in the background ignore SIGINT, and so would their children.
            ["env", "--default-signal=INT", *self.run_command],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "stderr").open("wb"),
            start_new_session=True,
        )

    def results(self) -> list[Result]:
        return list(files.read_journal(self.leg / "journal.ndjson"))
