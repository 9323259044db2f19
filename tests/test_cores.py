"""How many threads work uses where nobody says."""

from __future__ import annotations

import threading

import pytest

from grainhash import cores
from grainhash.cores import default_threads, thread_limit, usable_cores
from grainhash.index.checks import thread_count


def test_work_uses_every_core_that_it_may():
    assert default_threads() == usable_cores() >= 1
    assert thread_count(None) == usable_cores()


def test_a_limit_holds_for_its_thread_and_its_block(monkeypatch):
    monkeypatch.setattr(cores, "usable_cores", lambda: 8)
    elsewhere = []
    with thread_limit(lambda: 3):
        assert default_threads() == thread_count(None) == 3
        assert thread_count(5) == 5  # who says so gets it
        with thread_limit(lambda: 100):
            assert default_threads() == 8
        thread = threading.Thread(target=lambda: elsewhere.append(default_threads()))
        thread.start()
        thread.join()
        with pytest.raises(ZeroDivisionError), thread_limit(lambda: 1):
            _ = 1 / 0
        with thread_limit(lambda: 0):
            assert default_threads() == 1
        assert default_threads() == 3
    assert default_threads() == 8
    assert elsewhere == [8]
