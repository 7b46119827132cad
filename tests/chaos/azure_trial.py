"""One leg on the double of Azure, with a fault somewhere, and a sweep afterwards: what was ever there, and what stays.

No socket, no thread, no pause: the real SDK speaks to the double in the same process, on a clock that only waiting
moves. A kill is a request that never returns, and no request after it.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from azure.core.credentials import AccessToken, AccessTokenInfo

from lisa_ci import image, vhd
from lisa_ci.errors import DataError, LisaCiError, ProvisioningError
from lisa_ci.model import Access, Azure, ImageSource, Lease, Nic, Profile, Receipt, Spot, Subject, Timeouts
from lisa_ci.platforms.azure import blob_sweep, client, containers, names, sweep
from lisa_ci.platforms.azure.client import Subscription
from lisa_ci.platforms.azure.image_blob import WHOLE, whole_mark
from lisa_ci.platforms.azure.platform import AzurePlatform
from lisa_ci.platforms.azure.provisioning import Doors
from lisa_ci.platforms.azure.upload import blob_size
from tests.doubles.azure.accounts import account
from tests.doubles.azure.arm import VM, Arm
from tests.doubles.azure.blobs import Blobs
from tests.doubles.azure.entra import SUBSCRIPTION
from tests.doubles.azure.faults import Plan, error_body, throttled
from tests.doubles.azure.wire import Answer, CutError, InProcessTransport, Request
from tests.doubles.azure.world import FakeClock, make_arm

KINDS = (
    "lisa-ci killed (kill -9)",
    "job cancelled (SIGINT, SIGTERM)",
    "connections reset",
    "throttled",
    "service fails (5xx)",
    "sold out or no quota",
    "allocation fails in the operation",
    "deployment never ends",
    "deletion fails",
    "disks let go of late",
    "machine evicted",
    "machine never answers",
    "upload fails",
    "sweep killed",
)
BEFORE = ("nothing", "whole", "half", "half and held")
"""What is in the container before the leg: of an earlier run, whole or not, or being uploaded by one that has died."""
FOREIGN = "production"
LIVING = "lisa-ci-living"
FOREIGN_BLOB, LIVING_BLOB = "images/lisa-ci-notes.vhd", "images/lisa-ci-living.vhd"
LEASE = timedelta(hours=2)
OWNER = "acme/distro/77"
[IMAGES] = containers.named({containers.VARIABLE: "https://images.blob.core.windows.net/images"})
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_SUBJECTS: dict[str, Subject] = {}


class KilledError(BaseException):
    """The process is gone."""


class Token:
    """A token that is always good: signatures are checked elsewhere."""

    def get_token(self, *_: str, **__: Any) -> AccessToken:
        return AccessToken("double", int(time.time()) + 86400)

    def get_token_info(self, *_: str, **__: Any) -> AccessTokenInfo:
        return AccessTokenInfo("double", int(time.time()) + 86400)


@dataclass
class Scene:
    """What is done to which leg; all of it follows from the seed. ``before``: see BEFORE, '' for no container."""

    seed: int
    kind: str
    profile: Profile
    second: str
    at: int
    is_after: bool
    before: str

    @classmethod
    def of(cls, seed: int) -> Scene:
        dice = random.Random(seed)
        azure = Azure(
            sizes=("Standard_D2s_v5", "Standard_D4s_v5")[: dice.choice((1, 2))],
            regions=("westeurope", "northeurope")[: dice.choice((1, 2))],
            spot=Spot() if dice.random() < 0.3 else None,
        )
        machines = dice.choice((1, 1, 1, 2))
        nics = (Nic(link=True),) if machines > 1 else ()
        return cls(
            seed=seed,
            kind=KINDS[seed % len(KINDS)],
            profile=Profile(name="chaos", platform="azure", azure=azure, machines=machines, nics=nics),
            second=dice.choice(("", "", "connections reset", "throttled", "disks let go of late")),
            at=dice.randrange(1, 70),
            is_after=dice.random() < 0.5,
            before=dice.choice(("", *BEFORE)),
        )


@dataclass
class AzureTrial:
    """What a run came to. Each list holds what broke a promise; all must be empty."""

    scene: Scene
    struck: bool = False
    had_machine: bool = False
    ended: str = ""
    until: datetime = _NEVER
    made: int = 0
    untagged: list[str] = field(default_factory=list)
    untold: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    touched: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def broken(self) -> list[str]:
        return [*self.untagged, *self.untold, *self.left, *self.touched, *self.wrong]


class Machine:
    """Behind the double there is nothing to log in to."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.name = role

    def close(self) -> None:
        pass


