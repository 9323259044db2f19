"""A method with the settings that someone wrote down, each checked before any time is spent."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

from grainhash.errors import InputError
from grainhash.hashing.method import HashMethod

KINDS: dict[Any, Any] = {"bool": bool, "int": int, "float": int | float, "str": str}
"""What a value must be, by the annotation of its field; other fields are checked by their method."""


def make_method(
    make: type[HashMethod],
    n_bits: int,
    seed: int,
    settings: Mapping[str, Any],
    *,
    without: Collection[str] = (),
) -> HashMethod:
    """A method, not fitted.

    Args:
        make: its class.
        n_bits: of the code.
        seed: of everything random.
        settings: of the method's own.
        without: settings that have no meaning here.

    Raises:
        InputError: a setting that the method does not know, or of another type than it takes.
    """
    taken = {"n_bits", "seed", *without}
    known = {field.name: field.type for field in fields(make) if field.init and field.name not in taken}
    unknown = sorted(settings.keys() - known.keys())
    if unknown:
        there = f"there are {', '.join(known)}" if known else "there are none"
        raise InputError(f"settings that {make.name} does not know here: {', '.join(unknown)}; {there}")
    for name, value in settings.items():
        kind = KINDS.get(known[name], object)
        if not isinstance(value, kind) or (isinstance(value, bool) and known[name] in ("int", "float")):
            kinds = "true or false" if known[name] == "bool" else known[name]
            raise InputError(f"{name}={value!r}: {make.name} takes {kinds} here")
    try:
        return make(n_bits, seed=seed, **settings)
    except TypeError as error:
        raise InputError(f"settings that {make.name} cannot take: {error}") from None
