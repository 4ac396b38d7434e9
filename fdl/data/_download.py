"""Published files, fetched once over HTTPS into a cache folder."""

import http.client
import os
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from fdl.core import FdlError
from fdl.core._io import writable_folder, write_bytes
from fdl.data._files import check_digest

_ONE_AT_A_TIME = threading.Lock()  # threads that want the same file: the first fetches it


class Remote(NamedTuple):
    """A file at its public home."""

    url: str
    size: int
    """In bytes."""
    sha256: str


def cache_folder() -> Path:
    """Where data sets are kept: the environment variable `FDL_DATA`, or `fdl` in the user's cache folder of this platform."""
    if os.environ.get("FDL_DATA"):
        return Path(os.environ["FDL_DATA"])
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "fdl"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "fdl"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fdl"


def cached(remote: Remote, folder: str, **options: Any) -> Path:
    """The file's place in the cache, to which it is downloaded where it is not there; `options` go to `download`.

    It appears under its name only when it is whole and verified, so an interrupted download leaves nothing behind, and
    several processes may ask at once.
    """
    path = cache_folder() / folder / remote.url.rsplit("/", 1)[-1]
    with _ONE_AT_A_TIME:
        if not path.is_file():
            writable_folder(path.parent, "data folder (FDL_DATA)")
            write_bytes(path, download(remote, **options))
    return path


def download(remote: Remote, schemes: Collection[str] = ("https",), timeout: float = 30, display: bool = True) -> bytes:
    """The file's content, whose size and SHA-256 are those that were published.

    Args:
        remote: what to fetch.
        schemes: what a URL, also one redirected to, may begin with.
        timeout: seconds without a byte after which to give up.
        display: whether a progress bar is shown, on standard error.

    Raises:
        FdlError: for another scheme, no connection, a server's error, a stall, another size or content.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    class Redirects(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, request: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
            fp.close()
            _check_scheme(newurl, schemes)
            return super().redirect_request(request, fp, code, msg, headers, newurl)

    _check_scheme(remote.url, schemes)
    request = urllib.request.Request(remote.url, headers={"User-Agent": "fdl"})
    columns = (TextColumn("{task.description}"), BarColumn(24), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(compact=True))
    bars = Progress(*columns, console=Console(stderr=True), disable=not display)
    content = bytearray()
    try:
        with urllib.request.build_opener(Redirects).open(request, timeout=timeout) as answer, bars:
            bar = bars.add_task("Downloading " + remote.url.rsplit("/", 1)[-1], total=remote.size)
            while len(content) <= remote.size and (block := answer.read(1 << 16)):
                content += block
                bars.update(bar, completed=len(content))
    except (OSError, http.client.HTTPException) as error:  # URLError, HTTPError and timeouts are OSErrors
        reason = getattr(error, "reason", None) or error
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise FdlError(remote.url, f"{type(error).__name__} ({reason})", "the file", _BY_HAND) from error
    if len(content) != remote.size:
        found = "more bytes" if len(content) > remote.size else f"{len(content):,} bytes"
        raise FdlError(remote.url, found, f"{remote.size:,} bytes", _BY_HAND)
    check_digest(content, remote.sha256, remote.url)
    return bytes(content)


_BY_HAND = "Try again, or get the data set's files by other means and name their folder with --data-dir (in Python: folder=, data_dir=)."


def _check_scheme(url: str, schemes: Collection[str]) -> None:
    scheme = urllib.parse.urlsplit(url).scheme
    if scheme not in schemes:
        raise FdlError(url, f"the scheme {scheme!r}", " or ".join(schemes), _BY_HAND)
