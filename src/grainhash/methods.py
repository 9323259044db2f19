"""Every way to learn a hash function, by name. Nothing is imported before it is asked for.

itq = method("itq")(n_bits=64).fit(features)
load_method("hash.safetensors")
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import cast

from grainhash.errors import InputError, MissingExtra
from grainhash.hashing.function import HashFunction
from grainhash.hashing.method import HashMethod

METHODS: dict[str, str] = {
    "lsh": "grainhash.hashing.lsh:LSH",
    "pca-sign": "grainhash.hashing.pca:PCASign",
    "spectral": "grainhash.hashing.spectral:SpectralHashing",
    "itq": "grainhash.hashing.itq:ITQ",
    "knnh": "grainhash.hashing.knnh:KNNH",
    "cca-itq": "grainhash.hashing.cca:CCAITQ",
    "joint": "grainhash.joint:Joint",
    "dpsh": "grainhash.learning.pairwise:DPSH",
    "hashnet": "grainhash.learning.pairwise:HashNet",
    "dsh": "grainhash.learning.pairwise:DSH",
    "greedyhash": "grainhash.learning.classes:GreedyHash",
    "csq": "grainhash.learning.classes:CSQ",
    "orthohash": "grainhash.learning.classes:OrthoHash",
    "nested": "grainhash.learning.nested:NestedCodes",
    "bihalf": "grainhash.learning.unsupervised:BiHalf",
    "cibhash": "grainhash.learning.unsupervised:CIBHash",
    "nested-neighbours": "grainhash.learning.unsupervised:NestedNeighbours",
}
"""Name, as on the command line and in files, to `module:class`."""


def method(name: str) -> type[HashMethod]:
    """The class of a method.

    Raises:
        InputError: there is no method of that name.
        MissingExtra: it needs PyTorch, which is not installed.
    """
    if name not in METHODS:
        raise InputError(f"no method of hashing is called {name!r}; there are {', '.join(METHODS)}")
    module, _, class_name = METHODS[name].partition(":")
    try:
        return cast(type[HashMethod], getattr(import_module(module), class_name))
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.partition(".")[0] == "torch":
            raise MissingExtra("torch", "train") from None
        raise


def load_method(path: Path | str) -> HashMethod:
    """A fitted method with its settings, whichever saved it. To encode, `HashFunction.load` is enough.

    Raises:
        EncoderError: the file is missing, damaged, or has settings that its method does not know.
        InputError: no known method saved it.
        MissingExtra: its method needs PyTorch, which is not installed.
    """
    return method(HashFunction.load(Path(path)).method).load(path)
