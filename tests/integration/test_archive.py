"""The archive against a real Azurite: killed and resumed, damaged, pruned, asked; no storage is mocked."""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from azure.core.credentials import AccessToken
from azure.storage.blob import ContainerClient, generate_account_sas, generate_container_sas
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from lisa_ci.archive import azure_store, catalog, layout
from lisa_ci.archive.layout import blob_name
from lisa_ci.archive.place import opened
from lisa_ci.archive.prune import plan_pruning, prune
from lisa_ci.archive.put import Manner, put_run
from lisa_ci.archive.store import Store
from lisa_ci.errors import PipelineError, PublishingError, StorageError
from lisa_ci.files import LegFolder, read_leg, read_plan
from lisa_ci.model import Category, Finding, Outcome, Secret
from tests.doubles.azurite import KEY, Azurite, azurite
from tests.doubles.cutting_proxy import CuttingProxy
from tests.doubles.evidence import make_plan, make_plan_file, results_of, write_leg
from tests.doubles.release import silent

SECRET = "password=correct-horse-battery"


@pytest.fixture(scope="module")
def emulator() -> Iterator[Azurite]:
    with azurite() as running:
        yield running


@dataclass(frozen=True)
class World:
    """A leg's results and its plan on disk."""

    plan_file: Path
    results: Path

    @property
    def leg(self) -> Path:
        return self.results / "small"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path / "world")


def make_world(root: Path, seed: int = 0) -> World:
    """A leg as `run` leaves it: many small logs, a console, a core of 6 MiB that does not compress."""
    plan, _ = make_plan_file(root / "plan.json", make_plan())
    finding = Finding(category=Category.WARNING, title="WARNING in foo", fingerprint="00112233aabbccdd", case="boot#b")
    results = results_of(plan, "small", {"boot#b": Outcome.FAILED})
    folder = write_leg(root / "results", plan, "small", results, findings=(finding,))
    noise = random.Random(seed)
    leg = LegFolder(folder)
    leg.console.write_text("".join(f"[{n}] line {noise.random()}\n" for n in range(5000)))
    leg.telemetry.mkdir()
    (leg.telemetry / "core").write_bytes(b"\0core" + noise.randbytes(6 << 20))
    for n in range(200):
        log = leg.case_log("boot", f"case-{n}")
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"case {n}\n{SECRET if n == 7 else ''}\n")
    (leg.root / "empty.txt").touch()
    return World(plan_file=root / "plan.json", results=root / "results")


def place_of(emulator: Azurite, port: int | None = None) -> str:
    return f"{emulator.url_by(port or emulator.port)}/{emulator.container()}"


def through(emulator: Azurite, place: str, port: int) -> str:
    return place.replace(f":{emulator.port}/", f":{port}/")


def open_store(emulator: Azurite, place: str) -> AbstractContextManager[Store]:
    environment = {"AZURE_STORAGE_CONNECTION_STRING": emulator.connection_string}
    return opened(place, timeout=timedelta(seconds=30), environment=environment, create=True)


def put(store: Store, world: World, **manner: object) -> str:
    plan, _ = read_plan(world.plan_file)
    evidence = read_leg(world.leg)
    assert evidence is not None
    given = {"labels": {}, **manner}
    return put_run(store, evidence, plan, world.plan_file, Manner(**given), emit=silent).name.id  # type: ignore[arg-type]


def content_of(store: Store) -> dict[str, bytes]:
    """Every blob of the archive, and what it holds."""
    names = [name for top in ("blobs/", "runs/", "packs/") for name in store.names(top)]
    return {name: b"".join(store.read(name) or ()) for name in names}


