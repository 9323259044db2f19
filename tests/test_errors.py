"""The tree of errors: every one of them survives the way between two processes."""

from __future__ import annotations

import inspect
import pickle

import pytest

from grainhash import errors
from grainhash.errors import GrainhashError, MissingExtra, PictureError

TREE = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, GrainhashError)]


@pytest.mark.parametrize("kind", TREE)
def test_an_error_of_another_process_is_the_same_here(kind: type[GrainhashError]) -> None:
    error = kind("one", "two") if issubclass(kind, PictureError | MissingExtra) else kind("one")
    found = pickle.loads(pickle.dumps(error))
    assert type(found) is kind
    assert str(found) == str(error)
    assert vars(found) == vars(error)
