"""From a profile to machines that answer over SSH, and back to nothing: one resource group for each place tried."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from lisa_ci import ssh
from lisa_ci.blobs import Container
from lisa_ci.errors import LisaCiError, ProvisioningError
from lisa_ci.events import Emit, Level, Message
from lisa_ci.model import Access, Image, Lease, Profile, Receipt, Secret, Subject, Timeouts
from lisa_ci.platforms.azure import containers, evidence, names, placing, record, runner
from lisa_ci.platforms.azure.client import RefusedError, Subscription
from lisa_ci.platforms.azure.disk import image_disk, upload_image
from lisa_ci.platforms.azure.errors import Way
from lisa_ci.platforms.azure.evidence import Outside
from lisa_ci.platforms.azure.group import ResourceGroup, existing, no_machine
from lisa_ci.platforms.azure.image_blob import ImageBlob, ImageContainer, located
from lisa_ci.platforms.azure.images_ref import ImageFacts, NamedImage
from lisa_ci.platforms.azure.machines import AzureMachines, Member
from lisa_ci.platforms.azure.shape import Entry, GroupPlan, Order, Place, PlannedMachine
from lisa_ci.platforms.azure.template import plan_group
from lisa_ci.platforms.qemu import console_text
from lisa_ci.ssh import Login, SshMachine, Vitals

SSH_PORT: Final = 22
_FAREWELL: Final = timedelta(seconds=40)  # Azure's own view of a machine's power is some seconds behind
_DEPLOY: Final = timedelta(minutes=30)
_MOST_NAMES: Final = 9

LogIn = Callable[..., SshMachine]
Upload = Callable[[Image, Path, Secret, Emit], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """What a leg reaches the world by beside Azure's API; tests go through others."""

    log_in: LogIn = ssh.connect
    fetch: evidence.Fetch = evidence.fetch
    runner: Callable[[], tuple[str, ...]] = runner.addresses
    upload: Upload | None = None
    containers: Callable[[], tuple[Container, ...]] = containers.named
    follow_every: timedelta | None = evidence.POLL
    ssh_port: int = SSH_PORT


