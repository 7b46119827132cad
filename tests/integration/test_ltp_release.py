"""A release of LTP that the pipeline names by address and SHA-256: the host fetches it, the machine builds and runs it.

The release is a small stand-in with LTP's own ways: configure, make, make install, runtest files, a program in C.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lisa_ci import files
from lisa_ci.model import Outcome, Result
from tests.doubles.openssh import sshd

LISA_CI = Path(sys.executable).with_name("lisa-ci")
PIPELINE = """\
name: ltp
access: {{user: {user}, way_in: key, key: {key}}}
profiles:
  - name: desk
    platform: ssh
    endpoint: {{host: 127.0.0.1, port: {port}, host_key: "{host_key}"}}
suites:
  - suite: ltp
    environment: {{LTP_RUNTEST: standin}}
    fetch:
      - {{name: ltp-full.tar.xz, url: "http://127.0.0.1:{server}/ltp-full-20260130.tar.xz", sha256: {sha256}}}
timeouts: {{boot: 60s, case: 60s, leg: 10m}}
"""
CONFIGURE = """\
#!/bin/sh
for word; do case $word in --prefix=*) echo "prefix = ${word#--prefix=}" >config.mk ;; esac; done
"""
MAKEFILE = """\
include config.mk
all: standin
standin: standin.c
\t$(CC) -o $@ $<
install: all
\tmkdir -p $(DESTDIR)$(prefix)/testcases/bin $(DESTDIR)$(prefix)/runtest
\tcp standin $(DESTDIR)$(prefix)/testcases/bin/
\tcp runtest/standin $(DESTDIR)$(prefix)/runtest/
"""
PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
int main(int argc, char **argv)
{
	const char *device = getenv("LTP_DEV");
	struct stat about;
	int good = argc < 2 || !device || (!stat(device, &about) && S_ISBLK(about.st_mode));
	const char *word = good ? "TPASS" : "TFAIL";
	printf("standin.c:9: %s: %s, factor %s\n", word, device ? device : "none", getenv("LTP_TIMEOUT_MUL"));
	printf("\nSummary:\npassed   %d\nfailed   %d\nbroken   0\nskipped  0\nwarnings 0\n", good, !good);
	return !good;
}
"""
RUNTEST = "#DESCRIPTION:Stand-ins\nplain standin\nneeds_device standin device\npiped standin | cat\n"


def release(**changed: str) -> bytes:
    """``ltp-full-20260130.tar.xz``."""
    contents = {
        "configure": CONFIGURE,
        "Makefile": MAKEFILE,
        "standin.c": PROGRAM,
        "runtest/standin": RUNTEST,
        **changed,
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as archive:
        for name, text in contents.items():
            entry = tarfile.TarInfo(f"ltp-full-20260130/{name}")
            entry.size, entry.mode = len(text), 0o755 if name == "configure" else 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()


class Quiet(SimpleHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        super().do_GET()

    def log_message(self, *_: object) -> None:
        return


# Whoever is not root, or in a container without loop devices, gets none; LTP's tests then make their own or skip.
HAS_LOOPS = os.geteuid() == 0 and Path("/dev/loop-control").exists()


class Desk:
    """This host as the machine, and a server that has a release."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "cache"

    def write(self, pipeline: str) -> None:
        (self.folder / "lisa-ci.yml").write_text(pipeline)

    def lisa_ci(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "LISA_CI_CACHE": str(self.cache)}
        return subprocess.run(
            [LISA_CI, *words],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def run(self) -> subprocess.CompletedProcess[str]:
        planned = self.lisa_ci("plan", "--out", "plan.json")
        assert planned.returncode == 0, planned.stderr
        return self.lisa_ci("run", "desk", "--plan", "plan.json", "--out", "results")

    def results(self) -> dict[str, Result]:
        return {result.case: result for result in files.read_journal(self.folder / "results/desk/journal.ndjson")}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[tuple[Desk, str, type[Quiet]]]:
    """The desk, its pipeline without a digest yet, and what was asked of the server."""
    (tmp_path / "served").mkdir()
    handler = type("Served", (Quiet,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tmp_path / "served")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sshd(tmp_path) as login:
        values = {"user": login.user, "key": login.key, "port": login.port, "host_key": login.host_key}
        pipeline = PIPELINE.format(**values, server=server.server_port, sha256="{sha256}")
        yield Desk(tmp_path), pipeline, handler
    server.shutdown()
    server.server_close()


def serve(desk: Desk, pipeline: str, data: bytes) -> None:
    (desk.folder / "served/ltp-full-20260130.tar.xz").write_bytes(data)
    desk.write(pipeline.replace("{sha256}", hashlib.sha256(data).hexdigest()))


def is_let_go(device: str) -> bool:
    """Whether the loop device has no file any more, within its holder's two seconds and some more."""
    backing = Path("/sys/block", Path(device).name, "loop/backing_file")
    deadline = time.monotonic() + 20
    while backing.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    return not backing.exists()


def test_a_pinned_release_is_fetched_once_built_and_run(desk: tuple[Desk, str, type[Quiet]]) -> None:
    here, pipeline, served = desk
    serve(here, pipeline, release())
    ran = here.run()
    assert ran.returncode == 0, ran.stderr
    assert {case: result.outcome for case, result in here.results().items()} == dict.fromkeys(
        ("plain", "needs_device", "piped"), Outcome.PASSED
    )
    device = here.results()["needs_device"].children[0].name.split(",")[0]
    assert device.startswith("/dev/loop" if HAS_LOOPS else "none")
    assert here.run().returncode == 0
    assert served.asked == ["/ltp-full-20260130.tar.xz"]
    assert is_let_go(device)  # with the suite's folder, on a machine that lives on


def test_a_release_with_other_bytes_is_never_used(desk: tuple[Desk, str, type[Quiet]]) -> None:
    here, pipeline, _ = desk
    serve(here, pipeline, release())
    (here.folder / "served/ltp-full-20260130.tar.xz").write_bytes(release(Makefile="all:\n\ttouch /tmp/owned\n"))
    ran = here.run()
    assert ran.returncode == 2
    assert "has the sha256" in ran.stderr
    assert not (here.folder / "results/desk/journal.ndjson").exists()


def test_a_release_that_does_not_compile_is_infrastructure_and_says_why(desk: tuple[Desk, str, type[Quiet]]) -> None:
    here, pipeline, _ = desk
    serve(here, pipeline, release(**{"standin.c": "int main(void) { return no_such_name; }\n"}))
    ran = here.run()
    assert ran.returncode == 4
    assert "the preparation of suite ltp ended with exit 1" in ran.stderr
    assert "no_such_name" in ran.stderr or "Error" in ran.stderr


def test_what_would_hide_a_file_of_the_suite_is_refused(desk: tuple[Desk, str, type[Quiet]]) -> None:
    here, pipeline, _ = desk
    here.write(pipeline.replace("{sha256}", "0" * 64).replace("name: ltp-full.tar.xz", "name: run"))
    told = here.lisa_ci("check")
    assert told.returncode == 2
    assert "the suite has a file 'run' of its own" in told.stderr + told.stdout
