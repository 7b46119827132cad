"""Secrets and private keys out of what a machine printed, before it is kept.

A stream is cut into lines, and a line of more than 64 KiB into pieces; where a cut falls depends on the bytes alone,
never on how they arrive. Every pattern begins with a literal, is bounded, and fails within a constant number of looks
at each byte, so that hostile input costs linear time. What is removed leaves a mark, and text that was JSON stays it:
no pattern takes half of an escape.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lisa_ci.errors import LisaCiError

_WINDOW: Final = 32 * 1024  # bytes; longer than the longest match of any pattern
_BUFFER: Final = 2 * _WINDOW
_CONTEXT: Final = 8  # bytes before a cut that a pattern may look at
_BLOCK: Final = 256 * 1024
_LOOK_BACK: Final = 16 * 1024  # bytes before the end of a key whose begin was cut off; RSA 16384 has 12.6 KiB
_BODY_LIMIT: Final = 16 * 1024
_FOREIGN_LIMIT: Final = 64  # lines of others in between, as on a console, after which a key is taken for cut short

_KIND: Final = rb"[A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
_KEY: Final = re.compile(
    rb"-----BEGIN " + _KIND + rb"(?:[A-Za-z0-9+/=:,. \t]|\\{1,2}[nrt]){0,10000}(-----END " + _KIND + rb")?"
)
_KEY_END: Final = re.compile(rb"-----END " + _KIND)
_KEY_WORD: Final = b"PRIVATE KEY"
_BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
# A line of a key: nothing else; behind a prefix of any length, as in a journal; a header or checksum of an armor.
_BODY: Final = re.compile(
    rb"[A-Za-z0-9+/]{1,128}={0,2}|[^\r\n]{0,200}[ \t][A-Za-z0-9+/]{40,128}={0,2}|=[A-Za-z0-9+/]{4}"
    rb"|(?:Proc-Type|DEK-Info|Version|Comment|Hash): [^\r\n]{0,200}"
)
_KEY_MARK: Final = b"[lisa-ci: private key removed]"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pattern:
    """``gate``, and one of ``hints``, are in every text that matches, in lower case: that is a quick look.

    The group that matched is removed; where there is none, everything.
    """

    name: str
    gate: bytes = b""
    hints: tuple[bytes, ...]
    expression: re.Pattern[bytes]

    @property
    def mark(self) -> bytes:
        return f"[lisa-ci: {self.name} removed]".encode()


_NAMES: Final = (
    rb"(?:password|passwd|passphrase|secret|token|credentials?|api[_-]?key|access[_-]?key|account[_-]?key"
    rb"|private[_-]?key|shared[_-]?key)"
)
_HINTS: Final = (b"pass", b"secret", b"token", b"credential", b"key")
# Not what stands for a secret (a variable, a placeholder, our own mark), nor a word or a number of no worth to anyone.
_NO_SECRET: Final = (
    rb"(?!\[lisa-ci: |[$<{(%*]|(?:\d{1,8}|true|false|none|null|yes|no|on|off|unset|files?|compat|sss?|nis)(?![\w.-]))"
)
# A quoted value ends at its quote, another at whatever ends a word in a shell, a URL, JSON or XML.
_VALUE: Final = (
    rb"(?:\\?\"" + _NO_SECRET + rb"([^\"\\\x00-\x1f]{1,4096})|'" + _NO_SECRET + rb"([^'\\\x00-\x1f]{1,4096})"
    rb"|" + _NO_SECRET + rb"([^\s\x00-\x1f\"'\\,;&<>]{1,4096}))"
)

_PATTERNS: Final = (
    _Pattern(
        name="GitHub token",
        gate=b"_",
        hints=(b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_"),
        expression=re.compile(rb"(?<![A-Za-z0-9_])(?:gh[pousr]_|github_pat_)[A-Za-z0-9_.-]{20,2048}"),
    ),
    _Pattern(
        name="token",
        hints=(b"glpat-", b"xox", b"npm_", b"pypi-age"),
        expression=re.compile(
            rb"(?<![A-Za-z0-9_-])(?:glpat-|xox[abprs]-|npm_|pypi-AgE)(?=[A-Za-z_-]{0,64}[0-9])[A-Za-z0-9_-]{16,1024}"
        ),
    ),
    _Pattern(
        name="JSON web token",
        hints=(b"eyj",),
        expression=re.compile(
            rb"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,4096}\.eyJ[A-Za-z0-9_-]{2,8192}\.[A-Za-z0-9_-]{0,4096}"
        ),
    ),
    _Pattern(
        name="AWS key",
        hints=(b"akia", b"asia"),
        expression=re.compile(rb"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])"),
    ),
    _Pattern(
        name="Azure signature",
        hints=(b"sig=",),
        expression=re.compile(rb"(?<![A-Za-z0-9_])sig=([A-Za-z0-9%+/=_-]{20,512})"),
    ),
    _Pattern(
        name="Azure key",
        hints=(b"==",),
        # 64 bytes. The same length has the base64 of a SHA-512, as in a lock file.
        expression=re.compile(rb"(?<![A-Za-z0-9+/=])(?<!sha512-)[A-Za-z0-9+/]{86}==(?![A-Za-z0-9+/=])"),
    ),
    _Pattern(
        name="password hash",
        gate=b"$",
        hints=(b"$1$", b"$2", b"$5$", b"$6$", b"$7$", b"$y$", b"$gy$", b"$sm3$", b"$sha1$", b"$argon2"),
        expression=re.compile(
            rb"\$(?:1|2[abxy]?|5|6|7|y|gy|sm3|sha1|argon2[a-z]{0,2})\$[./A-Za-z0-9=,+-]{1,128}\$[./A-Za-z0-9$=,+-]{8,512}"
        ),
    ),
    _Pattern(
        name="authorization",
        hints=(b"authorization",),
        expression=re.compile(
            rb"(?i)(?<![A-Za-z0-9])(?:proxy-)?authorization\\?[\"']?[ \t]{0,4}[:=][ \t]{0,4}\\?[\"']?"
            rb"((?!\[lisa-ci: )(?:[a-z0-9-]{1,32}[ \t]{1,4}(?!\[lisa-ci: ))?[^\s\x00-\x1f\"'\\<>]{8,4096})"
        ),
    ),
    _Pattern(
        name="authorization",
        hints=(b"bearer",),
        expression=re.compile(
            rb"(?i)(?<![A-Za-z0-9])bearer[ \t]{1,4}((?=[^\s0-9]{0,256}[0-9])[A-Za-z0-9._~+/=-]{20,4096})"
        ),
    ),
    _Pattern(
        name="password",
        hints=(b"://",),
        expression=re.compile(rb"://[^\s/@:\"'\\<>]{0,64}:((?!\[lisa-ci: )[^\s/@:\"'\\<>]{1,256})@"),
    ),
    _Pattern(
        name="secret",
        hints=_HINTS,
        expression=re.compile(rb"(?i)" + _NAMES + rb"[a-z0-9_-]{0,24}[ \t]{0,4}=[ \t]{0,4}" + _VALUE),
    ),
    _Pattern(
        name="secret",
        hints=_HINTS,
        # JSON: the name is quoted. YAML: the name begins the line. Elsewhere a colon ends the name of a program.
        expression=re.compile(
            rb"(?i)" + _NAMES + rb"[a-z0-9_-]{0,24}\\?[\"'][ \t]{0,4}:[ \t]{0,4}(?=\\?[\"'])" + _VALUE
        ),
    ),
    _Pattern(
        name="secret",
        hints=_HINTS,
        expression=re.compile(
            rb"(?<![^\n])[ \t-]{0,64}[a-z_]{0,24}(?:password|passphrase|secret|token|api_key|access_key|private_key)"
            rb":[ \t]{1,8}" + _VALUE + rb"[ \t]{0,64}\r?(?=\n|\Z)"
        ),
    ),
)


def scrub(data: bytes) -> tuple[bytes, int]:
    """``data`` without secrets, and how many were removed."""
    scrubber = Scrubber()
    clean = scrubber.feed(data) + scrubber.finish()
    return clean, scrubber.removed


def scrub_text(text: str) -> str:
    """The same for a short text."""
    return scrub(text.encode("utf-8", "surrogatepass"))[0].decode("utf-8", "replace")


class Scrubber:
    """A stream in any pieces. ``feed`` gives what is decided so far, ``finish`` the rest; ``removed`` counts.

    ``keeps_size`` puts as many bytes in place as it takes out, for files whose offsets have a meaning (a core).
    Memory is bounded by a few hundred KiB beyond the pieces that are fed.
    """

    def __init__(self, *, keeps_size: bool = False) -> None:
        self._keeps_size = keeps_size
        self._buffer = bytearray()
        self._before = b""  # the end of what was taken from the buffer, as it came
        self._out = bytearray()  # decided, but in reach of a key's end whose begin is missing
        self._emitted = 0
        self._body: int | None = None  # bytes of the key we are in
        self._foreign = 0
        self._prefix = 0  # bytes before the key's begin on its line
        self.removed = 0

    def feed(self, data: bytes) -> bytes:
        """What comes out next; up to 80 KiB stay inside."""
        self._buffer += data
        self._take(is_last=False)
        return self._emit(_LOOK_BACK)

    def finish(self) -> bytes:
        """The rest."""
        self._take(is_last=True)
        return self._emit(0)

    def _emit(self, kept: int) -> bytes:
        count = max(0, len(self._out) - kept)
        ready = bytes(self._out[:count])
        del self._out[:count]
        self._emitted += count
        return ready

    # ---- cutting ---------------------------------------------------------------------------------------------------

    def _take(self, *, is_last: bool) -> None:
        data = self._before + bytes(self._buffer)
        at = len(self._before)
        while at < len(data):
            end = data.rfind(b"\n", at, at + _BUFFER) + 1
            if end:
                self._lines(data, at, end)
            elif len(data) - at >= _BUFFER:
                end = self._piece(data, at)
            elif is_last:
                end = len(data)
                self._lines(data, at, end)
            else:
                break
            at = end
        self._before = data[max(0, at - _CONTEXT) : at]
        self._buffer = bytearray(data[at:])

    def _piece(self, data: bytes, at: int) -> int:
        """The first part of a line that is longer than the buffer; where it ends."""
        found = list(_spans(data, at, at + _BUFFER))
        cut = at + _WINDOW
        for start, end, _ in found:
            if start < cut < end:
                cut = end
        self._replace(data, at, cut, [span for span in found if span[1] <= cut])
        return cut

    def _lines(self, data: bytes, at: int, end: int) -> None:
        if self._body is None and data.find(_KEY_WORD, at, end) < 0:
            self._replace(data, at, end, list(_spans(data, at, end)))
            return
        while at < end:
            after = data.find(b"\n", at, end) + 1 or end
            self._line(data, at, after)
            at = after

    # ---- private keys, which go over lines -------------------------------------------------------------------------

    def _line(self, data: bytes, at: int, end: int) -> None:
        line = at
        if self._body is not None:
            at = self._in_key(data, at, end)
        spans = list(_spans(data, at, end))
        keys = [(start, stop) for start, stop, mark in spans if mark == _KEY_MARK]
        if keys and not data.startswith(b"-----BEGIN ", keys[0][0]):
            self._take_back(keys[0][0] - line)
        self._replace(data, at, end, spans)
        if keys and not data[keys[-1][1] : end].strip() and not _KEY_END.search(data, *keys[-1]):
            self._body, self._foreign, self._prefix = 0, 0, keys[-1][0] - line

    def _in_key(self, data: bytes, at: int, end: int) -> int:
        """Drop what belongs to the key; where the rest of the line begins."""
        found = _KEY_END.search(data, at, end)
        if found:
            self._body = None
            self._drop(found.end() - at)
            return found.end()
        self._body = (self._body or 0) + end - at
        if self._body > _BODY_LIMIT or self._foreign >= _FOREIGN_LIMIT:
            self._body = None
            return at
        if _is_body(data[at:end], self._prefix):
            self._drop(end - at)
            return end
        self._foreign += 1
        return at

    def _take_back(self, prefix: int) -> None:
        """Here ends a key whose begin was cut off: take back the lines that led to it."""
        seen = bytes(self._out[-_LOOK_BACK:])
        first = 0 if self._emitted + len(self._out) <= _LOOK_BACK else seen.find(b"\n") + 1
        start = len(seen)
        while start > first and seen.endswith(b"\n", 0, start):
            line = max(first, seen.rfind(b"\n", first, start - 1) + 1)
            if not _is_body(seen[line:start], prefix):
                break
            start = line
        taken = len(seen) - start
        if taken:
            del self._out[-taken:]
            self._drop(taken)

    def _drop(self, count: int) -> None:
        if self._keeps_size:
            self._out += b"*" * count

    # ---- within a line ---------------------------------------------------------------------------------------------

    def _replace(self, data: bytes, at: int, end: int, spans: list[tuple[int, int, bytes]]) -> None:
        for start, stop, mark in spans:
            self._out += data[at:start]
            self._mark(mark, stop - start)
            at = stop
        self._out += data[at:end]

    def _mark(self, mark: bytes, count: int) -> None:
        self._out += mark[:count].ljust(count, b"*") if self._keeps_size else mark
        self.removed += 1


def _spans(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, bytes]]:
    """What to remove of ``data[at:end]``: start, end and mark, in order, none over another."""
    lower = data[at:end].lower()
    found: list[tuple[int, int, bytes]] = []
    if _KEY_WORD in data[at:end]:
        found += _keys(data, at, end)
    seen: dict[tuple[bytes, ...], bool] = {}
    for pattern in _PATTERNS:
        if pattern.hints not in seen:
            seen[pattern.hints] = pattern.gate in lower and any(hint in lower for hint in pattern.hints)
        if seen[pattern.hints]:
            for match in pattern.expression.finditer(data, at, end):
                group = match.lastindex or 0
                found.append((*match.span(group), pattern.mark))
    found.sort(key=lambda span: (span[0], -span[1]))
    last = at
    for start, stop, mark in found:
        if start >= last:
            yield start, stop, mark
            last = stop
        elif stop > last:
            yield last, stop, mark
            last = stop


def _is_body(line: bytes, prefix: int) -> bool:
    """The last line of a key is short: it counts where it begins behind as many bytes as the key's first or end."""
    return bool(_BODY.fullmatch(line.strip()) or (prefix and _BODY.fullmatch(line[prefix:].strip())))