class Wire:
    """Between the SDK and the double: counts requests, and strikes at one of them."""

    def __init__(self, arm: Arm, blobs: Blobs) -> None:
        self._arm = arm
        self._blobs = blobs
        self.count = 0
        self.at = 0
        self.is_after = False
        self.blow: Callable[[], BaseException] | None = None
        self.is_dead = False
        self.struck = False

    def strike(self, at: int, blow: Callable[[], BaseException], *, is_after: bool) -> None:
        self.at, self.blow, self.is_after = self.count + at, blow, is_after

    def serve(self, request: Request) -> Answer:
        if self.is_dead:
            raise KilledError
        self.count += 1
        is_now = self.blow is not None and self.count == self.at
        if is_now and not self.is_after:
            self._hit()
        answer = self._stored(request) if request.base == IMAGES.account_url else self._arm.serve(request)
        if is_now:
            self._hit()
        return answer

    def _stored(self, request: Request) -> Answer:
        """Storage has its own word for "later", and meets the same faults."""
        fault = self._arm.plan.of(request)
        if self._arm.plan.before(fault) is not None:
            return Answer(status=503, body=b"", headers={"x-ms-error-code": "ServerBusy"})
        answer = self._blobs.serve(request)
        if fault is not None and fault.cuts == "after":
            raise CutError("reset after the request was done")
        return answer

    def _hit(self) -> None:
        blow, self.blow = self.blow, None
        assert blow is not None
        self.struck = True
        error = blow()
        self.is_dead = isinstance(error, KilledError)
        raise error


def run_azure_trial(seed: int, folder: Path) -> AzureTrial:
    """Never raises for what the product does; everything that breaks a promise is in the trial."""
    scene = Scene.of(seed)
    trial = AzureTrial(scene=scene)
    os.environ["XDG_STATE_HOME"] = str(folder / "state")
    dice = random.Random(seed + 1_000_000)
    clock = FakeClock()
    arm = make_arm(now=clock.now, pace=1)
    blobs = Blobs(now=clock.now, containers={IMAGES.container})
    arm.accounts = [account(IMAGES.account, IMAGES.account_url)]
    arm.imports = lambda url: _why_no_disk(blobs, url)
    _neighbours(arm, blobs, clock)
    before = _foreign(arm, blobs)
    wire = Wire(arm, blobs)
    azure = _subscription(wire, clock)
    _prepare(scene, arm, wire, dice)
    _earlier(scene, blobs, clock, folder)
    platform = _run(trial, azure, arm, wire, clock, folder, dice)
    wire.is_dead = False
    wire.blow = None
    trial.made = len(arm.ever) + len({key for key, _ in blobs.ever})
    hit = any(fault.seen >= fault.nth for fault in arm.plan.faults)
    trial.struck = trial.struck or wire.struck or hit or bool(arm.sold_out and arm.writes)
    trial.untagged = [str(one["id"]) for one in arm.ever if not _has_lease(one)]
    trial.untagged += [key for key, metadata in blobs.ever if not _has_lease({"tags": names.from_metadata(metadata)})]
    _check_receipts(trial, arm, platform.receipts())
    _check_blob_receipts(trial, blobs, platform.receipts())
    _check_early_sweep(trial, azure, arm, clock)
    _check_early_blob_sweep(trial, azure, clock)
    _sweep(trial, azure, arm, wire, clock, dice)
    after = _foreign(arm, blobs)
    trial.touched = [key for key in before if before[key] != after.get(key)]
    trial.left = [*(name for name in arm.groups if name not in {FOREIGN, LIVING})]
    trial.left += [one.id for one in arm.resources.values() if one.group not in {FOREIGN, LIVING}]
    trial.left += [key for key in blobs.blobs if key not in {FOREIGN_BLOB, LIVING_BLOB}]
    trial.struck = trial.struck or wire.struck
    return trial


# ---- the scene -----------------------------------------------------------------------------------------------------


