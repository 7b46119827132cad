"""The one door: ``nox`` runs what CI runs, in the environment it is installed in (pip install -e '.[dev]')."""

from __future__ import annotations

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "generated", "fast", "real", "alone", "chaos"]

_REAL = ("pytest", "tests/contract", "tests/integration", "--durations=15")


@nox.session
def lint(session: nox.Session) -> None:
    """Style, import layers, shell scripts, workflows."""
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Strict types."""
    session.run("mypy")


@nox.session
def generated(session: nox.Session) -> None:
    """Generated files are fresh; ``nox -s generated -- write`` makes them so."""
    session.run("python", "-m", "tests.generate", *session.posargs)


@nox.session
def fast(session: nox.Session) -> None:
    """Tests that start nothing: under two minutes."""
    session.run("pytest", "tests/unit", "tests/golden", "tests/test_house.py", "-n", "2", *session.posargs)


@nox.session
def real(session: nox.Session) -> None:
    """Tests on real machines, act, OpenSSH, qemu-img, two files at a time: a missing tool is a failure."""
    two = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
    session.run(*_REAL, *two, "-m", "not alone and not field and not live", *session.posargs)


@nox.session
def alone(session: nox.Session) -> None:
    """The real tests that judge times, or need both processors themselves: one after the other."""
    session.run(*_REAL, "-m", "alone and not field and not live", *session.posargs)


@nox.session
def chaos(session: nox.Session) -> None:
    """Seeded faults at random moments; ``-- --runs 1000 --host-runs 200 --seed 0`` is the long run."""
    session.run("pytest", "tests/chaos", *session.posargs)


@nox.session
def field(session: nox.Session) -> None:
    """The real tests that take minutes each where QEMU emulates, beside the third of them that ``real`` has."""
    session.run("pytest", "tests/integration", "-m", "field", "--durations=15", *session.posargs)


@nox.session
def agreement(session: nox.Session) -> None:
    """Upstream's own runners, and two kernels, beside ours in real machines: half an hour where QEMU emulates."""
    session.run("pytest", "tests/agreement", *session.posargs)


@nox.session
def hardware(session: nox.Session) -> None:
    """Every suite about hardware on machines of QEMU, and the tables of docs/full-run.md (``-- --write``)."""
    session.run("python", "-m", "tests.hardware.run", *session.posargs)


@nox.session
def mutation(session: nox.Session) -> None:
    """Seeded wrong worlds: the case that claims it fails, the others do not. Needs root, and some of it QEMU."""
    session.run("pytest", "tests/mutation", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Side by side with the peers; see benchmarks/README.md."""
    session.run("python", "benchmarks/overhead.py", *session.posargs)


@nox.session
def lock(session: nox.Session) -> None:
    """Renew requirements.lock: every file that the action installs, with its hash."""
    session.run(
        *("uv", "pip", "compile", "pyproject.toml", ".github/action/build.in", "--extra", "azure", "--generate-hashes"),
        *("--universal", "--python-version", "3.11", "--no-header", "--no-annotate", "--no-emit-index-url"),
        *("-o", "requirements.lock"),
    )
