"""A gallery over HTTP: `grainhash serve` and its JSON API. See `docs/service.md`."""

from grainhash.service.app import create_app
from grainhash.service.settings import ServiceSettings

__all__ = ["ServiceSettings", "create_app"]