def _prepare(scene: Scene, arm: Arm, wire: Wire, dice: random.Random) -> None:
    for kind in (scene.kind, scene.second):
        match kind:
            case "lisa-ci killed (kill -9)":
                wire.strike(scene.at, KilledError, is_after=scene.is_after)
            case "job cancelled (SIGINT, SIGTERM)":
                blow = dice.choice((KeyboardInterrupt, lambda: SystemExit(143)))
                wire.strike(scene.at, blow, is_after=scene.is_after)
            case "sold out or no quota":
                every = [(row["name"], region) for row in arm.skus for region in row["locations"]]
                arm.sold_out = {place for place in every if dice.random() < 0.6}
            case "upload fails" if scene.before:
                arm.plan.add("PUT", r"\.vhd$", nth=4, last=dice.choice((4, 30)), answer=throttled())
            case "deployment never ends":
                arm.plan.add("PUT", "/deployments/", last=9, hangs=True)
            case _:
                _spoil(kind, arm.plan, dice)


def _spoil(kind: str, plan: Plan, dice: random.Random) -> None:
    """Requests, or the operations that they begin."""
    method, nth = dice.choice(("GET", "PUT", "DELETE", "POST")), dice.randrange(1, 9)
    match kind:
        case "connections reset":
            for _ in range(dice.randrange(1, 5)):
                plan.add(method, ".", nth=nth, last=nth + dice.randrange(4), cuts=dice.choice(("before", "after")))
                method, nth = dice.choice(("GET", "PUT", "DELETE")), dice.randrange(1, 30)
        case "throttled":
            for _ in range(dice.randrange(1, 4)):
                plan.add(method, ".", nth=nth, last=nth + 5, answer=throttled(dice.randrange(1, 60)))
                method, nth = dice.choice(("GET", "PUT", "DELETE")), dice.randrange(1, 30)
        case "service fails (5xx)":
            body = error_body("InternalServerError", "An internal error occurred.")
            answer = Answer(status=dice.choice((500, 502, 503, 504)), body=body)
            plan.add(method, ".", nth=1 + nth // 4, last=nth + dice.randrange(30), answer=answer)
        case "allocation fails in the operation":
            code = dice.choice(("AllocationFailed", "ZonalAllocationFailed", "OverconstrainedAllocationRequest"))
            failed = {"code": code, "message": "Allocation failed."}
            plan.add("PUT", "/deployments/", last=dice.choice((1, 1, 2, 9)), operation=failed)
        case "deletion fails":
            failed = {"code": dice.choice(("InternalError", "ScopeLocked", "CannotDeleteResource")), "message": ""}
            plan.add("DELETE", "/resourcegroups/[^/]+$", last=dice.choice((1, 2, 9)), operation=failed)


def _neighbours(arm: Arm, blobs: Blobs, clock: FakeClock) -> None:
    """A group and a blob of somebody else, and one each of ours whose lease goes on."""
    until = datetime.fromtimestamp(clock.now(), UTC) + timedelta(days=30)
    living = {names.OWNER: "acme/distro/78", names.LEG: "x", names.DELETE_AFTER: until.strftime("%Y-%m-%dT%H:%M:%SZ")}
    for name, tags in ((FOREIGN, {"team": "web"}), (LIVING, living)):
        arm.groups[name] = {
            "id": f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{name}",
            "name": name,
            "type": "Microsoft.Resources/resourceGroups",
            "location": "westeurope",
            "tags": tags,
            "properties": {"provisioningState": "Succeeded"},
        }
    blobs.put(FOREIGN_BLOB, 512, {"team": "web"})
    blobs.put(LIVING_BLOB, 512, names.metadata(living))


def _earlier(scene: Scene, blobs: Blobs, clock: FakeClock, folder: Path) -> None:
    """The image as an earlier run left it, whose lease has ended."""
    if scene.before in {"", "nothing"}:
        return
    disk = _subject(folder).image
    assert disk is not None
    until = datetime.fromtimestamp(clock.now(), UTC) - timedelta(hours=1)
    tags = {names.OWNER: "acme/distro/70", names.LEG: "x", names.DELETE_AFTER: until.strftime("%Y-%m-%dT%H:%M:%SZ")}
    metadata = names.metadata(tags)
    if scene.before == "whole":
        metadata[WHOLE] = whole_mark(disk)
    made = blobs.put(
        f"{IMAGES.container}/{names.PREFIX}-{disk.disk_digest}.vhd",
        blob_size(disk),
        metadata,
        lease_seconds=60 if scene.before == "half and held" else 0,
    )
    if scene.before == "whole":
        made.pages[disk.size_bytes] = vhd.footer_for(disk.size_bytes, unique_id=bytes(16)).pack()


def _why_no_disk(blobs: Blobs, url: str) -> str:
    """As Azure looks at a blob that is imported."""
    found = blobs.blobs.get(url.removeprefix(f"{IMAGES.account_url}/"))
    if found is None:
        return "it is not there"
    return "" if found.pages.get(found.size - 512, b"").startswith(b"conectix") else "it has no footer"


def _foreign(arm: Arm, blobs: Blobs) -> Mapping[str, Any]:
    groups = {name: deepcopy(arm.groups.get(name)) for name in (FOREIGN, LIVING)}
    return {**groups, **{key: deepcopy(blobs.blobs.get(key)) for key in (FOREIGN_BLOB, LIVING_BLOB)}}


def _subscription(wire: Wire, clock: FakeClock) -> Subscription:
    transport = InProcessTransport(wire.serve, clock.sleep)
    storage = {"transport": InProcessTransport(wire.serve, clock.sleep)}
    return client.made(SUBSCRIPTION, Token(), clock=clock.as_clock(), transport=transport, storage=storage)


def _subject(folder: Path) -> Subject:
    """Made and hashed once for each process: no other one may touch it meanwhile."""
    place = str(folder.parent / f"disk-{os.getpid()}.raw")
    if place not in _SUBJECTS:
        with Path(place).open("wb") as file:
            file.truncate(20 << 20)
        _SUBJECTS[place] = Subject(image=image.resolve(ImageSource(path=place), folder))
    return _SUBJECTS[place]


def _run(
    trial: AzureTrial, azure: Subscription, arm: Arm, wire: Wire, clock: FakeClock, folder: Path, dice: random.Random
) -> AzurePlatform:
    scene = trial.scene

    def log_in(_login: object, *, role: str, **_: object) -> Any:
        if scene.kind == "machine never answers":
            trial.struck = True
            clock.sleep(300)
            raise ProvisioningError("no login within 300 s")
        return Machine(role)

    def upload(*_: object) -> None:
        clock.sleep(60)
        if scene.kind == "upload fails":
            trial.struck = True
            raise ProvisioningError("the disk could not be uploaded")

    doors = Doors(
        log_in=log_in,
        fetch=lambda _url, _start: None,
        runner=lambda: ("203.0.113.9",),
        upload=upload,
        containers=lambda: (IMAGES,) if scene.before else (),
        follow_every=None,
    )
    platform = AzurePlatform(lambda: azure, doors, owner=lambda _: OWNER)
    for name in ("evidence", "scratch"):
        (folder / name).mkdir(parents=True)
    until = datetime.fromtimestamp(clock.now(), UTC) + LEASE
    trial.until = until
    lease = Lease(
        owner="me",
        leg="chaos",
        attempt=1,
        delete_after=until,
        evidence=folder / "evidence",
        scratch=folder / "scratch",
    )
    try:
        with platform.provision(
            scene.profile, _subject(folder), Access(), lease, timeouts=Timeouts(), emit=lambda _: None
        ) as machines:
            trial.had_machine = True
            if len(machines.members) != scene.profile.machines:
                trial.wrong.append("the group has another number of machines")
            _while_used(trial, arm, azure, dice)
        trial.ended = "passed"
    except (KilledError, KeyboardInterrupt, SystemExit) as error:
        trial.ended = type(error).__name__
    except LisaCiError as error:
        trial.ended = f"{type(error).__name__}: {error.message[:120]}"
    except Exception as error:  # noqa: BLE001 - whatever else comes out is a bug of ours
        trial.wrong.append(f"{type(error).__name__}: {error}")
    if not wire.is_dead:
        keys = [path for path in (folder / "scratch").rglob("*") if path.is_file()]
        trial.wrong += [f"a key stays: {path.name}" for path in keys]
    return platform


def _while_used(trial: AzureTrial, arm: Arm, azure: Subscription, dice: random.Random) -> None:
    scene = trial.scene
    azure.clock.sleep(dice.randrange(600))
    arm.settle()
    if scene.kind == "machine evicted":
        trial.struck = True
        arm.evict(next(one for one in arm.resources.values() if one.type == VM))
        raise ProvisioningError("the machine is lost")
    if "disks let go of late" in {scene.kind, scene.second}:
        trial.struck = True
        arm.lingering |= {one.id.lower() for one in arm.resources.values() if one.name.endswith("-os")}


# ---- what is checked -----------------------------------------------------------------------------------------------


def _has_lease(made: Mapping[str, Any]) -> bool:
    tags = made.get("tags") or {}
    try:
        return tags.get(names.OWNER) == OWNER and names.delete_after(tags) is not None
    except DataError:
        return False


def _check_receipts(trial: AzureTrial, arm: Arm, receipts: tuple[Receipt, ...] | Any) -> None:
    """Whoever lived to the end told of every group that is still there."""
    if trial.ended == "KilledError":
        return
    told = {receipt.place.rsplit(" ", 1)[-1]: receipt for receipt in receipts}
    for name in arm.groups:
        if name in {FOREIGN, LIVING}:
            continue
        match = next((receipt for group, receipt in told.items() if group.lower() == name), None)
        if match is None or not match.left:
            trial.untold.append(f"{name} is there, and no receipt says so")
    for receipt in receipts:
        if set(receipt.created) != set(receipt.deleted) | (set(receipt.left) & set(receipt.created)):
            trial.untold.append(f"{receipt.place}: created is not deleted and left together")


def _check_blob_receipts(trial: AzureTrial, blobs: Blobs, receipts: tuple[Receipt, ...] | Any) -> None:
    """Likewise of every image that is there by the leg's lease."""
    if trial.ended == "KilledError":
        return
    told = {one for receipt in receipts for one in receipt.left}
    for key, blob in blobs.blobs.items():
        is_ours = names.from_metadata(blob.metadata).get(names.OWNER) == OWNER
        if is_ours and f"blob/{key.partition('/')[2]}" not in told:
            trial.untold.append(f"{key} is there, and no receipt says so")


def _check_early_blob_sweep(trial: AzureTrial, azure: Subscription, clock: FakeClock) -> None:
    """Before the leg's lease has ended, or while its run lives, no image that it needs is due."""
    now = datetime.fromtimestamp(clock.now(), UTC)
    for when, lives in ((min(now, trial.until), False), (now + LEASE * 2, True)):
        found, unread = blob_sweep.search(azure, [IMAGES], now=when, is_alive=lambda *_, lives=lives: lives)
        trial.wrong += [f"{one.name} is due too early" for one in found if one.is_due and one.owner == OWNER]
        trial.wrong += [one.what for one in unread]


def _check_early_sweep(trial: AzureTrial, azure: Subscription, arm: Arm, clock: FakeClock) -> None:
    """Before the lease has ended, or while the run lives, nothing is due."""
    arm.plan = Plan()
    arm.locks = []
    now = datetime.fromtimestamp(clock.now(), UTC)
    early = sweep.search(azure, now=min(now, _first_end(arm, now)), is_alive=lambda _repository, _run: False)
    trial.wrong += [f"{one.name} is due before its end" for one in early if one.is_due]
    later = now + LEASE * 2
    alive = sweep.search(azure, now=later, is_alive=lambda _repository, _run: True)
    trial.wrong += [f"{one.name} is due while its run lives" for one in alive if one.is_due]


def _first_end(arm: Arm, now: datetime) -> datetime:
    ends = [names.delete_after(group["tags"]) for group in arm.groups.values()]
    return min([now, *(end - timedelta(seconds=1) for end in ends if end is not None)])


def _sweep(trial: AzureTrial, azure: Subscription, arm: Arm, wire: Wire, clock: FakeClock, dice: random.Random) -> None:
    """As the scheduled one: again and again, and one of them may be killed in the middle."""
    clock.sleep(LEASE.total_seconds() * 2)
    arm.settle()
    if trial.scene.kind == "sweep killed":
        wire.strike(dice.randrange(1, 8), KilledError, is_after=dice.random() < 0.5)
        arm.lingering |= {one.id.lower() for one in arm.resources.values() if one.name.endswith("-os")}
    for _ in range(3):
        try:
            now = datetime.fromtimestamp(clock.now(), UTC)
            found = sweep.search(azure, now=now, is_alive=lambda _repository, _run: False)
            sweep.delete(azure, found, say=lambda _text, _level: None)
            images, _ = blob_sweep.search(azure, [IMAGES], now=now, is_alive=lambda _repository, _run: False)
            blob_sweep.delete(azure, images)
        except KilledError:
            wire.is_dead = False
        clock.sleep(7200)
        arm.settle()
