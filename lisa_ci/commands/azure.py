"""``lisa-ci azure``: which sizes of a profile serve, and whether what would be sent is right. Asks nobody."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

import click

from lisa_ci import files, registry
from lisa_ci.console import Console
from lisa_ci.errors import PipelineError, Problem, ProvisioningError
from lisa_ci.events import Level, Message
from lisa_ci.model import AZURE, Profile
from lisa_ci.pipeline import all_profiles, load_pipeline
from lisa_ci.pipeline.places import read_source
from lisa_ci.planning import counted
from lisa_ci.platforms.azure import legs, retirement, static
from lisa_ci.platforms.azure.prices import Prices, read_prices
from lisa_ci.platforms.azure.quota import Quota, read_usage
from lisa_ci.platforms.azure.sizes import Candidate, Offers, compare
from lisa_ci.platforms.azure.skus import read_skus, shipped_skus

DEFAULT_FILE: Final = Path("lisa-ci.yml")
_LIMIT: Final = 256 << 20  # Azure's list of all sizes in all regions has some 60 MiB
_FILE: Final = click.Path(path_type=Path, dir_okay=False)


@click.group("azure", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Ask about profiles on Azure, without an account."""


# ---- sizes ---------------------------------------------------------------------------------------------------------


@command.command("sizes")
@click.option("--profile", "name", required=True, metavar="PROFILE", help="A profile of the file or of the catalogue.")
@click.option("--file", "-f", "file", type=_FILE, help="The pipeline file.  [default: lisa-ci.yml where there is one]")
@click.option("--skus", type=_FILE, help="Azure's sizes: az vm list-skus -o json.  [default: what is shipped, a hint]")
@click.option("--usage", type=_FILE, help="Quotas: az vm list-usage, or a mapping from regions to such answers.")
@click.option("--usage-region", default="", help="Region of a --usage file that does not name it.")
@click.option("--prices", type=_FILE, help="Answers of https://prices.azure.com/api/retail/prices.")
@click.option("--answers", type=click.Path(path_type=Path, file_okay=False), help="Folder of `azure ask`: all three.")
@click.option("--json", "as_json", is_flag=True, help="Print it for programs.")
@click.pass_obj
def sizes(
    console: Console,
    name: str,
    file: Path | None,
    skus: Path | None,
    usage: Path | None,
    usage_region: str,
    prices: Path | None,
    answers: Path | None,
    as_json: bool,
) -> None:
    """Say which sizes of PROFILE serve, where, in the order in which they are tried, and why the others do not.

    Exit 4: none serves.
    """
    profile = _profile(name, file)
    today = datetime.now(UTC).date()
    kept = legs.read_answers(answers) if answers else None
    quotas = read_usage(_read(usage), str(usage), usage_region) if usage else kept.offers.quotas if kept else ()
    known = read_prices(_read(prices), str(prices)) if prices else kept.prices if kept else Prices()
    told = read_skus(_read(skus), str(skus)) if skus else kept.offers.skus_ if kept else shipped_skus()
    offers = Offers(skus_=told, quotas=quotas)
    found = compare(profile, offers, prices=known, today=today)
    if as_json:
        click.echo(json.dumps(_document(profile, found, known), indent=1, sort_keys=True))
    else:
        click.echo("\n".join(_table(found, known)))
    has_skus = bool(skus or answers)
    for text in _notes(found, has_skus=has_skus, quotas=quotas, prices=known, today=today):
        console.emit(Message(text=text, level=Level.WARNING, place=profile.name))
    if not any(candidate.serves for candidate in found):
        click.get_current_context().exit(4)


def _read(path: Path) -> bytes:
    data = read_source(path, str(path), most=_LIMIT)
    if len(data) > _LIMIT:
        raise PipelineError(f"{path} has more than {_LIMIT >> 20} MiB", hint="name one region when you ask for it")
    return data


def _profile(name: str, file: Path | None) -> Profile:
    """The file's profile of that name, else the catalogue's; PipelineError where it is none of Azure."""
    named = file or (DEFAULT_FILE if DEFAULT_FILE.is_file() else None)
    own = load_pipeline(named, registry.known()).profiles if named else ()
    known = {**all_profiles(), **{profile.name: profile for profile in own}}
    ours = {key: profile for key, profile in known.items() if profile.platform == AZURE}
    if name in known and name not in ours:
        raise PipelineError(f"profile '{name}' is of platform '{known[name].platform}'", hint="name one of 'azure'")
    if name not in ours:
        close = difflib.get_close_matches(name, ours, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(ours)}"
        raise PipelineError(f"unknown profile '{name}'", hint=hint)
    return ours[name]


