"""A real browser on a page of ours, with a public npm package on it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.servers import REPOSITORY

_FOLDER = REPOSITORY / "tests" / "browser"
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)


def packages() -> Path:
    """The folder with the npm packages that tests/browser/package.json names, installed where they are not."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm here to install the browser's packages with")
    installed = _FOLDER / "node_modules"
    if not (installed / ".package-lock.json").exists():
        command = [npm, "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=_FOLDER, check=True, capture_output=True, timeout=240)
    return installed


@contextmanager
def browsing(files: dict[str, str | Path]) -> Iterator[None]:
    """Chromium on the page `index.html` of these files, as long as the block lasts. The page is served from an
    origin of its own, so what it calls is another one."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium here to open a page with")
    with tempfile.TemporaryDirectory() as folder:
        site, profile = Path(folder, "site"), Path(folder, "profile")
        site.mkdir()
        for name, content in files.items():
            text = content if isinstance(content, str) else content.read_text()
            (site / name).write_text(text)
        with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=site)) as server:
            thread = Thread(target=server.serve_forever, daemon=True)
            thread.start()
            page = f"http://127.0.0.1:{server.server_port}/index.html"
            process = subprocess.Popen(
                [chromium, *_FLAGS, f"--user-data-dir={profile}", page],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                yield
            finally:
                process.terminate()
                process.wait(20)
                server.shutdown()
                thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass
