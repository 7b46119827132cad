"""Verify a release folder offline, with a key from outside of it: what it claims, who says so, and what is proven."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lisa_ci import files
from lisa_ci.errors import DataError, VerificationError
from lisa_ci.events import Emit
from lisa_ci.protocols import Release, ReleaseFile
from lisa_ci.release import envelope, folder, sums
from lisa_ci.release.envelope import Statement
from lisa_ci.release.evidence import Judge
from lisa_ci.release.inspect import Inspection, inspect
from lisa_ci.release.keys import PublicKey
from lisa_ci.release.manifest import Manifest

_NAMES: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """A release that holds what it claims. ``facts`` are the sentences that are proven."""

    release: Release
    manifest: Manifest
    statement: Statement
    facts: tuple[str, ...]


def verify(root: Path, key: PublicKey, judge: Judge, *, quick: bool = False, emit: Emit) -> Verification:
    """VerificationError that names every changed, missing and extra file, a wrong signer, an altered statement.

    ``quick`` leaves out the recomputation of the disks; the bytes of the containers are compared all the same.
    """
    look = inspect(root, judge, with_disks=not quick, emit=emit)
    statement = _signed_statement(look, key)
    look.raise_problems(f"{root} is not what it claims to be", hint="do not use it; get it again from its source")
    if look.manifest is None or statement is None:
        raise VerificationError(f"{root} has no manifest or no statement")
    return Verification(
        release=_release(look, look.manifest),
        manifest=look.manifest,
        statement=statement,
        facts=tuple(_facts(look, look.manifest, statement, key, quick=quick)),
    )


def _signed_statement(look: Inspection, key: PublicKey) -> Statement | None:
    """The statement, where the key signed it; what it says is compared with what was found."""
    if folder.STATEMENT not in look.listing.files:
        look.problems.append(f"{folder.STATEMENT} is missing: the release is not signed")
        return None
    try:
        data = files.read_bounded(look.root / folder.STATEMENT, envelope.LIMIT_BYTES)
        payload, signature = envelope.unseal(data, place=folder.STATEMENT)
        if not key.has_signed(envelope.message(payload), signature):
            look.problems.append(_wrong_signature(signature.key_id, key))
            return None
        if signature.key_id != key.key_id:
            look.problems.append(f"{folder.STATEMENT} is changed: its key id is not that of the key that signed it")
        statement = envelope.open_statement(payload, place=folder.STATEMENT)
    except DataError as error:
        look.problems.append(error.message)
        return None
    look.problems += _differences(look, statement)
    return statement


def _wrong_signature(claimed: str, key: PublicKey) -> str:
    if claimed != key.key_id:
        said = folder.printable(claimed)[:64]
        return f"{folder.STATEMENT} is signed by another key: it names {said}, trusted is {key.key_id}"
    return f"{folder.STATEMENT} is changed: the trusted key did not sign these bytes"


def _differences(look: Inspection, statement: Statement) -> Iterator[str]:
    expected = look.subjects
    for name in sorted(expected.keys() | statement.subjects.keys()):
        signed, found = statement.subjects.get(name), expected.get(name)
        if signed == found:
            continue
        if name == sums.FILE_NAME:
            yield f"{name} is changed: {folder.STATEMENT} is about other bytes"
        elif signed is None:
            yield f"{name} is not what was signed: {folder.STATEMENT} does not name it"
        else:
            yield f"{folder.printable(name)} is not what was signed: {folder.STATEMENT} names the digest {signed[:64]}"
    proof = look.proof
    if statement.failed:
        yield f"{folder.STATEMENT} tells of failed tests: {', '.join(statement.failed[:5])}"
    if proof is not None and statement.plan_digest != proof.plan_digest:
        yield f"{folder.PLAN} is not the plan that was signed"
    if proof is not None and (statement.passed, statement.warned) != (proof.passed, proof.known):
        yield f"{folder.EVIDENCE} proves other tests than {folder.STATEMENT} lists"


def _release(look: Inspection, manifest: Manifest) -> Release:
    digests = {
        **look.digests,
        sums.FILE_NAME: look.sums_digest,
        folder.STATEMENT: folder.sha256_of(look.root, folder.STATEMENT),
    }
    return Release(
        folder=look.root,
        name=manifest.name,
        version=manifest.version,
        arch=manifest.arch.value,
        digest=look.sums_digest,
        files={
            name: ReleaseFile(sha256=digest, size_bytes=(look.root / name).stat().st_size)
            for name, digest in sorted(digests.items())
        },
    )


def _facts(look: Inspection, manifest: Manifest, statement: Statement, key: PublicKey, *, quick: bool) -> Iterator[str]:
    yield f"release {manifest.title}: {len(look.digests) + 2} files, none changed, missing or extra"
    yield f"signed by the key {key.key_id}"
    for container in manifest.containers:
        yield f"{container.file}: sha256 {container.sha256}"
    how = "as signed (not recomputed: --quick)" if quick else "recomputed from every container"
    yield f"disk {manifest.disk_digest}, {manifest.disk_bytes >> 20} MiB, {how}"
    verdict = look.proof.verdict if look.proof else None
    counts = ", ".join(f"{count} {name}" for name, count in sorted(verdict.counts.items()) if count) if verdict else ""
    yield f"tested: {len(verdict.legs) if verdict else 0} legs, {counts}; verdict recomputed from the plan and results"
    if statement.warned:
        names = ", ".join(folder.printable(name) for name in statement.warned[:_NAMES])
        more = f" and {len(statement.warned) - _NAMES} more" if len(statement.warned) > _NAMES else ""
        yield f"known to fail, and let through by the plan: {names}{more}"
    yield f"plan {statement.plan_digest}"
