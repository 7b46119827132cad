"""Sign a release folder, after everything in it has been proven anew. The signature covers every byte but its own."""

from __future__ import annotations

from pathlib import Path

from lisa_ci import files
from lisa_ci.errors import SigningError
from lisa_ci.events import Emit
from lisa_ci.protocols import Signer
from lisa_ci.release import envelope, folder
from lisa_ci.release.envelope import Statement
from lisa_ci.release.evidence import Judge
from lisa_ci.release.inspect import Inspection, inspect


def sign(root: Path, signer: Signer, judge: Judge, *, emit: Emit) -> Statement:
    """Write the statement into ``root``. VerificationError, with every reason, unless the release is proven.

    The same release and key give the same bytes, so signing twice changes nothing.
    """
    look = inspect(root, judge, with_disks=True, emit=emit)
    look.raise_problems(f"{root} is not signed", hint="only what was tested, every leg of it, is signed")
    statement = statement_for(look)
    payload = statement.encode()
    signature = signer.sign(envelope.message(payload))
    files.write_atomically(root / folder.STATEMENT, envelope.seal(payload, signature))
    return statement


def statement_for(look: Inspection) -> Statement:
    """The statement about a folder in which no problem was found."""
    if look.problems or look.manifest is None or look.proof is None:
        raise SigningError("a folder with problems has no statement")
    proof = look.proof
    return Statement(subjects=look.subjects, plan_digest=proof.plan_digest, passed=proof.passed, warned=proof.known)