@dataclass(slots=True)
class Provisioning:
    """One leg's machines. ``receipts`` grows with each group that was made."""

    azure: Subscription
    doors: Doors
    profile: Profile
    subject: Subject
    access: Access
    lease: Lease
    timeouts: Timeouts
    emit: Emit
    receipts: list[Receipt] = field(default_factory=list)
    _groups: list[ResourceGroup] = field(default_factory=list)
    _outsides: list[Outside] = field(default_factory=list)
    _containers: tuple[ImageContainer, ...] = ()
    _blobs: dict[str, ImageBlob] = field(default_factory=dict)

    @contextmanager
    def run(self) -> Iterator[AzureMachines]:
        """Leaving the block deletes everything, or lets it go on where the lease says keep. ProvisioningError."""
        with ExitStack() as stack:
            stack.push(self._leave)
            group, plan = self._deployed()
            parts: list[Member] = []
            stack.callback(_close, parts)
            for number, machine in enumerate(plan.machines):
                parts.append(self._member(group, machine, number))
            yield AzureMachines(group=group, profile=self.profile, parts=parts, keep=self.lease.keep)

    def say(self, text: str, level: Level = Level.INFO) -> None:
        self.emit(Message(text=text, level=level, place=self.lease.leg))

    # ---- a place that has room -------------------------------------------------------------------------------------

    def _deployed(self) -> tuple[ResourceGroup, GroupPlan]:
        chosen = placing.choose(self.azure, self.profile, self.subject, say=self.say)
        if chosen.image is None:
            self._containers = located(self.azure, self.doors.containers())
        last: LisaCiError | None = None
        for number, place in enumerate(chosen.places):
            group = self._group(place)
            try:
                return group, self._made(group, place, chosen.image, chosen.facts)
            except RefusedError as error:
                last = error
                if error.refusal.way is not Way.ELSEWHERE:
                    raise no_machine(group, error) from error
                group.begin_delete()  # what stays behind of an allocation that failed costs money as well
                rest = "trying the next place" if number + 1 < len(chosen.places) else "no place is left"
                self.say(f"no {place.size} in {place.region} ({error.refusal.causes[0].code}): {rest}", Level.WARNING)
        tried = ", ".join(f"{place.size} in {place.region}" for place in chosen.places)
        why = last.message if last else "none fits"
        hint = last.hint if last and last.hint else "give the profile other sizes or regions"
        raise ProvisioningError(f"no place has room for profile {self.profile.name} ({tried}): {why}", hint=hint)

    def _group(self, place: Place) -> ResourceGroup:
        """A group of that place under a name that nobody uses: one that is going away, or is another's, is left."""
        for number in range(_MOST_NAMES):
            again = str(number) if number else ""
            taken = {group.name for group in self._groups}
            name = names.group(self.lease, attempt_in="-".join(filter(None, (place.region, again))))
            if name not in taken and self._is_free(name, place):
                break
        group = self._resource_group(name, place)
        self._groups.append(group)
        return group

    def _is_free(self, name: str, place: Place) -> bool:
        """Whether nothing has this name, or only what an earlier run of this very leg began and can be gone on with.

        What that run left, and is of no use, is deleted now: nobody else has this owner, leg and attempt.
        """
        found = existing(self.azure, name)
        if found is None:
            return True
        is_mine = found.tags.get(names.OWNER) == names.tags(self.lease)[names.OWNER]
        if not is_mine or found.state == "Deleting":
            return False
        before = record.read(name)
        if before is not None and before.token and before.is_orphan:
            return True
        if before is None or before.is_orphan:
            old = self._resource_group(name, place)
            old.exists = True
            old.look()
            old.begin_delete()
            self._groups.append(old)
        return False

    def _resource_group(self, name: str, place: Place) -> ResourceGroup:
        tags = names.tags(self.lease)
        return ResourceGroup(
            azure=self.azure, name=name, region=place.region, lease=self.lease, tags=tags, say=self.say
        )

    def _made(self, group: ResourceGroup, place: Place, image: NamedImage | None, facts: ImageFacts) -> GroupPlan:
        until = self.azure.clock.now() + _DEPLOY.total_seconds()
        blob = self._blob(place) if image is None else None
        named = image or (blob.reference if blob else image_disk(group))
        plan = self._plan(group, place, named, facts)
        if group.resume(plan, until=until):
            return plan
        if blob is not None:
            blob.put(self.emit, patience=self.timeouts.leg)
        group.create()
        if image is None and blob is None:
            upload_image(group, self.subject, self.profile, self.doors.upload, emit=self.emit)
        until = self.azure.clock.now() + _DEPLOY.total_seconds()
        self.say(f"deploying {self.profile.machines} x {place.size} in {place.region} as {group.name}", Level.INFO)
        group.deploy(plan, until=until)
        return plan

    def _blob(self, place: Place) -> ImageBlob | None:
        """The local disk's blob in a container of the place's region; None where there is no such container."""
        if place.region in self._blobs or self.subject.image is None:
            return self._blobs.get(place.region)
        where = next((one for one in self._containers if one.region == place.region), None)
        if where is None:
            if self._containers:
                self.say(f"no container for images is in {place.region}: the disk goes into the group", Level.WARNING)
            return None
        found = ImageBlob(azure=self.azure, where=where, image=self.subject.image, lease=self.lease, say=self.say)
        self._blobs[place.region] = found
        return found

    def _plan(self, group: ResourceGroup, place: Place, image: NamedImage, facts: ImageFacts) -> GroupPlan:
        entries = tuple(self._entry(number) for number in range(self.profile.machines))
        order = Order(
            profile=self.profile,
            image=image,
            facts=facts,
            access=self.access,
            lease=self.lease,
            place=place,
            runner=self.doors.runner(),
            entries=entries,
        )
        return plan_group(order, group=group.name)

    # ---- keys ------------------------------------------------------------------------------------------------------

    @property
    def _keys(self) -> Path:
        return self.lease.scratch / "azure"

    def _entry(self, number: int) -> Entry:
        """Keys are made once for a leg, so that a deployment can be gone on with after a crash of ours."""
        host = self._key(f"host-{number}")
        return Entry(
            public_key=self._key("login").public, host_private=host.private.read_text(), host_public=host.public
        )

    def _key(self, name: str) -> ssh.KeyPair:
        private, public = self._keys / name, self._keys / f"{name}.pub"
        if private.is_file() and public.is_file():
            return ssh.KeyPair(private=private, public=public.read_text().strip())
        return ssh.make_key(self._keys, name)

    # ---- login -----------------------------------------------------------------------------------------------------

    def _member(self, group: ResourceGroup, planned: PlannedMachine, number: int) -> Member:
        console = self.lease.evidence / ("console.log" if number == 0 else f"console-{planned.role}.log")
        spot = self.profile.azure is not None and self.profile.azure.spot is not None
        outside = Outside(
            azure=self.azure,
            group=group.name,
            name=planned.name,
            console=console,
            evidence=self.lease.evidence,
            say=self.say,
            fetch=self.doors.fetch,
            is_spot=spot,
        )
        self._outsides.append(outside)
        if self.doors.follow_every is not None:
            outside.follow(self.doors.follow_every)
        return Member(planned=planned, ssh=self._logged_in(planned, outside, console), outside=outside)

    def _logged_in(self, planned: PlannedMachine, outside: Outside, console: Path) -> SshMachine:
        login = Login(
            host=self._address(planned),
            port=self.doors.ssh_port,
            user=planned.user,
            key=self._keys / "login",
            host_key=planned.host_public,
            become=self.access.become,
        )
        name = self.lease.leg if planned.role in {"main", "client"} else f"{self.lease.leg}-{planned.role}"
        try:
            return self.doors.log_in(
                login,
                timeout=self.timeouts.boot,
                vitals=Vitals(is_alive=outside.death, farewell=_FAREWELL),
                name=name,
                role=planned.role,
                console=console,
                known_hosts=self._keys / "known_hosts",
                note=lambda why: self.say(f"waiting for SSH: {why}", Level.DEBUG),
            )
        except ProvisioningError as error:
            outside.look()
            kept = outside.keep_evidence()
            raise _explained(error, console, kept) from error

    def _address(self, planned: PlannedMachine) -> str:
        found = self.azure.patiently(
            lambda: self.azure.resources.resources.get_by_id(planned.address_id, api_version=placing.ADDRESS_API),
            f"read the address of {planned.name}",
            until=self.azure.clock.now() + 60,
            say=self.say,
        )
        address = (found.as_dict().get("properties") or {}).get("ipAddress", "")
        if not address:
            raise ProvisioningError(f"{planned.name} has no public address")
        return str(address)

    # ---- the end ---------------------------------------------------------------------------------------------------

    def _leave(self, kind: type[BaseException] | None, *_: object) -> None:
        """Everything is asked to go before anything is waited for; a cancelled job waits for nothing."""
        is_cancelled = kind is not None and not issubclass(kind, Exception)
        is_kept = self.lease.keep and kind is None
        try:
            self._close_outsides(has_last_words=not is_cancelled)
            if is_kept:
                self.say(f"the machines go on until {self.lease.delete_after:%Y-%m-%d %H:%M %Z}", Level.INFO)
                return
            _begin_delete(self._groups)
            if is_cancelled:
                self.say("the deletion was started; nobody waits for it: lisa-ci sweep --platform azure tells")
            else:
                for group in self._groups:
                    group.wait_deleted()
        finally:
            self._finish(is_kept=is_kept)

    def _finish(self, *, is_kept: bool) -> None:
        """Also when a signal comes while everything is being deleted: whatever was not asked to go, is now."""
        try:
            if not is_kept:
                _begin_delete([group for group in self._groups if not group.is_asked])
        finally:
            if not is_kept:
                shutil.rmtree(self._keys, ignore_errors=True)
            self.receipts += [group.receipt() for group in self._groups if group.exists]
            self.receipts += [told for blob in self._blobs.values() if (told := blob.receipt()) is not None]

    def _close_outsides(self, *, has_last_words: bool) -> None:
        for outside in self._outsides:
            if has_last_words:
                outside.close()
            else:
                outside.stop()


def _begin_delete(groups: Sequence[ResourceGroup]) -> None:
    """Each is asked to go, also where a signal comes at one of them."""
    if groups:
        try:
            groups[0].begin_delete()
        finally:
            _begin_delete(groups[1:])


def _close(parts: Sequence[Member]) -> None:
    for part in parts:
        part.ssh.close()


def _explained(error: ProvisioningError, console: Path, kept: Sequence[str]) -> ProvisioningError:
    """With what Azure saw of the machine: where a boot stopped says why."""
    lines = console_text.last_lines(console_text.read_tail(console)) if console.exists() else []
    said = f"; last on its console: {' | '.join(lines)}" if lines else "; Azure has nothing of its console yet"
    shown = f"; kept {', '.join(kept)}" if kept else ""
    return ProvisioningError(f"{error.message}{said}{shown}", hint=error.hint or f"read {console}")