def _keys(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, bytes]]:
    """Keys from their begin on, and what is left of those whose begin was cut off."""
    whole = [match.span() for match in _KEY.finditer(data, at, end)]
    yield from ((start, stop, _KEY_MARK) for start, stop in whole)
    last, following = at, iter([*whole, (end, end)])
    start, stop = next(following)
    for match in _KEY_END.finditer(data, at, end):
        while stop < match.end() and stop < end:
            last, (start, stop) = max(last, stop), next(following)
        if match.start() < start:
            rest = data[last : match.start()]
            yield last + len(rest.rstrip(_BASE64 + b"\\")), match.end(), _KEY_MARK
            last = match.end()


def scrub_file(path: Path) -> int:
    """Scrub a file in place, atomically; how many secrets were removed. A file without any is not touched.

    A link or a device is left alone. LisaCiError where it cannot be read or written.
    """
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return 0
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise LisaCiError(f"cannot read {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as source:
        mode = os.fstat(descriptor).st_mode
        temporary = ""
        try:
            scrubber = Scrubber()
            target, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:64]}.")
            with os.fdopen(target, "wb") as clean:
                while block := source.read(_BLOCK):
                    clean.write(scrubber.feed(block))
                clean.write(scrubber.finish())
                os.fchmod(clean.fileno(), stat.S_IMODE(mode))
                if scrubber.removed:
                    clean.flush()
                    os.fsync(clean.fileno())
                    Path(temporary).replace(path)
        except OSError as error:
            raise LisaCiError(f"cannot scrub {path}: {error.strerror}", hint="check the free space") from error
        finally:
            with suppress(OSError):
                Path(temporary).unlink()
    return scrubber.removed


def scrub_folder(root: Path) -> int:
    """Scrub every file below ``root``, links and devices left alone; how many secrets were removed. LisaCiError."""
    removed = 0
    for folder, _, names in os.walk(root):
        for name in sorted(names):
            removed += scrub_file(Path(folder, name))
    return removed
