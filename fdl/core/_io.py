"""Every file that fdl writes or reads passes through here."""

import contextlib
import json
import os
import socket
import sqlite3
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fdl.core._errors import FdlError


def writable_folder(path: str | os.PathLike[str], where: str = "folder") -> Path:
    """`path`, created where it is missing; raises `FdlError` unless a file can be written into it."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise FdlError(where, f"{str(path)!r} ({error.strerror})", "a folder that can be written to") from error
    return folder


@contextlib.contextmanager
def locked(path: Path, where: str) -> Iterator[None]:
    """Holds the file `path` against other processes; raises `FdlError` naming the one that holds it.

    The system lets go of the lock when its process ends, however it ends.
    """
    import fcntl

    try:
        file = open(path, "ab+", buffering=0)  # noqa: SIM115 (held until the end)
    except OSError as error:
        raise FdlError(where, f"{str(path)!r} ({error.strerror})", "a folder that can be written to") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().decode(errors="replace") or "another process"
            raise FdlError(where, f"{str(path.parent)!r} in use by {holder}", "a folder of its own") from error
        except OSError as error:
            raise FdlError(where, f"{str(path.parent)!r} without file locks ({error.strerror})", "a file system that has them") from error
        with contextlib.suppress(OSError):  # a name on the lock is a courtesy: what a full disk costs is told elsewhere
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}".encode())
        yield


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a whole file or none: a temporary name in the same folder, fsync, rename, fsync of the folder."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise FdlError(str(path), f"{error.strerror} while writing", "a file system with room that can be written to") from error


def save_arrays(path: Path, tree: dict[str, Any], metadata: dict[str, Any]) -> None:
    """Writes nested dictionaries of arrays as safetensors; an array's name is its path, joined with `/`.

    `metadata` and a checksum are kept as one JSON text under the key `fdl`.
    """
    from safetensors.numpy import save

    flat: dict[str, np.ndarray] = {}

    def walk(prefix: str, node: Any) -> None:
        if isinstance(node, dict):
            for name, child in node.items():
                if "/" in name:
                    raise FdlError(f"array {prefix}/{name}", "a '/' in the name", "a name without it: it parts the names of a path")
                walk(f"{prefix}/{name}" if prefix else name, child)
        else:
            flat[prefix] = np.asarray(node, order="C")

    walk("", tree)
    write_bytes(path, save(flat, {"fdl": json.dumps({"crc32": _checksum(flat, metadata), "metadata": metadata})}))


def load_arrays(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tree and the metadata that `save_arrays` wrote; raises `FdlError` for any other or a damaged file."""
    from safetensors import safe_open

    tree: dict[str, Any] = {}
    try:
        with safe_open(path, "numpy") as file:
            mark = json.loads((file.metadata() or {}).get("fdl", "{}"))
            flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        metadata = mark.get("metadata")
        if mark.get("crc32") != _checksum(flat, metadata):
            raise ValueError("contents that are not those of its checksum")
        for name, array in flat.items():
            *parents, leaf = name.split("/")
            node = tree
            for parent in parents:
                node = node.setdefault(parent, {})
            node[leaf] = array
    except Exception as error:  # whatever a foreign or damaged file provokes
        raise FdlError(str(path), f"{error}", "a safetensors file written by fdl") from error
    return tree, metadata


def _checksum(flat: dict[str, np.ndarray], metadata: Any) -> int:
    """Of names, shapes, dtypes, bytes and metadata: safetensors itself loads a flipped bit as another number."""
    from safetensors.numpy import save

    return zlib.crc32(save(flat, {"fdl": json.dumps(metadata)}))


def open_database(path: Path, schema: str) -> sqlite3.Connection:
    """An SQLite database in autocommit mode that several threads may use in turn; `transaction` writes to it.

    Args:
        schema: statements that make the tables of a new one.

    Raises:
        FdlError: for a damaged one too: all of it is checked.
    """
    with _database_errors(path):
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
            (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if found != "ok":
                raise sqlite3.DatabaseError(found)
            if not connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
                connection.executescript(f"BEGIN IMMEDIATE; {schema}; COMMIT")
        except BaseException:
            connection.close()
            raise
    return connection


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection, path: Path) -> Iterator[sqlite3.Connection]:
    """Everything that is written inside is kept, durably, or nothing is."""
    with _database_errors(path):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def read(connection: sqlite3.Connection, path: Path, query: str) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    with _database_errors(path):
        return connection.execute(query).fetchall()


@contextlib.contextmanager
def _database_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:
        kept = "What had been written before is safe; the same command goes on from there."
        raise FdlError(str(path), str(error), "an undamaged database on a file system with room", kept) from error