def lisa_ci(
    *arguments: str | Path, environment: Mapping[str, str], cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("lisa-ci"), "--log", "plain", *arguments],
        env={**os.environ, **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def files_below(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


# ---- the whole way -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", "azurite"])
def test_put_ls_query_get_and_prune_from_the_command_line(
    kind: str, emulator: Azurite, world: World, tmp_path: Path
) -> None:
    place = place_of(emulator) if kind == "azurite" else str(tmp_path / "archive")
    environment = {"AZURE_STORAGE_CONNECTION_STRING": emulator.connection_string, "LISA_CI_ARCHIVE": place}

    def call(*arguments: str | Path) -> str:
        finished = lisa_ci("archive", *arguments, environment=environment)
        assert finished.returncode == 0, finished.stderr
        assert KEY not in finished.stderr + finished.stdout
        return finished.stdout

    told = call("put", world.results, "--plan", world.plan_file, "--keep-days", "30", "--label", "team=kernel")
    (name,) = told.split()
    assert call("put", world.results, "--plan", world.plan_file).split() == [name]

    (line,) = call("ls", "--label", "team=kernel").splitlines()
    assert line.split("\t")[1:6] == [name, "example", "small", "attempt 1", "2 passed 1 failed"]
    assert call("ls", "--label", "team=other") == ""
    (row,) = call("query", "--outcome", "failed", "--json").splitlines()
    assert json.loads(row)["case"] == "boot#b"
    assert call("query", "--by", "case", "--case", "boot#b").startswith("boot#b\t1 runs\t1 failed\t100.0 % failed")
    assert call("query", "--by", "finding").split("\t")[:2] == ["00112233aabbccdd", "1 runs"]

    back = Path(call("get", name[:6], "--to", tmp_path / "back").strip())
    got, left = files_below(back), files_below(world.leg)
    assert got.pop("plan.json") == world.plan_file.read_bytes()
    scrubbed = {path for path in left if got[path] != left[path]}
    assert scrubbed == {"cases/boot/case-7.log"}
    assert got.keys() == left.keys()
    report = lisa_ci(
        *("report", "--plan", back / "plan.json", "--results", tmp_path / "back", "--out", tmp_path / "report"),
        environment={},
    )
    assert report.returncode == 1
    assert "boot#b" in report.stdout

    assert "1 runs and 0 blobs" in call("prune")
    assert len(call("ls").splitlines()) == 1
    call("prune", "--apply")
    assert call("ls") == ""


def test_secrets_do_not_leave(emulator: Azurite, world: World) -> None:
    run = world.leg / "run.json"
    run.write_text(run.read_text().replace('"6.1.0"', '"6.1.0 password=hunter22secret"'))
    with open_store(emulator, place_of(emulator)) as store:
        put(store, world)
        for name in content_of(store):
            data = b"".join(layout.unpacked(store.read(name) or (), 64 << 20, place=name))
            assert b"correct-horse" not in data
            assert b"hunter22secret" not in data


def test_the_tier_is_that_of_the_content_and_the_index_stays_hot(emulator: Azurite, world: World) -> None:
    place = place_of(emulator)
    with open_store(emulator, place) as store:
        put(store, world, tier=azure_store.Tier.COOL)
    with emulator.service() as service:
        container = service.get_container_client(place.rsplit("/", 1)[1])
        tiers = {found.name.partition("/")[0]: found.blob_tier for found in container.list_blobs()}
    assert tiers == {"blobs": "Cool", "runs": "Hot"}


def test_a_second_run_sends_only_what_is_new(emulator: Azurite, world: World) -> None:
    plan, _ = read_plan(world.plan_file)
    with open_store(emulator, place_of(emulator)) as store:
        put(store, world)
        console = world.leg / "console.log"
        console.write_text(console.read_text() + "another line\n")
        evidence = read_leg(world.leg)
        assert evidence is not None
        again = put_run(store, evidence, plan, world.plan_file, Manner(labels={}), emit=silent)
        assert (again.is_new, again.sent) == (True, 1)
        assert again.sent_bytes < 200_000 < again.content_bytes


# ---- killed at any byte --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference(emulator: Azurite, tmp_path_factory: pytest.TempPathFactory) -> tuple[World, dict[str, bytes], int]:
    """A world, what its archive holds when nothing goes wrong, and the bytes that this takes on the wire."""
    made = make_world(tmp_path_factory.mktemp("reference"))
    place = place_of(emulator)
    with CuttingProxy(target=emulator.port).running() as proxy:
        with behind(emulator, proxy, place) as store:
            put(store, made)
        sent = proxy.sent
    with open_store(emulator, place) as store:
        return made, content_of(store), sent


@contextmanager
def behind(emulator: Azurite, proxy: CuttingProxy, place: str, *, retries: int = 0) -> Iterator[Store]:
    store = azure_store.AzureStore(
        url=through(emulator, place, proxy.port),
        prefix="",
        credential=azure_store.account_key("devstoreaccount1", Secret(KEY)),
        timeout=timedelta(seconds=20),
        retries=retries,
    )
    try:
        yield store
    finally:
        store.close()


def check_whole(store: Store) -> None:
    """Every run that can be seen is complete."""
    for name in catalog.names(store):
        index = catalog.read_index(store, name)
        assert index is not None
        for sha256 in index.blobs:
            assert store.find(blob_name(sha256)) is not None


@pytest.mark.parametrize("seed", range(10))
def test_a_put_that_is_cut_at_any_byte_goes_on_from_another_host(
    seed: int, emulator: Azurite, reference: tuple[World, dict[str, bytes], int], tmp_path: Path
) -> None:
    world, expected, total = reference
    dice = random.Random(seed)
    place = place_of(emulator)
    for _ in range(dice.randint(1, 3)):
        with (
            CuttingProxy(target=emulator.port, budget=dice.randint(1, total)).running() as proxy,
            behind(emulator, proxy, place) as store,
            suppress(PublishingError, StorageError),
        ):
            put(store, world, workers=dice.choice([1, 3, 8]))
        with open_store(emulator, place) as straight:
            check_whole(straight)
    other = World(plan_file=tmp_path / "plan.json", results=tmp_path / "results")  # what another host was given
    shutil.copy(world.plan_file, other.plan_file)
    shutil.copytree(world.results, other.results)
    with open_store(emulator, place) as straight:
        put(straight, other)
        assert content_of(straight) == expected


@pytest.mark.parametrize("seed", range(4))
def test_a_put_that_is_killed_leaves_nothing_half_seen_and_is_put_again(
    seed: int, emulator: Azurite, reference: tuple[World, dict[str, bytes], int]
) -> None:
    world, expected, total = reference
    place = place_of(emulator)
    budget = random.Random(seed).randint(1, total)
    with CuttingProxy(target=emulator.port, budget=budget).running() as proxy:
        environment = {"AZURE_STORAGE_CONNECTION_STRING": emulator.connection_by(proxy.port)}
        command = [
            *(Path(sys.executable).with_name("lisa-ci"), "archive", "put", world.results),
            *("--plan", world.plan_file, "--to", through(emulator, place, proxy.port)),
        ]
        process = subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.DEVNULL)
        proxy.on_cut = process.kill
        assert process.wait(60) == -signal.SIGKILL
    with open_store(emulator, place) as store:
        check_whole(store)
        put(store, world)
        assert content_of(store) == expected


def test_connections_that_are_cut_again_and_again_cost_time_and_nothing_else(
    emulator: Azurite, reference: tuple[World, dict[str, bytes], int]
) -> None:
    world, expected, total = reference
    place = place_of(emulator)
    budgets = iter([total // 3, total // 2])
    with CuttingProxy(target=emulator.port, budget=total // 4, again=lambda: next(budgets, 1 << 40)).running() as proxy:
        with behind(emulator, proxy, place, retries=5) as store:
            put(store, world)
        assert proxy.cuts == 3
    with open_store(emulator, place) as straight:
        assert content_of(straight) == expected


def test_blocks_that_are_there_are_not_staged_again(
    emulator: Azurite, reference: tuple[World, dict[str, bytes], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azure_store, "_BLOCKS_AT_ONCE", 1)  # two at once may both be cut
    world, _, total = reference
    place = place_of(emulator)
    sent = 0
    for budget in (total * 3 // 4, None):
        with CuttingProxy(target=emulator.port, budget=budget).running() as proxy:
            with behind(emulator, proxy, place) as store, suppress(PublishingError, StorageError):
                put(store, world, workers=1)
            sent = proxy.sent
    assert sent < total * 3 // 4  # without the staged block it would be nearly all of it


# ---- refused, damaged, pruned --------------------------------------------------------------------------------------


def account_sas(container: str, permission: str, *, hours: int = 1) -> str:
    return generate_container_sas(
        "devstoreaccount1",
        container,
        account_key=KEY,
        permission=permission,
        expiry=datetime.now(UTC) + timedelta(hours=hours),
    )


@pytest.mark.parametrize("hours", [1, -1], ids=["without the right to write", "expired"])
def test_a_signature_that_does_not_do_is_told_without_being_shown(emulator: Azurite, world: World, hours: int) -> None:
    place = place_of(emulator)
    token = account_sas(place.rsplit("/", 1)[1], "rl", hours=hours)
    environment = {"AZURE_STORAGE_SAS_TOKEN": token}
    finished = lisa_ci(
        "archive", "put", world.results, "--plan", world.plan_file, "--to", place, environment=environment
    )
    assert finished.returncode == 7
    assert "the service refused us: Authorization" in finished.stderr
    assert "Storage Blob Data Contributor" in finished.stderr
    assert "sig=" not in finished.stderr
    assert token.rpartition("sig=")[2] not in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_signature_for_writing_alone_is_enough_to_put(emulator: Azurite, world: World) -> None:
    place = place_of(emulator)
    token = account_sas(place.rsplit("/", 1)[1], "rcw")
    finished = lisa_ci(
        *("archive", "put", world.results, "--plan", world.plan_file, "--to", place),
        environment={"AZURE_STORAGE_SAS_TOKEN": token},
    )
    assert finished.returncode == 0, finished.stderr
    with open_store(emulator, place) as store:
        assert len(catalog.names(store)) == 1


def test_a_container_that_is_not_there_is_a_mistake_of_the_user(emulator: Azurite, world: World) -> None:
    with (
        open_store(emulator, f"{emulator.url}/nowhere") as store,
        pytest.raises(PipelineError, match="there is no such container"),
    ):
        put(store, world)


def test_a_service_that_is_gone_is_told_with_what_to_do(emulator: Azurite, world: World) -> None:
    with CuttingProxy(target=emulator.port).running() as proxy:
        pass
    with (
        behind(emulator, proxy, place_of(emulator)) as store,
        pytest.raises(StorageError, match=r"127\.0\.0\.1.*runs/.*: Connection refused"),
    ):
        put(store, world)


def container_of(emulator: Azurite, place: str) -> ContainerClient:
    return emulator.service().get_container_client(place.rsplit("/", 1)[1])


@pytest.mark.parametrize("damage", ["other bytes", "cut short", "missing"])
def test_a_damaged_blob_is_found_and_no_folder_appears(
    damage: str, emulator: Azurite, world: World, tmp_path: Path
) -> None:
    place = place_of(emulator)
    environment = {"AZURE_STORAGE_CONNECTION_STRING": emulator.connection_string}
    with open_store(emulator, place) as store:
        name = put(store, world)
        victim = max(store.entries("blobs/"), key=lambda entry: entry.size_bytes).name
        content = b"".join(store.read(victim) or ())
    with container_of(emulator, place) as container:
        if damage == "missing":
            container.delete_blob(victim)
        elif damage == "cut short":
            container.upload_blob(victim, content[:-100], overwrite=True)
        else:
            container.upload_blob(victim, layout.compressed(b"other").getvalue(), overwrite=True)
    finished = lisa_ci("archive", "get", name, "--from", place, "--to", tmp_path / "back", environment=environment)
    assert finished.returncode == 5, finished.stderr
    assert victim in finished.stderr
    assert list((tmp_path / "back").iterdir()) == []


@pytest.mark.parametrize("kind", ["folder", "azurite"])
def test_prune_removes_what_is_over_and_what_nobody_needs_and_nothing_else(
    kind: str, emulator: Azurite, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = place_of(emulator) if kind == "azurite" else str(tmp_path / "archive")
    with open_store(emulator, place) as store:
        put(store, world, keep=timedelta(days=10))
        shared = set(store.names("blobs/"))
        console = world.leg / "console.log"
        console.write_text("something else " * 10_000)
        kept = put(store, world)
        catalog.pack_month(store, "2026/01", 1, workers=2, emit=silent)
        monkeypatch.setattr("lisa_ci.archive.prune.GRACE", timedelta(seconds=-60))
        early = plan_pruning(store, today=date(2026, 1, 12), emit=silent)
        assert (early.runs, early.blobs) == ((), ())
        planned = plan_pruning(store, today=date(2026, 1, 13), emit=silent)
        assert len(planned.runs) == 1
        (gone,) = planned.blobs
        assert gone.name in shared
        assert prune(store, planned, emit=silent) == (1, 1)
        assert [name.id for name in catalog.names(store)] == [kept]
        check_whole(store)
        (left,) = catalog.pack_names(store)
        assert [summary.id for summary in catalog.read_pack(store, left) or ()] == [kept]
        nothing = plan_pruning(store, today=date(2026, 1, 13), emit=silent)
        assert (nothing.runs, nothing.blobs, nothing.months) == ((), (), ())


@pytest.mark.parametrize("kind", ["folder", "azurite"])
def test_a_put_while_prune_works_loses_nothing(
    kind: str, emulator: Azurite, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = place_of(emulator) if kind == "azurite" else str(tmp_path / "archive")
    monkeypatch.setattr("lisa_ci.archive.prune.GRACE", timedelta(seconds=-60))
    monkeypatch.setattr("lisa_ci.archive.put.REFRESH_AFTER", timedelta(seconds=-60))  # every blob counts as old
    with open_store(emulator, place) as store:
        put(store, world, keep=timedelta(days=1))
        planned = plan_pruning(store, emit=silent)
        assert planned.runs
        assert planned.blobs
        (world.leg / "later.txt").write_text("a run that shares most of its blobs")
        put(store, world)
        prune(store, planned, emit=silent)
        check_whole(store)
        (left,) = catalog.names(store)
        assert catalog.read_index(store, left) is not None


def test_where_a_run_cannot_be_read_no_blob_goes(
    emulator: Azurite, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = place_of(emulator)
    monkeypatch.setattr("lisa_ci.archive.prune.GRACE", timedelta(seconds=-60))
    with open_store(emulator, place) as store, container_of(emulator, place) as container:
        put(store, world)
        (name,) = catalog.names(store)
        container.upload_blob(str(name), b"no gzip", overwrite=True)
        planned = plan_pruning(store, emit=silent)
        assert (planned.unread, planned.blobs, planned.runs) == (1, (), ())


def test_an_archive_by_account_signature_is_read_as_well(emulator: Azurite, world: World) -> None:
    place = place_of(emulator)
    with open_store(emulator, place) as store:
        put(store, world)
    token = generate_account_sas(
        "devstoreaccount1",
        account_key=KEY,
        resource_types="co",
        permission="rl",
        expiry=datetime.now(UTC) + timedelta(hours=1),
        services="b",
    )
    finished = lisa_ci("archive", "ls", "--from", place, environment={"AZURE_STORAGE_SAS_TOKEN": f"?{token}"})
    assert (finished.returncode, len(finished.stdout.splitlines())) == (0, 1), finished.stderr


def test_a_folder_and_help_and_plan_load_nothing_of_azure(world: World, tmp_path: Path) -> None:
    put_into = ["archive", "put", world.results, "--plan", world.plan_file, "--to", tmp_path / "archive"]
    for arguments in (["archive", "--help"], ["archive", "put", "--help"], ["plan", "--help"], put_into):
        code = (
            "import sys\nfrom lisa_ci.cli import cli\n"
            "try: cli(sys.argv[1:], standalone_mode=False)\n"
            "finally: print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
        )
        finished = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=True
        )
        assert not set(finished.stderr.split()) & {"azure", "requests", "msal", "urllib3"}


# ---- who we are ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Token:
    """What Entra would give: Azurite looks at the claims, and not at who signed them."""

    audience: str

    def get_token(self, *scopes: str, **_options: object) -> AccessToken:
        assert scopes == ("https://storage.azure.com/.default",)
        now = int(datetime.now(UTC).timestamp())
        claims = {
            "aud": self.audience,
            "iss": "https://sts.windows.net/00000000-0000-0000-0000-000000000001/",
            "iat": now - 60,
            "nbf": now - 60,
            "exp": now + 600,
        }
        parts = [
            base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
            for part in ({"alg": "HS256", "typ": "JWT"}, claims)
        ]
        return AccessToken(".".join([*parts, "c2lnbmF0dXJl"]), now + 600)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, signed by itself, and its key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "azurite")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(certificate.public_bytes(encoding))
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(private)
    return folder / "cert.pem", folder / "key.pem"


def test_an_identity_puts_over_tls_and_a_token_for_another_service_is_refused(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = make_certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with azurite(certificate, key) as running:
        url = f"{running.url}/{running.container()}"
        for audience in ("https://storage.azure.com", "https://management.azure.com"):
            store = azure_store.AzureStore(url=url, prefix="", credential=Token(audience), retries=0)
            with closing(store):
                if "storage" in audience:
                    put(store, world)
                    check_whole(store)
                    assert len(catalog.names(store)) == 1
                else:
                    with pytest.raises(StorageError, match="the service refused us: AuthenticationFailed"):
                        catalog.names(store)


def test_without_any_identity_it_is_told_at_once_what_to_do() -> None:
    nobody = {name: "" for name in os.environ if name.startswith("AZURE_")}
    finished = lisa_ci(
        *("archive", "ls", "--from", "https://acc.blob.core.windows.net/logs"),
        environment={**nobody, "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential"},
    )
    (line,) = finished.stderr.splitlines()
    assert finished.returncode == 2
    assert line.startswith("error: no identity for Azure")
    assert "az login" in line
