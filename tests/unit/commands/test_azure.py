from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
from click.testing import CliRunner, Result

from lisa_ci import cli
from lisa_ci.errors import PipelineError
from lisa_ci.platforms.azure import ask, client
from tests.doubles.azure.entra import Entra
from tests.doubles.azure.wire import Answer, InProcess, Request
from tests.doubles.azure.world import FakeClock, make_arm, subscription
from tests.unit.platforms.azure.orders import row

CASES = "schema: 1\nname: mine\ndriver: shell\ncases:\n  - {id: one, run: 'true'}\n"
FILE = """\
name: mine
image: {path: image.qcow2}
profiles:
  - {name: mine, from: azure-intel, azure: {sizes: [Standard_D2s_v5, Standard_NP10s], regions: [eastus, westus]}}
suites: [./suite]
"""


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.cli, ["--log", "plain", *arguments], standalone_mode=False)


def raised(*arguments: str) -> None:
    """The same, with what it raises."""
    CliRunner().invoke(cli.cli, arguments, standalone_mode=False, catch_exceptions=False)


def pipeline(folder: Path, text: str = FILE) -> None:
    (folder / "suite").mkdir()
    (folder / "suite" / "suite.yaml").write_text(CASES)
    (folder / "lisa-ci.yml").write_text(text)


def written(folder: Path, name: str, content: Any) -> str:
    (folder / name).write_text(json.dumps(content))
    return str(folder / name)


def counter(name: str, limit: int) -> dict[str, Any]:
    return {"name": {"value": name, "localizedValue": name}, "currentValue": 0, "limit": limit}


def price(region: str, amount: float) -> dict[str, Any]:
    return {
        "currencyCode": "USD",
        "retailPrice": amount,
        "armRegionName": region,
        "armSkuName": "Standard_D2s_v5",
        "productName": "Virtual Machines Dsv5 Series",
        "skuName": "D2s v5",
        "unitOfMeasure": "1 Hour",
        "type": "Consumption",
        "effectiveStartDate": "2026-10-01T00:00:00Z",
    }


def test_the_table_tells_what_is_tried_first_and_why_others_are_not(tmp_path: Path) -> None:
    pipeline(tmp_path)
    skus = written(tmp_path, "skus.json", [row(region="eastus"), row(region="westus")])
    usage = written(tmp_path, "usage.json", {"eastus": [counter("cores", 1)], "westus": [counter("cores", 100)]})
    prices = written(tmp_path, "prices.json", {"Items": [price("eastus", 0.1), price("westus", 0.2)]})
    result = call("azure", "sizes", "--profile", "mine", "--skus", skus, "--usage", usage, "--prices", prices)
    assert result.exit_code == 0
    lines = [line.split(maxsplit=5) for line in result.stdout.splitlines()]
    assert lines[0] == ["SIZE", "REGION", "ZONE", "USD/H", "WHY", "NOT"]
    assert lines[1] == ["*", "Standard_D2s_v5", "westus", "any", "0.2"]
    assert lines[2][:5] == ["-", "Standard_D2s_v5", "eastus", "any", "0.1"]
    assert lines[2][5] == "quota 'cores' has 1 left of 1, 2 needed"
    assert {line[5] for line in lines[3:5]} == {"not offered in this region"}
    assert "the newest in force since 2026-10-01; a hint, no bill" in result.stderr


def test_programs_get_the_same_as_json(tmp_path: Path) -> None:
    pipeline(tmp_path)
    skus = written(tmp_path, "skus.json", {"value": [row(region="eastus")]})
    document = json.loads(call("azure", "sizes", "--profile", "mine", "--skus", skus, "--json").stdout)
    assert (document["schema"], document["profile"], document["machines"]) == (1, "mine", 1)
    first, *others = document["sizes"]
    assert first == {
        "size": "Standard_D2s_v5",
        "region": "eastus",
        "zone": None,
        "serves": True,
        "price": None,
        "reasons": [],
        "warning": None,
        "controller": "scsi",
    }
    assert [one["serves"] for one in others] == [False, False, False]


def test_without_files_the_shipped_sizes_are_used_and_called_a_hint() -> None:
    result = call("azure", "sizes", "--profile", "azure-fpga")
    assert result.exit_code == 0
    assert "*  Standard_NP10s" in result.stdout
    assert "give --skus" in result.stderr
    assert "give --usage" in result.stderr
    assert "give --prices" in result.stderr
    assert "Standard_NP10s retires on 2027-05-31" in result.stderr + result.stdout


def test_where_no_size_serves_the_exit_code_is_that_of_no_machine(tmp_path: Path) -> None:
    skus = written(tmp_path, "skus.json", [])
    result = CliRunner().invoke(cli.cli, ["azure", "sizes", "--profile", "azure-intel", "--skus", skus])
    assert result.exit_code == 4


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("azure-intell", "unknown profile 'azure-intell'", "did you mean 'azure-intel'?"),
        ("bios", "profile 'bios' is of platform 'qemu'", "name one of 'azure'"),
    ],
)
def test_a_profile_that_is_none_of_azure_is_refused(name: str, message: str, hint: str) -> None:
    with pytest.raises(PipelineError) as caught:
        CliRunner().invoke(
            cli.cli, ["azure", "sizes", "--profile", name], standalone_mode=False, catch_exceptions=False
        )
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_check_finds_the_catalogue_right_and_warns_of_what_retires() -> None:
    result = call("azure", "check")
    assert result.exit_code == 0
    assert "24 profiles on Azure, no mistakes" in result.stdout
    assert "profile azure-fpga: Standard_NP10s retires on 2027-05-31" in result.stderr


