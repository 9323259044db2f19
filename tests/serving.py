"""A real server in a process of its own, for tests."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

TOKEN = "a-token-for-writing"


class Server:
    """A running `grainhash serve`: `client` asks it, `process` is what may be killed."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url
        self.client = httpx.Client(base_url=url, timeout=60)

    def search(self, picture: bytes, **parameters: object) -> httpx.Response:
        return self.client.post("/api/v1/search", content=picture, params=parameters)

    def add(self, picture: bytes, **parameters: object) -> httpx.Response:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return self.client.post("/api/v1/pictures", content=picture, params=parameters, headers=headers)

    def remove(self, id: int) -> httpx.Response:
        return self.client.delete(f"/api/v1/pictures/{id}", headers={"Authorization": f"Bearer {TOKEN}"})


@contextmanager
def serving(gallery: Path, *options: str) -> Iterator[Server]:
    """Serve a gallery on a free port of loopback until the end of the block, and then stop it by Ctrl-C."""
    process = subprocess.Popen(
        [sys.executable, "-m", "grainhash", "serve", str(gallery), "--port", "0", *options],
        env={**os.environ, "GRAINHASH_TOKEN": TOKEN},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    said = ""
    try:
        for line in process.stderr:
            said += line
            if found := re.search(r"running on (http://\S+)", line):
                server = Server(process, found[1])
                break
        else:
            raise AssertionError(said)
        with server.client:
            assert server.client.get("/healthz").status_code in (200, 429)  # waits until all is ready
            yield server
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
