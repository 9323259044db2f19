"""The command that answers over HTTP: serve."""

from __future__ import annotations

import gc
import socket
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from grainhash.cli.shared import Runtime, RuntimeOption, need, opened_gallery

GRACE_SECONDS = 30
"""How long clients have to take their answers, once the server is told to stop."""


def serve(
    gallery: Annotated[Path, typer.Argument(envvar="GRAINHASH_GALLERY", help="The gallery's folder.")] = Path(
        "gallery"
    ),
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="GRAINHASH_TOKEN", help="Whoever sends it may add and remove pictures, and store labels."
        ),
    ] = None,
    read_token: Annotated[
        str | None, typer.Option(envvar="GRAINHASH_READ_TOKEN", help="Needed for reading, too.")
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option(help="A name that requests may call this server by. Repeatable.")
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(help="A page elsewhere that may use the server, such as https://shop.example."),
    ] = None,
    paths: Annotated[
        bool | None,
        typer.Option("--paths/--no-paths", help="Say where files are; by default on loopback only."),
    ] = None,
    max_upload: Annotated[int, typer.Option(min=1, help="Megabytes of a picture file.")] = 32,
    max_pixels: Annotated[int, typer.Option(min=1, help="Megapixels of a picture in memory.")] = 64,
    queue: Annotated[int, typer.Option(min=1, help="Requests that wait; more are told to come again.")] = 64,
    rate: Annotated[float, typer.Option(min=0, help="Requests a second of one client; 0 for any.")] = 200,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads; one more than cores by default.")
    ] = None,
    runtime: RuntimeOption = Runtime.auto,
) -> None:
    """Answer searches over HTTP, as JSON.

    This machine alone can reach it, or with a token others, too.

    Without a token nothing can be written. Ctrl-C stops it when what was accepted is done.
    """
    for package in ("fastapi", "prometheus_client", "python_multipart", "uvicorn"):
        need(package, "serve")
    import uvicorn

    from grainhash.service import ServiceSettings, create_app
    from grainhash.service.patience import Impatient
    from grainhash.service.settings import is_loopback

    settings = ServiceSettings(
        host=host,
        token=token,
        read_token=read_token,
        hosts=tuple(name or ()),
        origins=tuple(allow_origin or ()),
        show_paths=is_loopback(host) if paths is None else paths,
        max_upload_bytes=max_upload * 1024**2,
        max_pixels=max_pixels * 1_000_000,
        queue=queue,
        rate=rate,
        workers=workers,
    )
    with opened_gallery(gallery, runtime) as opened, _listening(host, port) as listening:
        config = uvicorn.Config(
            create_app(opened, settings),
            host=host,
            port=port,
            log_level="warning",
            access_log=False,
            server_header=False,
            http=Impatient,
            timeout_keep_alive=10,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        server = uvicorn.Server(config)
        port = listening.getsockname()[1]
        typer.echo(
            f"running on http://{f'[{host}]' if ':' in host else host}:{port}  (Ctrl-C stops it)", err=True
        )
        gc.collect()
        gc.freeze()  # what is there now stays: looking through it for garbage takes a tenth of the time
        with suppress(KeyboardInterrupt):  # uvicorn raises it again when all is done
            server.run(sockets=[listening])
        if not server.started:
            raise typer.Exit(1)


def _listening(host: str, port: int) -> socket.socket:
    """A socket bound to an address.

    Raises:
        InputError: the address is not this machine's, or something else listens there.
    """
    from grainhash.errors import InputError

    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # By its protocol asyncio knows that answers should go out at once (TCP_NODELAY).
        found = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InputError(f"{host}: cannot listen there ({error.strerror})") from None
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind(address)
        found.listen()  # who comes before all is ready waits
    except OSError as error:
        found.close()
        why = (error.strerror or "").lower()
        raise InputError(
            f"{host}:{port}: cannot listen there ({why}); choose another --port or --host"
        ) from None
    return found
