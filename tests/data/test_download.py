"""Downloads, from a server on this machine: whole and verified, or not there."""

import contextlib
import hashlib
import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fdl import FdlError
from fdl.data._download import Remote, cache_folder, cached, download

CONTENT = np.random.default_rng(0).bytes(200_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SEEN: Counter[str] = Counter()


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args): ...

    def do_GET(self):
        case = self.path.split("/")[1]
        SEEN[case] += 1
        if case == "503":
            return self.send_error(503)
        if case in ("moved", "file", "ftp"):
            self.send_response(302)
            self.send_header("Location", {"moved": "/ok/g", "file": "file:///etc/hostname", "ftp": "ftp://127.0.0.1/f"}[case])
            self.send_header("Content-Length", "0")
            return self.end_headers()
        body = {"short": CONTENT[:150_000], "wrong": CONTENT[:-1] + b"?", "long": CONTENT * 20, "page": b"<html>"}.get(case, CONTENT)
        self.send_response(200)
        if case != "close":
            self.send_header("Content-Length", str(len(CONTENT) if case == "short" else len(body)))
        self.end_headers()
        if case in ("stall", "slow"):
            self.wfile.write(body[:100_000])
            self.wfile.flush()
            time.sleep(1.5 if case == "stall" else 0.2)
            body = body[100_000:]
        with contextlib.suppress(ConnectionError):  # the client has seen enough
            self.wfile.write(body)
        self.close_connection = True


@pytest.fixture(scope="module")
def home():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FDL_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def fetch(home, case, **options):
    return cached(
        Remote(f"{home}/{case}/f.gz", len(CONTENT), SHA256), "set", **{"schemes": ("http",), "timeout": 0.7, "display": False, **options}
    )


def test_a_file_is_fetched_once(home, cache, capfd):
    before = SEEN["ok"]
    path = fetch(home, "ok", display=True)
    assert path == cache / "set" / "f.gz"
    assert path.read_bytes() == CONTENT
    assert fetch(home, "ok") == path
    assert SEEN["ok"] == before + 1
    assert files(cache) == ["set/f.gz"]
    assert "Downloading f.gz" in capfd.readouterr().err


@pytest.mark.parametrize("case", ["close", "slow", "moved"])
def test_a_server_that_names_no_length_is_slow_or_points_elsewhere_is_fine(case, home, cache):
    assert fetch(home, case).read_bytes() == CONTENT


BAD = {
    "short": "found 150,000 bytes; expected 200,000 bytes.",
    "long": "found more bytes; expected 200,000 bytes.",
    "page": "found 6 bytes; expected 200,000 bytes.",
    "wrong": f"expected the published {SHA256}.",
    "503": "found HTTPError (Service Unavailable); expected the file.",
    "stall": "found TimeoutError (timed out); expected the file.",
    "file": "Redirection to url 'file:///etc/hostname' is not allowed",
    "ftp": "ftp://127.0.0.1/f: found the scheme 'ftp'; expected http.",
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_download_is_told_leaves_nothing_and_can_be_tried_again(case, home, cache):
    with pytest.raises(FdlError) as caught:
        fetch(home, case)
    assert BAD[case] in str(caught.value)
    assert files(cache) == []
    assert fetch(home, "ok").read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/f", "file:///etc/hostname", "ftp://127.0.0.1/f", "/etc/hostname"])
def test_nothing_but_https_is_taken_outside_these_tests(url):
    with pytest.raises(FdlError, match=r"found the scheme .*; expected https"):
        download(Remote(url, 1, SHA256))


def test_no_server_is_told_with_what_to_do():
    with pytest.raises(FdlError, match=r"Connection refused.*; expected the file\.\n.*--data-dir"):
        download(Remote("https://127.0.0.1:9/f", 1, SHA256), display=False)


def test_a_cache_that_cannot_be_written_to_is_told_before_the_download(home, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("")
    monkeypatch.setenv("FDL_DATA", str(tmp_path / "cache"))
    before = SEEN["ok"]
    with pytest.raises(FdlError, match="Not a directory"):
        fetch(home, "ok")
    assert SEEN["ok"] == before


def test_threads_that_ask_at_once_fetch_once(home, cache):
    before = SEEN["slow"]
    with ThreadPoolExecutor(6) as pool:
        paths = set(pool.map(lambda _: fetch(home, "slow"), range(6)))
    assert SEEN["slow"] == before + 1
    assert [p.read_bytes() for p in paths] == [CONTENT]


def process(home, case):
    code = (
        "from fdl.data._download import *\n"
        f"path = cached(Remote('{home}/{case}/f.gz', {len(CONTENT)}, '{SHA256}'), 'set', schemes=('http',), display=False)\n"
        "assert len(path.read_bytes()) == 200_000"
    )
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)


def test_processes_that_ask_at_once_all_get_it(home, cache):
    all_of_them = [process(home, "slow") for _ in range(3)]
    for one in all_of_them:
        assert (one.communicate()[1], one.returncode) == (b"", 0)
    assert files(cache) == ["set/f.gz"]
    assert (cache / "set" / "f.gz").read_bytes() == CONTENT


def test_a_process_killed_while_it_downloads_leaves_nothing(home, cache):
    before, one = SEEN["stall"], process(home, "stall")
    while SEEN["stall"] == before:
        time.sleep(0.05)
    time.sleep(0.1)
    one.send_signal(signal.SIGKILL)
    one.communicate()
    assert one.returncode == -signal.SIGKILL
    assert files(cache) == []
    assert fetch(home, "ok").read_bytes() == CONTENT


def test_the_cache_is_where_the_platform_keeps_caches(monkeypatch):
    for name in ("FDL_DATA", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    for platform, place in {"linux": ".cache", "darwin": "Library/Caches", "win32": "AppData/Local"}.items():
        monkeypatch.setattr(sys, "platform", platform)
        assert cache_folder() == Path("/home/me") / place / "fdl"
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_folder() == Path("/caches/fdl")
    monkeypatch.setenv("FDL_DATA", os.path.join("/", "data"))
    assert cache_folder() == Path("/data")
