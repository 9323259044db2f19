"""The service under load, on loopback: latency, throughput beside the encoder's own, memory, and overload.

Photographs of scikit-image, in pieces of 500 x 375 pixels as JPEG, ask a gallery of such pieces. A process of
its own asks, with plain sockets and as many threads as clients; it takes its share of the same cores.

- encoder: how many queries a second `Encoder.ask_all` sees in this process, on all cores, eight together.
- one: one client after another.
- by_clients: the throughput by how many ask at once: where more bring no more, the server is saturated.
- saturated: as many clients as fill half of its queue, in rounds. The throughput of each is compared with the
  encoder's own right before and right after it, as the machine's speed changes; the median of the rounds
  counts. What the server says of its own times, in a tenth of the answers, tells where the rest goes: a batch
  in the network, and the search of it.
- memory: resident memory of the server after all that and a tenth of the requests, and after each round.
- overload: four times as many clients as the server has room for.

Cut from photographs that ship with packages, nothing of which is tuned here.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from harness import Target, arguments, write
from PIL import Image

from grainhash.cores import usable_cores
from grainhash.encoder import Encoder
from grainhash.encoder.encoder import Query
from grainhash.encoder.pipeline import one_core_each
from grainhash.gallery import Gallery

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

ISSUE = "service"
SIZE = (500, 375)
QUEUE = 64
CLIENTS = 32
LEVELS = (2, 4, 8, 16, 32, 48)
TOGETHER = 8
ROUNDS = 5
OVERLOAD = 4
PATH = "/api/v1/search?k=10"


def main() -> None:
    """Measure, and write the results."""
    options = arguments(__doc__)
    if options.quick:
        n_pictures, n_one, n_requests, n_encoded = 60, 50, 300, 200
    else:
        n_pictures, n_one, n_requests, n_encoded = 500, 300, 10_000, 1000
    with tempfile.TemporaryDirectory() as folder:
        pictures = pieces(Path(folder) / "photographs", n_pictures)
        with Gallery.open(Path(folder) / "gallery", create=True) as gallery:
            gallery.index(Path(folder) / "photographs")
        data = [path.read_bytes() for path in pictures]
        with Server(Path(folder) / "gallery") as server:
            ask(server.url, data, 20, 2)
            one = ask(server.url, data, n_one, 1)
            ask(server.url, data, n_requests // 10, CLIENTS)
            by_clients = [ask(server.url, data, n_requests // 20, level) for level in LEVELS]
            memory, own, many = [server.memory_mb()], [encoder_rate(data, n_encoded)], []
            rest = n_requests - n_requests // 10
            for _ in range(ROUNDS):
                many.append(ask(server.url, data, rest // ROUNDS, CLIENTS))
                memory.append(server.memory_mb())
                own.append(encoder_rate(data, n_encoded))
            overload = ask(server.url, data, 8 * n_one, OVERLOAD * (QUEUE + usable_cores()))
            after_overload = ask(server.url, data, 20, 1)
    shares = [round(2 * each["a_second"] / (own[at] + own[at + 1]), 3) for at, each in enumerate(many)]
    figures: dict[str, Any] = {
        "gallery": n_pictures,
        "encoder_queries_a_second": own,
        "one": one,
        "by_clients": by_clients,
        "saturated": {"rounds": many, "over_the_encoder": shares},
        "memory_mb": memory,
        "overload": {**overload, "clients": OVERLOAD * (QUEUE + usable_cores())},
        "after_overload": after_overload,
    }
    share = float(np.median(shares))
    growth = round(memory[-1] - memory[0], 1)
    refused, failed = overload["statuses"].get("503", 0), overload["statuses"].get("failed", 0)
    well = after_overload["statuses"] == {"200": 20}
    print(json.dumps(figures, indent=1))
    targets = [
        Target(ISSUE, "throughput at saturation over the encoder's own", ">= 0.8", share, share >= 0.8),
        Target(ISSUE, f"growth of memory over {n_requests:,} requests, MB", "<= 20", growth, growth <= 20),
        Target(ISSUE, "503s at four times the capacity", ">= 1", refused, refused >= 1),
        Target(ISSUE, "requests without any answer then", "0", failed, failed == 0 and well),
    ]
    write(
        options,
        "service",
        packages=["openvino", "fastapi", "uvicorn", "starlette"],
        seeds=[0],
        figures=figures,
        targets=[] if options.quick else targets,
    )


def pieces(folder: Path, n: int) -> list[Path]:
    """Distinct pieces of real photographs, as files."""
    from photographs import copy_photographs

    folder.mkdir()
    with tempfile.TemporaryDirectory() as whole:
        copy_photographs(Path(whole))
        images = [Image.open(path).convert("RGB") for path in sorted(Path(whole).rglob("*.*"))]
    rng = np.random.default_rng(0)
    paths = []
    for number in range(n):
        image = images[number % len(images)]
        side = rng.uniform(0.4, 0.9)
        corner = rng.uniform(0, 1 - side, 2) * image.size
        box = (*corner, *(corner + side * np.array(image.size)))
        paths.append(folder / f"{number}.jpg")
        image.resize(SIZE, box=box).save(paths[-1], quality=85)
    return paths


def encoder_rate(data: list[bytes], n: int) -> float:
    """Queries a second that the encoder alone sees, on every core, eight together."""
    encoder = Encoder.load()
    sent = [Query(data[number % len(data)]) for number in range(n)]
    batches = [sent[start : start + TOGETHER] for start in range(0, n, TOGETHER)]
    with one_core_each(encoder), ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(encoder.ask_all, batches[:2]))
        started = time.perf_counter()
        list(pool.map(encoder.ask_all, batches))
        return round(n / (time.perf_counter() - started), 1)


class Server:
    """`grainhash serve` in a process of its own."""

    def __init__(self, gallery: Path) -> None:
        self._command = [sys.executable, "-m", "grainhash", "serve", str(gallery), "--port", "0"]
        self._command += ["--rate", "0", "--queue", str(QUEUE)]

    def __enter__(self) -> Server:
        self._process = subprocess.Popen(self._command, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if found := re.search(r"running on (http://\S+)", line):
                self.url = found[1]
                threading.Thread(target=self._process.stderr.read, daemon=True).start()
                return self
        raise RuntimeError("the server did not start")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(60)

    def memory_mb(self) -> float:
        """Resident memory, in MB; 0 where the system does not say."""
        status = Path(f"/proc/{self._process.pid}/status")
        if not status.exists():
            return 0.0
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
        return round(int(line.split()[1]) / 1024, 1)


def ask(url: str, data: list[bytes], n: int, clients: int) -> dict[str, Any]:
    """Send `n` requests from a process of its own, and what came of them."""
    with tempfile.TemporaryDirectory() as folder:
        for number, each in enumerate(data[:100]):
            (Path(folder) / f"{number:03}.jpg").write_bytes(each)
        done = subprocess.run(
            [sys.executable, __file__, "--load", url, folder, str(n), str(clients)],
            capture_output=True,
            text=True,
            check=True,
        )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class Connection:
    """One that is kept open, and asks with less work than a library's: its work is done on the same cores."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._socket: socket.socket | None = None

    def post(self, path: str, data: bytes) -> tuple[str, bytes]:
        """The status and the body of an answer."""
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=120)
        host = "{}:{}".format(*self._address)
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(data)}\r\n\r\n"
        self._socket.sendall(head.encode() + data)
        found = bytearray()
        while (end := found.find(b"\r\n\r\n")) < 0:
            found += self._more()
        lines = found[:end].decode("latin-1").lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:])
        whole = end + 4 + int(headers["content-length"])
        while len(found) < whole:
            found += self._more()
        if headers.get("connection") == "close":
            self.close()
        return lines[0].split(" ")[1], bytes(found[end + 4 : whole])

    def _more(self) -> bytes:
        assert self._socket is not None
        piece = self._socket.recv(2**18)
        if not piece:
            raise ConnectionError("the server hung up")
        return piece

    def close(self) -> None:
        """Begin anew with the next question."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def load(url: str, folder: str, n: int, clients: int) -> None:
    """The process that asks."""
    data = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
    address = urlsplit(url)
    numbers = iter(range(n))
    lock = threading.Lock()
    seconds: list[float] = []
    own: dict[str, list[float]] = {"encode": [], "search": []}
    statuses: Counter[str] = Counter()

    def client() -> None:
        connection = Connection(str(address.hostname), int(address.port or 80))
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            started = time.perf_counter()
            try:
                status, body = connection.post(PATH, data[number % len(data)])
            except (OSError, ValueError, KeyError):
                connection.close()
                status = "failed"
            with lock:
                statuses[status] += 1
                if status == "200":
                    seconds.append(time.perf_counter() - started)
            if status == "200" and number % 10 == 0:
                for stage, taken in json.loads(body)["seconds"].items():
                    own[stage].append(taken)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole = time.perf_counter() - started
    p50, p99 = (1000 * np.percentile(seconds, [50, 99])).round(1).tolist()
    figures = {"n": n, "clients": clients, "statuses": dict(statuses), "p50_ms": p50, "p99_ms": p99}
    figures |= {f"{stage}_ms": round(1000 * float(np.mean(taken)), 1) for stage, taken in own.items()}
    print(json.dumps({**figures, "a_second": round(len(seconds) / whole, 1)}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--load"]:
        load(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
    else:
        main()
