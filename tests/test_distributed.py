"""Two processes on the loopback interface against one: the same pictures, the same weights in the end."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training end to end needs PyTorch")

from tiny_training import CASES, draw_pictures, tiny_backbone, train_to_checkpoint  # noqa: E402

from grainhash import Encoder  # noqa: E402
from grainhash.errors import InputError  # noqa: E402
from grainhash.training.out import CHECKPOINT  # noqa: E402
from grainhash.training.parallel import processes  # noqa: E402

GRADIENT_TOLERANCE = 1e-3
"""Of a weight's averaged gradient, relative to its norm: sums are taken in another order."""

WEIGHT_TOLERANCE = 1e-4
"""Of a weight after six steps in which weights move by .01 and more."""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pictures(tmp_path_factory.mktemp("distributed") / "pictures")


def run_two(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a script, or a module, in two processes of one thread each."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    if sys.platform == "linux":
        env["GLOO_SOCKET_IFNAME"] = "lo"
    return subprocess.run([*launch, *command], env=env, capture_output=True, text=True, timeout=240)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As many threads as each of the two processes has."""
    n = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n)


@pytest.fixture(scope="module")
def together(pictures: Path) -> Path:
    """What two processes come to, in every mode."""
    if not torch.distributed.is_available():
        pytest.skip("this PyTorch is built without torch.distributed")
    out = pictures.parent
    script = Path(__file__).with_name("tiny_training.py")
    done = run_two(str(script), str(pictures), str(out), *CASES)
    assert done.returncode == 0, done.stderr[-4000:]
    return out


@pytest.mark.parametrize("mode", CASES)
def test_two_processes_come_to_what_one_does(
    mode: str, pictures: Path, together: Path, tmp_path: Path, one_thread: None
) -> None:
    from safetensors.torch import load_file

    backbone, settings = CASES[mode]
    train_to_checkpoint(pictures, tmp_path, None, settings, backbone())
    alone, shared = (load_file(folder / CHECKPOINT) for folder in (tmp_path, together / mode))
    assert shared.keys() == alone.keys()
    gradients = [name for name in alone if name.startswith("exp_avg.")]
    assert len(gradients) > 10
    for name in gradients:
        difference = (shared[name] - alone[name]).norm() / alone[name].norm()
        assert difference < GRADIENT_TOLERANCE, name
    if mode == "pipeline":
        return  # after one step, Adam has made of the least difference in a gradient near 0 one of its sign
    for name, weight in alone.items():
        assert (shared[name].float() - weight.float()).abs().max() < WEIGHT_TOLERANCE, name


def test_training_moved_the_weights(pictures: Path, together: Path) -> None:
    from safetensors.torch import load_file

    start, end = tiny_backbone().state_dict(), load_file(together / "ddp" / CHECKPOINT)
    weight = "body.blocks.0.weight"
    assert (end[f"model.backbone.{weight}"] - start[weight]).abs().max() > 50 * WEIGHT_TOLERANCE


def test_one_process_writes_the_log_and_the_checkpoint(together: Path) -> None:
    with (together / "ddp" / "train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows if row["loss"]] == [1, 2, 3, 4, 5, 6]
    assert (together / "fsdp" / "checkpoint" / "last.safetensors").exists()


def test_a_training_of_two_processes_is_resumed_by_one(together: Path, pictures: Path) -> None:
    from grainhash.labelled import read_labelled
    from grainhash.training.end_to_end import train_end_to_end
    from grainhash.training.loop import Running

    trained = train_end_to_end(
        read_labelled(pictures),
        together / "fsdp",
        CASES["fsdp"][1],
        running=Running(resume=True, n_workers=1),
        backbone=tiny_backbone(),
    )
    assert trained is not None
    assert trained.encoder.config.provenance["steps"] == 6


def test_processes_without_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(InputError, match="torchrun --nproc-per-node"), processes("ddp"):
        pass
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="say how they share the work"), processes(None):
        pass


def test_the_command_under_torchrun(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run_two(
        *("-m", "grainhash", "train", str(pictures), "--out", str(out), "--end-to-end", "--parallel", "ddp"),
        *("--weights", "random", "--input-size", "32", "--bits", "8", "--batch-size", "16", "--epochs", "1"),
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.count("use it with: grainhash index") == 1
    assert Encoder.load(out).n_bits == 8
