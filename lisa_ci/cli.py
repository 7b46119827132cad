"""Arguments and environment in, exit code out: the one place that ends the process and shows errors.

A command's module is imported when the command is used, so that ``lisa-ci --help`` stays as light as click itself.
"""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys
import tempfile
import traceback
from contextlib import suppress
from types import FrameType
from typing import Final

import click

from lisa_ci import __version__
from lisa_ci.errors import LisaCiError, StorageError
from lisa_ci.signals import signals_held

_COMMANDS: Final = {
    "archive": "keep what runs left in Azure Blob Storage or a folder, and ask it questions",
    "azure": "say which sizes of a profile serve, and check what would be sent",
    "baseline": "write the file of known failures from results",
    "check": "say whether a pipeline file (and the workflows beside it) is right",
    "compare": "hold the results of two runs side by side",
    "demo": "everything, end to end, on a small Debian image",
    "doctor": "say what this host lacks, and install it on request",
    "init": "write a pipeline file and workflows into a repository",
    "pack": "put an image into the containers of a release",
    "plan": "make the plan, and the matrix of its legs",
    "publish": "publish a release that verifies",
    "report": "judge the results against the plan: JUnit, summary, annotations, gate",
    "run": "run one leg of a plan",
    "schema": "print the JSON Schema of the pipeline file",
    "shell": "start a machine of a profile and give a prompt in it",
    "sign": "sign a release whose evidence proves it",
    "suite": "list, show and check suites",
    "sweep": "remove what dead runs left on this host",
    "verify": "verify a release offline, with a key from outside it",
}
_UNEXPECTED: Final = 70
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


class _Commands(click.Group):
    """The commands, each loaded from ``lisa_ci.commands`` when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        with signals_held():  # the import system drops an interrupt that meets one of its callbacks
            command: click.Command = importlib.import_module(f"lisa_ci.commands.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name]) for name in self.list_commands(ctx)])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib  # noqa: PLC0415 - only a typing mistake needs it

            close = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            raise click.UsageError(error.message.rstrip(".") + hint, ctx) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="lisa-ci")
@click.option(
    "--log",
    type=click.Choice(["auto", "live", "plain", "github", "json"]),
    default="auto",
    show_default=True,
    help="How progress is told on stderr; auto knows terminals and GitHub.",
)
@click.option("--verbose", "-v", is_flag=True, help="Tell details as well.")
@click.pass_context
def cli(ctx: click.Context, log: str, verbose: bool) -> None:
    """Turn a Linux distribution's repository into a CI pipeline.

    Boot the image on every hardware profile, run its suites, judge the results, sign and publish what was tested.
    """
    from lisa_ci.console import Console  # noqa: PLC0415 - keeps --help light

    ctx.obj = ctx.with_resource(Console.open(log, verbose=verbose))


def main() -> None:
    """Run the command line and exit: the table of exit codes is in docs/exit-codes.md."""
    signal.signal(signal.SIGTERM, _terminate)
    with suppress(BrokenPipeError):
        sys.exit(_run())
    # Whoever read our output has gone (``lisa-ci plan | head``): nothing more to say, to nobody.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


def _run() -> int:
    try:
        result = cli.main(standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except LisaCiError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; everything this run created is removed", err=True)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno not in _FULL:
            return _our_bug(error)
        click.echo(str(StorageError.of(error.filename or "a file", error).problems[0]), err=True)
        return StorageError.exit_code
    except Exception as error:  # noqa: BLE001 - the one boundary: our bug, told with the place of its traceback
        return _our_bug(error)


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    """SIGTERM unwinds the stack like an exception, so that every ``with`` cleans up."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + signal.SIGTERM)


def _our_bug(error: Exception) -> int:
    text = "".join(traceback.format_exception(error))
    place = ""
    with suppress(OSError):
        descriptor, place = tempfile.mkstemp(prefix="lisa-ci-bug-", suffix=".log")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
            file.write(f"lisa-ci {__version__}, {' '.join(sys.argv)}\n{text}")
    click.echo(text, err=True)
    click.echo(f"error: this is a bug in lisa-ci; please report it with {place or 'the lines above'}", err=True)
    return _UNEXPECTED


if __name__ == "__main__":
    main()
