"""One run into the archive: every blob first, its index last, so that what is seen is whole.

Each step begins with "is it already there?", and everything is named by its content. So a put that was killed at any
byte is put again, from any host, and ends with the same archive.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from lisa_ci.archive.content import BlobContent, collect, packed
from lisa_ci.archive.layout import RunIndex, RunName, blob_name, compressed, encode_index, name_of
from lisa_ci.archive.parallel import in_parallel
from lisa_ci.archive.store import Store, Tier
from lisa_ci.archive.summary import summarize
from lisa_ci.errors import PublishingError
from lisa_ci.events import Emit, Level, Message, StageAdvanced, StageEnded, StageStarted
from lisa_ci.files import LegEvidence
from lisa_ci.model import Plan

PLAN_FILE: Final = "plan.json"
REFRESH_AFTER: Final = timedelta(hours=6)
"""A blob that is older is refreshed when a run uses it, so that no prune takes it before the index is there."""
LONGEST: Final = timedelta(hours=12)
"""From the first blob to the index. Both together are well below the day that prune leaves every blob."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """What became of a run. ``sent_bytes`` are those of the blobs that were not there, as they were sent."""

    name: RunName
    is_new: bool
    blobs: int = 0
    sent: int = 0
    sent_bytes: int = 0
    content_bytes: int = 0
    scrubbed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How runs are put. ``keep`` counts from a run's start; None: for ever."""

    workers: int = 8
    tier: Tier = Tier.HOT
    keep: timedelta | None = None
    labels: Mapping[str, str]


def put_run(store: Store, evidence: LegEvidence, plan: Plan, plan_file: Path, manner: Manner, *, emit: Emit) -> Put:
    """Archive one leg's folder with its plan. PublishingError where it did not end: nobody sees it then."""
    leg = evidence.run.leg
    started = time.monotonic()
    taken = f"lisa-ci-{PLAN_FILE}" if (evidence.folder / PLAN_FILE).exists() else PLAN_FILE
    found = collect(evidence.folder, {taken: plan_file})
    for left in found.not_archived:
        emit(Message(text=f"not archived: {left.path}: {left.reason}", level=Level.WARNING, place=leg))
    summary = summarize(evidence, plan, found.files, labels=manner.labels, keep=manner.keep)
    name = name_of(summary)
    content_bytes = sum(blob.size_bytes for blob in found.blobs.values())
    if store.find(str(name)) is not None:
        return Put(name=name, is_new=False, blobs=len(found.blobs), content_bytes=content_bytes)
    sent = _send(store, found.blobs.values(), manner, leg, emit)
    if time.monotonic() - started > LONGEST.total_seconds():
        raise PublishingError(
            f"{leg} took more than {LONGEST.total_seconds() / 3600:.0f} hours and is not complete in the archive",
            hint="put it again: what is there is not sent a second time",
        )
    index = RunIndex(
        summary=summary,
        files=found.files,
        blobs={sha256: blob.size_bytes for sha256, blob in found.blobs.items()},
        not_archived=found.not_archived,
    )
    data = compressed(encode_index(index))
    is_new = store.put_new(str(name), data, len(data.getbuffer()))
    return Put(
        name=name,
        is_new=is_new,
        blobs=len(found.blobs),
        sent=sum(count > 0 for count in sent),
        sent_bytes=sum(sent),
        content_bytes=content_bytes,
        scrubbed=sum(file.scrubbed for file in found.files),
    )


def _send(store: Store, blobs: Iterable[BlobContent], manner: Manner, leg: str, emit: Emit) -> list[int]:
    """Bytes sent for each blob; 0 for one that was there."""
    ordered = sorted(blobs, key=lambda blob: -blob.size_bytes)  # the longest first: nothing waits for it at the end
    begun = time.monotonic()
    emit(StageStarted(place=leg, stage="archive", expected=len(ordered)))
    sent: list[int] = []
    error = "interrupted"
    stop = threading.Event()
    try:
        for _, count in in_parallel(manner.workers, lambda blob: _send_one(store, blob, manner.tier, stop), ordered):
            sent.append(count)
            emit(StageAdvanced(place=leg, stage="archive", done=len(sent)))
        error = ""
    finally:
        stop.set()
        emit(StageEnded(place=leg, stage="archive", wall=timedelta(seconds=time.monotonic() - begun), error=error))
    return sent


def _send_one(store: Store, blob: BlobContent, tier: Tier, stop: threading.Event) -> int:
    name = blob_name(blob.sha256)
    there = store.find(name)
    if there is not None and (store.now() - there.modified < REFRESH_AFTER or store.refresh(name)):
        return 0
    if stop.is_set():
        return 0
    with packed(blob) as (data, size_bytes):
        return size_bytes if store.put_new(name, data, size_bytes, tier=tier) else 0
