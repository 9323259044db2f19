"""What a service allows, and how much of everything."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from grainhash.errors import InputError

LEAST_TOKEN = 16
"""Characters: fewer could be guessed."""


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """Limits and secrets of one service.

    Raises:
        InputError: an address that others can reach without a token, or a token that can be guessed.
    """

    host: str = "127.0.0.1"
    """The address that it listens at."""
    token: str | None = None
    """Whoever has it may add and remove pictures and store labels; nobody may without one."""
    read_token: str | None = None
    """If there is one, it (or `token`) is needed for everything but `/healthz`."""
    hosts: tuple[str, ...] = ()
    """Names, beside `host`, that requests may call it by: a page elsewhere must not reach it by a name of its
    own (DNS rebinding)."""
    origins: tuple[str, ...] = ()
    """Other pages whose scripts may read answers, such as `https://shop.example` (CORS); they send a token in
    a header, as the cookie of a session is the own page's alone."""
    show_paths: bool = True
    """Whether answers say where files are; errors never do."""
    max_upload_bytes: int = 32 * 1024**2
    max_pixels: int = 64_000_000
    """Of one picture in memory; see `grainhash.images.Limits`."""
    body_seconds: float = 30.0
    """How long a picture may take to arrive."""
    queue: int = 64
    """Requests that wait for a core; more are answered 503 at once."""
    max_pending_bytes: int = 512 * 1024**2
    """Of all pictures that are arriving, waiting or in work; with more, the next is answered 503."""
    rate: float = 200.0
    """Requests a second that one client may make in the long run, four times as many at once; 0 for any."""
    workers: int | None = None
    """Threads that decode, look and rank; one more than this process has cores by default."""

    def __post_init__(self) -> None:
        for name, token in (("token", self.token), ("read token", self.read_token)):
            if token is not None and not (len(token) >= LEAST_TOKEN and token.isascii()):
                raise InputError(f"the {name} must have {LEAST_TOKEN} ASCII characters or more")
        for origin in self.origins:
            parts = urlsplit(origin)
            if parts.scheme not in ("http", "https") or origin != f"{parts.scheme}://{parts.netloc}":
                raise InputError(f"{origin}: not an origin; give it as https://name or http://name:port")
        if self.token is None and self.read_token is None and not is_loopback(self.host):
            raise InputError(
                f"{self.host} can be reached by others: set a token (GRAINHASH_TOKEN, GRAINHASH_READ_TOKEN), "
                "or leave --host out to serve this machine alone"
            )

    @property
    def allowed_hosts(self) -> frozenset[str] | None:
        """Names in lower case that a request may give; `None` for any, where the address is everybody's."""
        if not is_loopback(self.host) and not self.hosts:
            return None
        return frozenset({self.host.lower(), "localhost", "127.0.0.1", "::1", *map(str.lower, self.hosts)})


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
