"""Azurite, Microsoft's emulator of Azure Blob Storage, on loopback: real HTTP, real signatures, real conditions."""

from __future__ import annotations

import contextlib
import re
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from azure.storage.blob import BlobServiceClient

_HOME = Path(__file__).parent.parent.parent / ".ci" / "azurite"
_ACCOUNT = "devstoreaccount1"
# The key of the emulator's account is the same everywhere, and public:
# https://learn.microsoft.com/azure/storage/common/storage-connect-azurite
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # gitleaks:allow


@dataclass(frozen=True, kw_only=True)
class Azurite:
    """A running emulator. ``url`` is that of its account."""

    port: int
    scheme: str = "http"
    _made: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/{_ACCOUNT}"

    @property
    def connection_string(self) -> str:
        return self.connection_by(self.port)

    def connection_by(self, port: int) -> str:
        """The same account behind another port."""
        endpoint = f"{self.scheme}://127.0.0.1:{port}/{_ACCOUNT}"
        return f"AccountName={_ACCOUNT};AccountKey={KEY};BlobEndpoint={endpoint};"

    def url_by(self, port: int) -> str:
        return f"{self.scheme}://127.0.0.1:{port}/{_ACCOUNT}"

    def service(self) -> BlobServiceClient:
        return BlobServiceClient.from_connection_string(self.connection_string, api_version="2025-11-05")

    def container(self) -> str:
        """A new, empty container; its name."""
        name = f"archive-{len(self._made)}"
        self._made.append(name)
        with self.service() as service:
            service.create_container(name)
        return name


@contextlib.contextmanager
def azurite(certificate: Path | None = None, key: Path | None = None) -> Iterator[Azurite]:
    """Started, and stopped again; it keeps everything in memory.

    With a certificate it speaks TLS and takes bearer tokens for their claims, whoever signed them.
    """
    program = _HOME / "node_modules/azurite/dist/src/blob/main.js"
    assert program.is_file(), "Azurite is missing: npm ci --prefix .ci/azurite"
    process = subprocess.Popen(
        [
            *("setpriv", "--pdeathsig", "KILL", "--"),  # a killed test takes it along
            *("node", program, "--blobHost", "127.0.0.1", "--blobPort", "0"),
            *("--inMemoryPersistence", "--disableTelemetry", "--silent"),
            *(("--oauth", "basic", "--cert", certificate, "--key", key) if certificate and key else ()),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    killer = threading.Timer(60, process.kill)  # a start that never ends becomes an end of its output
    killer.start()
    try:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            found = re.search(r"successfully listens on (https?)://127\.0\.0\.1:(\d+)", line)
            if found:
                killer.cancel()
                yield Azurite(port=int(found[2]), scheme=found[1])
                break
        else:
            raise AssertionError(f"Azurite did not start: {said}")
    finally:
        killer.cancel()
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait(10)
        process.stdout.close() if process.stdout else None