def _table(found: Sequence[Candidate], prices: Prices) -> Iterator[str]:
    first = next((one for one in found if one.serves), None)
    rows = [("", "SIZE", "REGION", "ZONE", f"{prices.currency}/H", "WHY NOT")]
    rows += [
        (
            "*" if one is first else "+" if one.serves else "-",
            one.size,
            one.region,
            one.zone or "any",
            "?" if one.price is None else f"{one.price:.4g}",
            "; ".join(one.reasons) or one.warning,
        )
        for one in found
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield "  ".join([*cells, row[5]]).rstrip()
    yield "* is tried first, + are tried after it, - do not serve"


def _document(profile: Profile, found: Sequence[Candidate], prices: Prices) -> object:
    return {
        "schema": 1,
        "profile": profile.name,
        "machines": profile.machines,
        "currency": prices.currency,
        "prices_since": prices.newest.isoformat() if prices.newest else None,
        "prices_asked": prices.asked.isoformat() if prices.asked else None,
        "sizes": [
            {
                "size": one.size,
                "region": one.region,
                "zone": one.zone or None,
                "serves": one.serves,
                "price": one.price,
                "reasons": list(one.reasons),
                "warning": one.warning or None,
                "controller": one.controller.value,
            }
            for one in found
        ],
    }


def _notes(
    found: Sequence[Candidate], *, has_skus: bool, quotas: Sequence[Quota], prices: Prices, today: date
) -> Iterator[str]:
    if not has_skus:
        yield "what is offered where is not known: sizes are those that are shipped, a hint; give --skus"
    asked = {one.region for one in found}
    unknown = sorted(asked - {quota.region for quota in quotas})
    if unknown:
        yield f"no quota is known of {', '.join(unknown)}; give --usage"
    if prices.kept or prices.spot:
        yield f"prices are {prices.told(today)}"
    elif all(one.price is None for one in found):
        yield "no price is known, so the profile's own order stands; give --prices"
    yield from dict.fromkeys(one.warning for one in found if one.warning)


# ---- ask ----------------------------------------------------------------------------------------------------------


@command.command("ask")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--file", "-f", "file", type=_FILE, help="The pipeline file whose profiles name the regions.")
@click.option("--region", "regions", multiple=True, help="A region to ask about, instead of those of the profiles.")
@click.option("--prices/--no-prices", "has_prices", default=True, help="Ask prices.azure.com, too.  [default: yes]")
@click.option("--only-prices", is_flag=True, help="Ask for nothing but prices, which need no login.")
@click.pass_obj
def ask(
    console: Console,
    folder: Path,
    file: Path | None,
    regions: tuple[str, ...],
    has_prices: bool,
    only_prices: bool,
) -> None:
    """Keep Azure's sizes, quotas and list prices in FOLDER (skus.json, usage.json, prices.json).

    They are for `lisa-ci plan --azure-answers FOLDER`, which asks nobody. Needs a login and the right to read; nothing
    is created. Where a price cannot be had, what is in the folder stays.
    """
    from lisa_ci.platforms.azure import ask as live  # noqa: PLC0415 - it loads the SDK
    from lisa_ci.platforms.azure import client  # noqa: PLC0415

    profiles = load_pipeline(file or DEFAULT_FILE, registry.known()).profiles if not regions else ()
    named = [region for one in profiles if one.azure for region in one.azure.regions]
    asked = tuple(dict.fromkeys(regions or named))
    if not asked:
        raise PipelineError("no region to ask about", hint="name one by --region, or use a profile for Azure")
    if only_prices:
        _keep_prices(folder, asked, console)
        return
    if has_prices:
        try:
            _keep_prices(folder, asked, console)
        except ProvisioningError as error:  # sizes and quotas are worth having without
            console.emit(Message(text=f"{error.message}: {legs.PRICES} stays as it is", level=Level.WARNING))
    subscription = client.connect()
    skus = [row for region in asked for row in live.sku_rows(subscription, region)]
    usage = {region: live.usage_rows(subscription, region) for region in asked}
    for name, content in ((legs.SKUS, skus), (legs.USAGE, usage)):
        files.write_atomically(folder / name, json.dumps(content, indent=1, sort_keys=True).encode() + b"\n")
    console.say(f"{folder}: {counted(len(skus), 'size')} in {counted(len(asked), 'region')}")


def _keep_prices(folder: Path, regions: Sequence[str], console: Console) -> None:
    """With the day, so that whoever reads them can tell their age."""
    from lisa_ci.platforms.azure import ask as live  # noqa: PLC0415 - it loads the SDK

    with live.session() as session:
        rows = [row for region in regions for row in live.price_rows(region, session)]
    told = {"asked": datetime.now(UTC).date().isoformat(), "source": live.PRICES_URL, "Items": rows}
    files.write_atomically(folder / legs.PRICES, json.dumps(told, indent=1, sort_keys=True).encode() + b"\n")
    console.say(f"{folder / legs.PRICES}: {counted(len(rows), 'price')} in {counted(len(regions), 'region')}")


# ---- check ---------------------------------------------------------------------------------------------------------


@command.command("check")
@click.option("--file", "-f", "file", type=_FILE, help="Check the profiles of this file instead of the catalogue's.")
@click.pass_obj
def check(console: Console, file: Path | None) -> None:
    """Check everything that would be sent to Azure for each profile: every body against the types of Azure's API.

    Bodies are made for each kind of image that a profile can have. Exit 2 with every mistake; a size that retires
    within a year is a warning.
    """
    profiles = load_pipeline(file, registry.known()).profiles if file else tuple(all_profiles().values())
    ours = [profile for profile in profiles if profile.platform == AZURE]
    today = datetime.now(UTC).date()
    problems: list[Problem] = []
    for profile in ours:
        found = [*static.profile_problems(profile), *_sizes_that_cannot(profile, today)]
        problems += [Problem(message=f"profile {profile.name}: {text}") for text in found]
        for text in retirement.warnings(profile, today):
            console.emit(Message(text=text, level=Level.WARNING))
    if problems:
        raise PipelineError(counted(len(problems), "mistake"), problems=tuple(problems))
    click.echo(f"{counted(len(ours), 'profile')} on Azure, no mistakes")


def _sizes_that_cannot(profile: Profile, today: date) -> Iterator[str]:
    """A retired size is told as a warning; what a size can never be is a mistake."""
    for size, why in static.size_problems(profile, today):
        if not why.startswith("retired"):
            yield f"{size} {why}"
