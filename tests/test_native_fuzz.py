"""The native code under AddressSanitizer and UBSan: random searches, sound and damaged, with every kernel."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from grainhash.index import has_native, kernels

ROOT = Path(__file__).parent.parent
NATIVE = ROOT / "src" / "native"
FUZZ = Path(__file__).parent / "native"
SECONDS = 6

# Null is left to the address sanitizer, which stops at it too, so that files compile in half the time.
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize=null", "-fno-sanitize-recover=all"]
FLAGS = ["-std=c++17", "-O1", "-g1", "-w", "-pthread", *SANITIZERS]


def compiler() -> str:
    """A C++ compiler with the sanitizers, or else a loud skip."""
    found = shutil.which(os.environ.get("CXX", "c++"))
    if found is None or platform.system() not in ("Linux", "Darwin"):
        pytest.skip("no C++ compiler of the Unix kind: the native code is NOT fuzzed")
    return found


def instruction_sets() -> dict[str, list[str]]:
    """Which options CMakeLists.txt gives to which file, of those that this processor can run.

    Without its options a file for another processor is empty, and compiled in no time.
    """
    if platform.machine() not in ("x86_64", "AMD64"):
        return {}
    cmake = (ROOT / "CMakeLists.txt").read_text()
    variables = dict(re.findall(r"set\((\w+) (-m[^)]*)\)", cmake))
    options = re.findall(r'native/(\S+) PROPERTIES COMPILE_OPTIONS "([^"]*)"', cmake)
    assert options
    return {
        name: re.sub(r"\$\{(\w+)}", lambda v: variables[v[1]], list).replace(";", " ").split()
        for name, list in options
        if not has_native() or Path(name).stem in kernels.kernels()
    }


def sources() -> list[Path]:
    native = [*NATIVE.glob("*.cpp"), *NATIVE.glob("kernels/*.cpp")]
    return [FUZZ / "fuzz.cpp", *sorted(file for file in native if not file.name.startswith("module"))]


def key_of(*parts: object) -> str:
    """What a compiled file depends on: its own text, every header, and how it is compiled."""
    headers = sorted([*NATIVE.rglob("*.h"), *FUZZ.glob("*.h")])
    text = b"".join(header.read_bytes() for header in headers)
    return hashlib.sha256(text + repr(parts).encode()).hexdigest()[:24]


def compile_all(cxx: str, folder: Path) -> list[Path]:
    """Compiles what has changed since the last time, and returns all objects."""
    version = subprocess.run([cxx, "--version"], capture_output=True, text=True, check=True).stdout
    options = instruction_sets()
    objects, commands = [], []
    for source in sources():
        flags = [*FLAGS, f"-I{NATIVE}"]
        if source.is_relative_to(NATIVE):
            flags += options.get(source.relative_to(NATIVE).as_posix(), [])
        compiled = folder / f"{source.stem}-{key_of(version, flags, source.read_text())}.o"
        objects.append(compiled)
        if not compiled.exists():
            commands.append((compiled, [cxx, *flags, "-c", str(source)]))
    for left_over in set(folder.glob("*.o")) - set(objects):
        left_over.unlink()

    def compile_one(task: tuple[Path, list[str]]) -> subprocess.CompletedProcess[str]:
        compiled, command = task
        unfinished = compiled.with_suffix(".unfinished")
        done = subprocess.run([*command, "-o", str(unfinished)], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            unfinished.replace(compiled)
        return done

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in pool.map(compile_one, commands):
            assert done.returncode == 0, f"{done.args}\n{done.stderr}"
    return objects


@pytest.fixture(scope="module")
def fuzz(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, compiled with both sanitizers."""
    cxx = compiler()
    folder = tmp_path_factory.mktemp("fuzz")
    probe = folder / "probe.cpp"
    probe.write_text("int main() {}\n")
    linked = [cxx, *FLAGS, str(probe), "-o", str(folder / "probe")]
    if any(
        subprocess.run(command, capture_output=True, check=False).returncode
        for command in (linked, linked[-1:])
    ):
        pytest.skip(f"{cxx} cannot make programs with sanitizers: the native code is NOT fuzzed")
    objects = compile_all(cxx, Path(request.config.cache.mkdir("native-fuzz")))
    program = folder / "fuzz"
    linked = [cxx, *FLAGS, *map(str, objects), "-o", str(program)]
    subprocess.run(linked, check=True)
    return program


@pytest.mark.parametrize("seed", [1, None], ids=["the same seed", "a fresh seed"])
def test_no_input_makes_the_native_code_leave_its_arrays(fuzz: Path, seed: int | None) -> None:
    """And where the input is sound, its answers are those of a naive loop."""
    command = [str(fuzz), str(seed or secrets.randbelow(2**32)), str(SECONDS)]
    print(*command)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20 * SECONDS)
    assert done.returncode == 0, f"{command} says:\n{done.stdout}{done.stderr}"
    rounds, used = done.stdout.split(" rounds of ")
    assert int(rounds) > 100
    if has_native():
        assert used.split(" with ")[1].split() == kernels.kernels()
