"""``lisa-ci schema``: what a pipeline or suite file may say, for editors and for readers."""

from __future__ import annotations

import click

from lisa_ci.errors import PipelineError
from lisa_ci.pipeline.reference import TABLES, markdown, schema_json


@click.command
@click.argument("what", type=click.Choice([*TABLES, "profiles"]), default="pipeline")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the reference page instead.")
def command(what: str, as_markdown: bool) -> None:
    """Print the JSON Schema (Draft 2020-12) of the pipeline file or of a suite file.

    An editor with a YAML language server uses it by a first line `# yaml-language-server: $schema=FILE`.
    """
    if what not in TABLES and not as_markdown:
        raise PipelineError("the catalogue of profiles has no schema", hint="add --markdown for its page")
    click.echo(markdown(what) if as_markdown else schema_json(what), nl=False)
