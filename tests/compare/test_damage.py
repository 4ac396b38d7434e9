"""What becomes of a study whose disk fills, whose writes fail or whose file is damaged: one error, nothing lost, nothing false."""

import os
import random
import resource
import shutil
import sqlite3
import subprocess

import pytest

from fdl import FdlError, compare
from fdl.compare import RunRecord, _store
from fdl.compare._store import Store
from fdl.core import _io

# Starved.

RECORDS = [
    RunRecord(
        "tune", f"c{i}", i, s, {"lr": 0.1 * i, "kind": "a"}, None, {("validation", "loss"): [(t, 0.1 + t / (i + 1)) for t in range(20)]}
    )
    for i in range(6)
    for s in range(2)
]
MANIFEST = {"plan": {"trials": 3}, "environment": {"layout": [1, 2, True]}}


def write(folder, records=RECORDS):
    """A small study as the engine writes it: a manifest, then run after run."""
    store = Store(folder)
    try:
        store.write_manifest(MANIFEST)
        known = {run.id for run in store.runs()}
        for record in records:
            if record.id not in known:
                store.add([record])
    finally:
        store.close()


def read(folder):
    store = Store(folder)
    try:
        return store.manifest(), store.runs()
    finally:
        store.close()


class Failing:
    """An SQLite connection of which the n-th statement fails."""

    def __init__(self, connection, countdown):
        self._connection, self._countdown = connection, countdown

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def _count(self):
        self._countdown[0] -= 1
        if self._countdown[0] == 0:
            raise sqlite3.OperationalError("database or disk is full")

    def execute(self, *arguments):
        self._count()
        return self._connection.execute(*arguments)

    def executemany(self, *arguments):
        self._count()
        return self._connection.executemany(*arguments)


def test_whichever_statement_fails_is_one_error_and_nothing_is_lost(tmp_path, monkeypatch):
    opened, countdown, failures = _io.open_database, [0], 0
    monkeypatch.setattr(_store, "open_database", lambda *arguments: Failing(opened(*arguments), countdown))
    for n in range(1, 1000):
        folder = tmp_path / str(n)
        folder.mkdir()
        countdown[0] = n
        try:
            write(folder, RECORDS[:3])
        except FdlError as error:
            failures += "database or disk is full" in str(error)
            countdown[0] = 0
            write(folder, RECORDS[:3])
        else:
            break
        assert read(folder) == (MANIFEST, RECORDS[:3])
    assert failures == n - 1 > 15


@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
def test_an_export_that_fails_is_one_error(tmp_path, monkeypatch, call):
    write(tmp_path)
    study = compare.Study.load(tmp_path)
    compare.export(study)
    before = (tmp_path / "records.csv").read_bytes()

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(FdlError, match="No space left"):
            compare.export(study)
    assert (tmp_path / "records.csv").read_bytes() == before
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]


def test_a_limit_on_file_size_is_one_error_and_the_study_goes_on_without_it(tmp_path):
    limits, reached = resource.getrlimit(resource.RLIMIT_FSIZE), 0
    for size in range(0, 120_000, 9001):
        folder = tmp_path / str(size)
        folder.mkdir()
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        try:
            write(folder)
        except FdlError:
            reached += 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        write(folder)
        assert read(folder) == (MANIFEST, RECORDS)
    assert reached > 3


def test_a_full_disk_is_one_error_and_the_study_goes_on_when_there_is_room(tmp_path):
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", tmp_path], capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        store, ballast, refused = tmp_path / "study", tmp_path / "ballast", 0
        for left in range(0, 200_000, 20_000):
            shutil.rmtree(store, ignore_errors=True)
            ballast.unlink(missing_ok=True)
            store.mkdir()
            write(store, RECORDS[:2])
            free = os.statvfs(tmp_path)
            ballast.write_bytes(b"x" * max(free.f_bavail * free.f_bsize - left, 0))
            try:
                with _io.locked(store / ".lock", "study folder"):
                    write(store)
            except FdlError:
                refused += 1
            ballast.unlink()
            write(store)
            assert read(store) == (MANIFEST, RECORDS)
        assert refused > 2
    finally:
        subprocess.run(["umount", tmp_path], check=True)


# Damaged.


def outcome(folder):
    """What a reader gets: "refused", "equal", or what it should never be."""
    try:
        found = read(folder)
    except FdlError:
        return "refused"
    if found == (MANIFEST, RECORDS):
        return "equal"
    manifest, runs = found
    return "earlier" if runs == RECORDS[: len(runs)] and manifest in ({}, MANIFEST) else "other"


@pytest.fixture
def damaged(tmp_path):
    """Gives a study in which a file has another content."""
    good = tmp_path / "good"
    good.mkdir()
    store = Store(good)
    store.write_manifest(MANIFEST)
    for record in RECORDS:
        store.add([record])
    logged = {name: (good / name).read_bytes() for name in ("study.db", "study.db-wal")}  # as a killed process leaves it
    store.close()
    whole = {"study.db": (good / "study.db").read_bytes()}

    def get(kind, name, change, *arguments):
        folder = tmp_path / "bad"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for file, content in (whole if kind == "whole" else logged).items():
            (folder / file).write_bytes(change(content, *arguments) if file == name else content)
        return folder

    get.size = lambda kind, name: len((whole if kind == "whole" else logged)[name])
    return get


def cut(content, size):
    return content[:size]


def flipped(content, place):
    changed = bytearray(content)
    changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


@pytest.mark.parametrize("flips", [200, pytest.param(5000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("kind", "name"), [("whole", "study.db"), ("logged", "study.db"), ("logged", "study.db-wal")])
def test_a_flipped_bit_is_named_or_harmless(damaged, kind, name, flips):
    rng, found = random.Random(flips), {}
    for _ in range(flips):
        place = rng.randrange(8 * damaged.size(kind, name))
        result = outcome(damaged(kind, name, flipped, place))
        found.setdefault(result, []).append(place // 8)
    print({result: len(places) for result, places in found.items()})
    assert "other" not in found
    assert "earlier" not in found or name == "study.db-wal", "only what was not yet in the database itself may be told as not yet there"


def test_a_torn_database_is_named(damaged):
    sizes = random.Random(0).sample(range(1, damaged.size("whole", "study.db")), 100)
    assert {outcome(damaged("whole", "study.db", cut, size)) for size in sizes} == {"refused"}
    empty = damaged("whole", "study.db", cut, 0)
    with pytest.raises(FdlError, match=r"a study\.db without a plan"):
        compare.Study.load(empty)


def test_a_torn_log_is_a_state_that_was(damaged):
    sizes = random.Random(0).sample(range(damaged.size("logged", "study.db-wal")), 100)
    found = {outcome(damaged("logged", "study.db-wal", cut, size)) for size in sizes}
    assert found <= {"earlier", "equal"}
