"""What a training writes down while it runs: `train.csv` always, TensorBoard if asked."""

from __future__ import annotations

import csv
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from grainhash.errors import MissingExtra
from grainhash.files import whole_file

COLUMNS = ("step", "epoch", "loss", "learning_rate", "pictures_per_second", "seconds", "validation_map")


class Log:
    """A row every so many steps and at the end of every epoch.

    Args:
        folder: `train.csv` and `tensorboard/` are there; `None` to write nothing.
        from_step: a training that resumes forgets the rows after this step; 0 starts anew.
        tensorboard: write event files, too.

    Raises:
        MissingExtra: TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path | None, *, from_step: int = 0, tensorboard: bool = False) -> None:
        self._file: TextIO | None = None
        self._writer: Any = None
        if folder is not None:
            self._open(folder, from_step, tensorboard)

    def _open(self, folder: Path, from_step: int, tensorboard: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if tensorboard:
            self._writer = _summary_writer(folder / "tensorboard", from_step)
        path = folder / "train.csv"
        kept = [row for row in _rows(path) if int(row["step"]) <= from_step] if from_step else []
        with whole_file(path) as draft, draft.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(kept)
        self._file = path.open("a", newline="")
        self._csv = csv.DictWriter(self._file, COLUMNS)

    def add(self, **values: float | int | None) -> None:
        """One row; `values` are some of `COLUMNS`, `step` among them."""
        if self._file is None:
            return
        self._csv.writerow({name: _short(value) for name, value in values.items() if value is not None})
        self._file.flush()
        if self._writer is not None:
            for name, value in values.items():
                if name != "step" and value is not None:
                    self._writer.add_scalar(name, value, values["step"])

    def close(self) -> None:
        """Finish the files."""
        if self._file is not None:
            self._file.close()
        if self._writer is not None:
            self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if (row.get("step") or "").isdecimal()]


def _short(value: float | int) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _summary_writer(folder: Path, from_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingExtra("tensorboard", "train") from None
    return SummaryWriter(str(folder), purge_step=from_step + 1 if from_step else None)
