"""Bytes of files that others made: bounded before they are held, checked before they are believed."""

import hashlib
import os
import zlib
from collections.abc import Collection
from pathlib import Path

from fdl.core import FdlError

AGAIN = "Remove the file and get it again."


def read(path: Path, limit: int) -> bytes:
    """What the file holds, unpacked where it is a gzip file; never more than `limit` bytes.

    Raises:
        FdlError: where it cannot be read, is damaged or holds more.
    """
    most = limit + limit // 1000 + 1024  # gzip adds less than that to what it cannot compress
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            content = file.read(most) if size <= most else b""
    except OSError as error:
        raise FdlError(str(path), error.strerror or str(error), "a file that can be read") from error
    if content[:2] == b"\x1f\x8b":
        return gunzip(content, limit, str(path))
    if max(size, len(content)) > limit:
        raise FdlError(str(path), f"{max(size, len(content)):,} bytes", f"at most {limit:,}")
    return content


def gunzip(packed: bytes, limit: int, where: str) -> bytes:
    """The content of a gzip file of one member, whose length and CRC-32 agree with its end."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        content = unpacker.decompress(packed, limit + 1)
    except zlib.error as error:
        raise FdlError(where, f"damaged gzip data ({error})", "an intact file", AGAIN) from error
    if len(content) > limit:
        raise FdlError(where, f"gzip data that expands beyond {limit:,} bytes", "at most so many")
    if not unpacker.eof:
        raise FdlError(where, f"gzip data cut off after {len(packed):,} bytes", "a whole file", AGAIN)
    if unpacker.unused_data:
        raise FdlError(where, f"{len(unpacker.unused_data):,} bytes after the end of the gzip data", "nothing there")
    return content


def check_digest(content: bytes | bytearray, sha256: str, where: str) -> None:
    """Raises `FdlError` unless this is the content's SHA-256."""
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise FdlError(
            where, f"content with SHA-256 {found}", f"the published {sha256}", "It is damaged, or another file of this name. " + AGAIN
        )


def tar_members(archive: bytes, names: Collection[str], where: str) -> dict[str, memoryview]:
    """The regular files of these names in a tar archive, looked at in place; everything else in it is passed over.

    Nothing is extracted, so no name, link or device in the archive can reach the file system.

    Args:
        archive: a POSIX or GNU tar archive, unpacked.
        names: full paths of members, each at most 100 bytes long; the result follows their order.
        where: what an error calls the archive.

    Raises:
        FdlError: for a damaged header, a size beyond the archive's end, a name that is missing, there twice or no regular file.
    """
    members: dict[str, memoryview] = {}
    view, start = memoryview(archive), 0
    while start + 512 <= len(archive) and any(archive[start : start + 512]):
        header = archive[start : start + 512]
        name = header[:100].split(b"\0")[0].decode("latin1")
        size, claimed = _octal(header[124:136]), _octal(header[148:156])
        if claimed != sum(header) - sum(header[148:156]) + 8 * 32:
            raise FdlError(where, f"a damaged header at byte {start:,}", "an intact tar archive", AGAIN)
        if size is None or start + 512 + size > len(archive):
            found = f"{name!r} of {'an unreadable size' if size is None else f'{size:,} bytes'} at byte {start:,}"
            raise FdlError(where, f"{found} of {len(archive):,}", "members that end within the archive")
        if name in names:
            if name in members or header[156:157] not in (b"0", b"\0"):
                raise FdlError(where, f"{name!r} twice" if name in members else f"{name!r} as no regular file", "one regular file")
            members[name] = view[start + 512 : start + 512 + size]
        start += 512 + -(-size // 512) * 512
    missing = sorted(set(names) - set(members))
    if missing:
        raise FdlError(where, f"no {missing[0]!r} among {len(members)} of {len(names)} members", "an archive that holds it")
    return {name: members[name] for name in names}


def _octal(field: bytes) -> int | None:
    digits = field.strip(b" \0")
    return int(digits, 8) if digits and digits.isdigit() and not digits.strip(b"01234567") else None
