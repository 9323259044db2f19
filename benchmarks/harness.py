"""What every benchmark shares: where it ran, what it aimed at, and how results are written."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"

sys.path.append(str(Path(__file__).parents[1] / "examples"))  # data sets and films that both use


@dataclass(frozen=True)
class Target:
    """One figure that an issue asks for, and what came out."""

    issue: str
    name: str
    target: str
    value: float | None
    """`None` where it was not measured, which is not met."""
    met: bool


def arguments(description: str | None) -> argparse.Namespace:
    """The options of a benchmark that has no others."""
    return parser(description).parse_args()


def parser(description: str | None) -> argparse.ArgumentParser:
    """`--quick` ends within a minute and writes nothing unless `--out` says where."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, within a minute")
    parser.add_argument("--out", type=Path, help="folder of the JSON; benchmarks/results for a full run")
    return parser


def earlier_figures(results: Path, options: argparse.Namespace) -> dict[str, Any]:
    """What `--only` keeps: the figures of a run of the same scale."""
    if options.only and results.exists():
        document = json.loads(results.read_text())
        if document["quick"] == options.quick:
            return dict(document["figures"])
    return {}


def machine() -> dict[str, Any]:
    """The processor, cores, memory and operating system."""
    model = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        model = names[0] if names else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def versions(packages: Sequence[str]) -> dict[str, str]:
    """The installed version of each package."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def peak_memory_mb() -> float:
    """Highest resident memory of this process so far.

    Linux's `VmHWM` rather than `getrusage`, which counts what the parent held when it forked.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / (1024 if sys.platform == "darwin" else 1)
    )


def write(
    options: argparse.Namespace,
    name: str,
    *,
    packages: Sequence[str],
    seeds: Sequence[int],
    figures: dict[str, Any],
    targets: Sequence[Target],
) -> None:
    """Print the targets, and write everything as `NAME.json`."""
    for target in targets:
        verdict = "met   " if target.met else "MISSED"
        value = "not measured" if target.value is None else f"{target.value:.4g}"
        print(f"{verdict}  {target.name}: {value} (target {target.target})")
    folder = options.out or (None if options.quick else RESULTS)
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "benchmark": name,
        "quick": options.quick,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": versions(["grainhash", "numpy", *packages]),
        "seeds": list(seeds),
        "figures": figures,
        "targets": [asdict(target) for target in targets],
    }
    (folder / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n")
    print(f"wrote {folder / f'{name}.json'}")