def test_check_tells_of_a_size_that_can_never_be_what_the_profile_promises(tmp_path: Path) -> None:
    pipeline(tmp_path)
    with pytest.raises(PipelineError) as caught:
        raised("azure", "check", "-f", "lisa-ci.yml")
    assert "profile mine: Standard_NP10s boots by bios, not uefi" in [one.message for one in caught.value.problems]


def test_lisa_ci_check_warns_of_a_size_that_retires(tmp_path: Path) -> None:
    pipeline(tmp_path)
    result = call("check")
    assert result.exit_code == 0
    assert "lisa-ci.yml: profile mine: Standard_NP10s retires on 2027-05-31" in " ".join(result.stderr.split())


# ---- ask, and what is made of the answers --------------------------------------------------------------------------

ON_AZURE = """\
name: mine
image: {azure: "debian:debian-12:12-gen2:0.1.2", firmware: [uefi]}
profiles:
  - {name: one, from: azure-intel, azure: {sizes: [Standard_D2s_v5], regions: [westeurope, northeurope]}}
  - {name: two, from: one}
  - {name: three, from: one}
suites: [./suite]
"""


@pytest.fixture
def _azure(monkeypatch: pytest.MonkeyPatch) -> None:
    entra, clock = Entra(), FakeClock()
    arm = make_arm(now=clock.now, entra=entra)
    monkeypatch.setattr(client, "connect", lambda: subscription(arm, entra, clock.as_clock()))
    monkeypatch.setattr(ask, "session", lambda: prices_session([price("westeurope", 0.2), price("northeurope", 0.1)]))


def prices_session(rows: list[dict[str, Any]], status: int = 200) -> requests.Session:
    """The Retail Prices API, one row a page."""

    def serve(request: Request) -> Answer:
        wanted = [row for row in rows if f"armRegionName eq '{row['armRegionName']}'" in request.query["$filter"]]
        skip = int(request.query.get("$skip", "0"))
        link = f"https://prices.azure.com:443/api/retail/prices?{urlencode({**request.query, '$skip': skip + 1})}"
        following = link if skip + 1 < len(wanted) else None
        return Answer(status=status, body={"Items": wanted[skip : skip + 1], "NextPageLink": following})

    session = requests.Session()
    session.mount("https://prices.azure.com", InProcess(serve))
    return session


@pytest.mark.usefixtures("_azure")
def test_what_azure_answers_is_kept_for_the_plan(tmp_path: Path) -> None:
    pipeline(tmp_path, ON_AZURE)
    result = call("azure", "ask", "answers")
    assert result.exit_code == 0, result.output
    assert "in 2 regions" in result.stderr
    skus = json.loads(Path("answers/skus.json").read_text())
    assert {one["name"] for one in skus} == {"Standard_D2s_v5", "Standard_D4s_v5"}
    assert set(json.loads(Path("answers/usage.json").read_text())) == {"westeurope", "northeurope"}
    table = call("azure", "sizes", "--profile", "one", "--answers", "answers")
    assert table.stdout.splitlines()[1].split() == ["*", "Standard_D2s_v5", "northeurope", "any", "0.1"]
    today = datetime.now(UTC).date()
    assert f"list prices, asked on {today}, 0 days ago; a hint, no bill" in table.stderr


@pytest.mark.usefixtures("_azure")
def test_sizes_are_kept_where_prices_cannot_be_had_and_old_prices_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline(tmp_path, ON_AZURE)
    Path("answers").mkdir()
    old = written(tmp_path, "answers/prices.json", {"asked": "2026-01-01", "Items": [price("westeurope", 0.3)]})
    before = Path(old).read_bytes()
    monkeypatch.setattr(ask, "session", lambda: prices_session([], status=404))
    result = call("azure", "ask", "answers")
    assert result.exit_code == 0
    assert "prices.azure.com/api/retail/prices gives no prices: HTTP status 404" in result.stderr
    assert Path("answers/skus.json").is_file()
    assert Path(old).read_bytes() == before


def test_prices_alone_want_no_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "session", lambda: prices_session([price("westeurope", 0.2)] * 3))
    result = call("azure", "ask", "answers", "--region", "westeurope", "--only-prices")
    assert result.exit_code == 0, result.output
    assert len(json.loads(Path("answers/prices.json").read_text())["Items"]) == 3
    assert not Path("answers/skus.json").exists()


def test_the_plan_spreads_its_legs_over_the_quotas_that_were_kept(tmp_path: Path) -> None:
    pipeline(tmp_path, ON_AZURE)
    Path("answers").mkdir()
    written(tmp_path, "answers/skus.json", [row(region="westeurope"), row(region="northeurope")])
    usage = {"westeurope": [counter("cores", 2)], "northeurope": [counter("cores", 2)]}
    written(tmp_path, "answers/usage.json", usage)
    result = call("plan", "--azure-answers", "answers")
    legs = {leg["id"]: leg["profile"]["azure"]["regions"][0] for leg in json.loads(result.stdout)["legs"]}
    assert sorted(legs.values()) == ["northeurope", "westeurope", "westeurope"]
    assert "quotas on Azure hold 2 of the legs at once" in result.stderr


def test_nothing_to_ask_about_is_a_mistake() -> None:
    Path("lisa-ci.yml").write_text("name: n\nimage: {path: i.raw}\nprofiles: [bios]\nsuites: [boot]\n")
    with pytest.raises(PipelineError, match="no region to ask about"):
        raised("azure", "ask", "answers")
