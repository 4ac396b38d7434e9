"""Texts as numbers, in streams whose batches follow one another."""

import hashlib
import math
from collections import Counter
from importlib import resources
from pathlib import Path

import numpy as np

from fdl.core import FdlError
from fdl.data._dataset import Dataset, Split
from fdl.data._files import read
from fdl.data._mnist import Folder

TEXT_AT_MOST = 64_000_000  # bytes; War and Peace has 3.3 million


def characters(
    text: str, name: str = "text", *, streams: int = 50, steps: int = 50, held_out: float = 0.2, source: str = "", licence: str = ""
) -> Dataset:
    """A text whose every character is to be predicted from those before it.

    The end of the text is for test, as much at its beginning for validation, the middle for training. Each part is cut into
    `streams` equal, contiguous streams, of which batch `t` holds the `t`-th window: a model that carries its state from
    batch to batch, taken in order, reads each stream from beginning to end.

    Inputs: int32 `[windows x streams, steps]`, window by window, and bool `[windows x streams]`, whether the row begins its
    stream. Labels: int32 like the first input, one character later. Numbers go by how often a character occurs in the text,
    0 the most frequent; `vocabulary` of the result holds the characters. What fills no window of all streams is left out.

    Args:
        text: of any characters.
        name, source, licence: as `Dataset` takes them.
        streams: rows of a batch.
        steps: characters of a row.
        held_out: the share of the text for test, and for validation.

    Raises:
        FdlError: for a text too short for one window of every stream in every part.
    """
    vocabulary = "".join(character for character, _ in Counter(text).most_common())
    number = {character: i for i, character in enumerate(vocabulary)}
    ids = np.array([number[character] for character in text], np.int32)
    rest = math.ceil((1 - held_out) * len(ids))
    first, window = len(ids) - rest, streams * steps
    parts = ids[first:rest], ids[:first], ids[rest:]
    if min(map(len, parts)) <= window:
        least = min(map(len, parts))
        raise FdlError(f"data set {name}", f"{least:,} characters in a part", f"more than {window:,}, {streams} streams of {steps} steps")
    train, validation, test = (_windows(part, streams, steps) for part in parts)
    return Dataset(name, train, validation, test, source=source, licence=licence, vocabulary=vocabulary)


def _windows(ids: np.ndarray, streams: int, steps: int) -> Split:
    count = (len(ids) - 1) // (streams * steps)
    cut = lambda a: np.ascontiguousarray(a[: count * streams * steps].reshape(streams, count, steps).swapaxes(0, 1)).reshape(-1, steps)
    return Split((cut(ids), np.arange(count * streams) < streams), cut(ids[1:]))


def sonnets(streams: int = 20, steps: int = 50) -> Dataset:
    """Shakespeare's sonnets, 95,645 characters of 62 kinds, embedded: `characters` with a tenth for validation and for test."""
    text = resources.files("fdl.data").joinpath("files/shakespeare_sonnets.txt").read_text("utf-8")
    source = "William Shakespeare, The Sonnets (1609); the first tenth of the text for validation, the last for test"
    return characters(text, "sonnets", streams=streams, steps=steps, held_out=0.1, source=source, licence="public domain")


def tolstoi(folder: Folder | None, streams: int = 50, steps: int = 50) -> Dataset:
    """Tolstoy's War and Peace, in the file `input.txt` (UTF-8) of a folder, as DeepOBS prepares it.

    `characters` with a fifth for validation and for test, as in DeepOBS 1.2. Its text, without what stands before and after
    the novel, has 83 kinds of characters. No checksum of it has been published: `source` tells the SHA-256 of the file that
    was read.

    Raises:
        FdlError: without a folder, and for a file that is missing or not UTF-8.
    """
    path = Path("" if folder is None else folder) / "input.txt"
    if folder is None or not path.is_file():
        fix = "Name a folder whose input.txt is the novel, such as Project Gutenberg's no. 2600, with --data-dir (in Python: data_dir=)."
        raise FdlError(
            "data set War and Peace", "no folder" if folder is None else f"no input.txt in {str(folder)!r}", "a folder with it", fix
        )
    content = read(path, TEXT_AT_MOST)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise FdlError(str(path), f"byte {error.start:,} that is not UTF-8", "text in UTF-8") from error
    source = f"Lev Tolstoy, War and Peace: a file with SHA-256 {hashlib.sha256(content).hexdigest()}"
    return characters(text, "War and Peace", streams=streams, steps=steps, source=source, licence="public domain")
