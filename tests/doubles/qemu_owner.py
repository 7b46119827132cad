"""A program that owns a machine, for tests that kill it: prints what it made, then waits for its end.

usage: qemu_owner.py IMAGE FOLDER [keep]
"""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lisa_ci import image
from lisa_ci.events import Event, Message
from lisa_ci.model import Access, ImageSource, Lease, Profile, Subject, Timeouts
from lisa_ci.platforms.qemu import QemuPlatform


def main(path: str, folder: Path) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests in the background has it ignored
    lease = Lease(
        owner="test",
        leg="owned",
        attempt=1,
        delete_after=datetime.now(UTC) + timedelta(minutes=10),
        evidence=folder / "evidence",
        scratch=folder / "scratch",
    )

    def emit(event: Event) -> None:
        if isinstance(event, Message) and (found := re.search(r"SSH at 127\.0\.0\.1:(\d+)", event.text)):
            [place] = lease.scratch.iterdir()
            sys.stdout.write(json.dumps({"port": int(found[1]), "folder": str(place)}) + "\n")
            sys.stdout.flush()

    subject = Subject(image=image.resolve(ImageSource(path=path), Path("/")))
    timeouts = Timeouts(boot=timedelta(minutes=5))
    with QemuPlatform().provision(Profile(name="owned"), subject, Access(), lease, timeouts=timeouts, emit=emit):
        time.sleep(600)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
