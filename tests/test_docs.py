"""The documents say what is so: their commands and code run, their links, floors and numbers agree.

The README's examples are about the folder that `make demo` leaves, so that is what they run in.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from films import Camera, write_film
from PIL import Image
from serving import TOKEN, serving

from grainhash.cli import app

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.zh-CN.md")
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("src/**/*.md")]
)
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RESULTS = ROOT / "benchmarks" / "results"


def _read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _blocks(text: str) -> list[tuple[str, str]]:
    """The fenced code blocks of a document, as (language, content)."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def _prose(text: str) -> str:
    """A document without its code blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def _commands(text: str) -> Iterator[tuple[str, str]]:
    """The `grainhash` commands of a document in order, each with the output shown below it."""
    for language, content in _blocks(text):
        if language == "sh":
            yield from ((line, "") for line in content.splitlines() if line.startswith("grainhash "))
        elif language == "console":
            for part in re.split(r"^\$ ", content, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                yield command, output


def _run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "GRAINHASH_GALLERY"}
    own = {"PYTHONIOENCODING": "utf-8", "XDG_CACHE_HOME": str(folder / ".cache"), "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**environment, **own},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, f"{arguments}: {done.stderr}"
    return done


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make demo` leaves."""
    folder = tmp_path_factory.mktemp("checkout") / "demo"
    done = _run([str(ROOT / "examples" / "demo.py"), "--out", str(folder)], ROOT)
    assert "right answers came first" in done.stdout
    return folder


def _label(photographs: Path, folder: Path) -> None:
    """Draw what the README calls `labelled`: pieces of photographs, to be known by whose piece they are."""
    rng = np.random.default_rng(0)
    for path in sorted(photographs.rglob("*.*"))[:9]:
        picture = Image.open(path).convert("RGB")
        for number in range(40):
            corner = rng.uniform(0, 0.4, 2)
            box = [*(corner * picture.size), *((corner + 0.6) * picture.size)]
            piece = picture.resize((160, 120), box=box)
            place = folder / ("train" if number < 32 else "test") / path.stem
            place.mkdir(parents=True, exist_ok=True)
            piece.save(place / f"{number}.jpg")


def _film(demo: Path) -> None:
    """Make what the documents call `door.mp4` and `yard.mp4`: a cat and a cup pass before two cameras."""
    things = [Image.open(demo / name) for name in ("queries/chelsea.png", "photos/things/coffee.png")]
    for seed, (name, place) in enumerate((("door", "things/motorcycle_left"), ("yard", "things/coins"))):
        camera = Camera(Image.open(demo / f"photos/{place}.png"), width=0.3, light=1.0, colour=1.0)
        write_film(demo / f"{name}.mp4", camera, things, seconds=4, seed=seed)


# What runs


def test_the_python_of_the_readme_runs(demo: Path):
    (code,) = [content for language, content in _blocks(_read("README.md")) if language == "python"]
    done = _run(["-c", code], demo)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("12 pictures, ")
    assert "collage" in lines[1]
    assert "coffee.png" in lines[-1]


def test_the_python_of_the_page_on_codes_runs(tmp_path: Path):
    code = "".join(content for language, content in _blocks(_read("docs/codes.md")) if language == "python")
    shown = _run(["-c", code], tmp_path).stdout
    assert shown.startswith("[ 0 ")
    assert "[[2]] [[5]]" in shown
    assert "decision: scan" in shown


def test_the_commands_of_the_readme_run_in_order(demo: Path):
    readme = _read("README.md")
    for language, content in _blocks(readme):
        if language == "csv":
            (demo / "notes.csv").write_text(content, encoding="utf-8")
    _label(demo / "photos", demo / "labelled")
    _film(demo)
    commands = list(_commands(readme))
    assert len(commands) >= 10
    for command, shown in commands:
        program, *arguments = shlex.split(command)
        assert program == "grainhash"
        if arguments[0] == "serve":
            with serving(demo / arguments[1], *arguments[2:]) as server:
                assert server.client.get("/healthz").json() == {"status": "ok"}
            continue
        done = _run(["-m", "grainhash", *arguments], demo)
        if "--json" in arguments:
            assert _keys(json.loads(done.stdout)) == _keys(json.loads(shown))
        elif shown:
            assert len(done.stdout.splitlines()) == len(shown.splitlines()), done.stdout
    assert (demo / "hits.html").stat().st_size > 10_000


def _keys(value: Any) -> Any:
    """The shape of a JSON value: its keys, without what they hold."""
    if isinstance(value, dict):
        return {key: _keys(inner) for key, inner in value.items() if key != "meta"}
    return [_keys(inner) for inner in value] if isinstance(value, list) else None


def test_every_command_is_in_the_readme():
    shown = {shlex.split(command)[1] for command, _ in _commands(_read("README.md"))}
    assert shown == set(typer.main.get_command(app).commands)


@pytest.mark.parametrize("name", READMES)
def test_every_option_that_a_readme_names_exists(name: str):
    commands = typer.main.get_command(app).commands.values()
    options = {option for command in commands for parameter in command.params for option in parameter.opts}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", _read(name))) - {"--help"}
    assert len(named) > 5
    assert named <= options


# The two READMEs


def test_the_readmes_agree():
    first, second = (_read(name) for name in READMES)
    assert _blocks(first) == _blocks(second)
    assert len(_blocks(first)) > 10
    for pattern in (r"^#+(?= )", r"^- ", r"^\|", r"^!\["):
        assert [re.findall(pattern, _prose(text), re.MULTILINE) for text in (first, second)] == [
            re.findall(pattern, _prose(first), re.MULTILINE)
        ] * 2
    links = [sorted(set(_links(text)) - set(READMES)) for text in (first, second)]
    assert links[0] == links[1]


@pytest.mark.parametrize("name", READMES)
def test_the_readme_lists_the_extras(name: str):
    rows = re.findall(r"^\| ((?:`[a-z]+`[,、 ]*)+) \|", _read(name), re.MULTILINE)
    listed = {extra for row in rows for extra in re.findall(r"`([a-z]+)`", row)}
    assert listed == set(PYPROJECT["project"]["optional-dependencies"])


# Links, paths, floors


def _links(text: str) -> list[str]:
    """Targets of the links to files of the project."""
    return [target for target in re.findall(r"\]\(([^)\s#]+)", _prose(text)) if "://" not in target]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_to_files(name: str):
    broken = [link for link in _links(_read(name)) if not (ROOT / name).parent.joinpath(link).exists()]
    assert not broken


def test_what_the_architecture_names_exists():
    homes = [ROOT, ROOT / "src/grainhash", ROOT / "src/grainhash/encoder/default"]
    written_at_run_time = {"manifest.json", "index.json", "checkpoint/last.safetensors"}
    named = re.findall(
        r"`([\w./-]+\.(?:py|cpp|md|json|toml|onnx|safetensors))(?:::(\w+))?`", _read("docs/architecture.md")
    )
    assert len(named) > 40
    for path, test in named:
        found = [home / path for home in homes if (home / path).is_file()]
        assert found or path in written_at_run_time, f"{path} does not exist"
        if test:
            pattern = rf"^\s*(?:def|class) {test}\b"
            assert re.search(pattern, found[0].read_text(encoding="utf-8"), re.MULTILINE), (
                f"{path} has no {test}"
            )


def test_the_architecture_has_the_floors_of_the_contract():
    section = _read("docs/architecture.md").split("## Floors\n")[1]
    floors = [re.split(r" {2,}", line)[0] for line in _blocks(section)[0][1].splitlines()]
    contracts = PYPROJECT["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    assert floors == [layer.replace("grainhash.", "") for layer in layers]


def test_contributing_lists_the_make_targets():
    targets = set(re.search(r"^\.PHONY: (.*)$", _read("Makefile"), re.MULTILINE)[1].split())
    assert set(re.findall(r"^\| `make (\w+)` \|", _read("CONTRIBUTING.md"), re.MULTILINE)) == targets - {
        "help"
    }


# Numbers


@pytest.mark.parametrize("name", [*READMES, "docs/use-cases.md"])
def test_numbers_are_those_of_the_benchmarks(name: str):
    """Each row is | what | measured | source |; a source is such as `indexing.json: targets/0/value * 100`.

    Every number that is measured has its source, in the same order. A source that leads to text stands for
    that text. It may be multiplied by a number, and is compared with as many decimals as are written.
    """
    prose, rows = _numbers_section(_read(name))
    assert not re.search(r"\d", re.sub(r"`[^`]*`", "", prose)), "a number outside the table has no source"
    if not (RESULTS / "indexing.json").exists():
        pytest.skip("benchmarks/results/indexing.json is missing; run: python benchmarks/indexing.py")
    assert rows, "no numbers between numbers:begin and numbers:end"
    for what, measured, source in rows:
        values = [_value(*reference) for reference in _references(source)]
        for text in [value for value in values if isinstance(value, str)]:
            assert text in measured, f"{what}: {text!r} is not in {measured!r}"
            measured = measured.replace(text, "", 1)
        shown = re.findall(r"(?<![A-Za-z_\d.,])-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)", measured)
        actual = [value for value in values if not isinstance(value, str)]
        assert len(shown) == len(actual), f"{what}: numbers {shown}, sources {actual}"
        for number, value in zip(shown, actual, strict=True):
            decimals = len(number.partition(".")[2])
            assert abs(float(number.replace(",", "")) - value) <= 0.5000001 * 10**-decimals, (
                f"{what}: {number} is written, {value} was measured"
            )


@pytest.mark.parametrize("parts", ["granularity_parts", "hamming_parts", "quality_parts"])
def test_a_page_of_figures_is_that_of_its_results(parts: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    page = import_module(f"{parts}.page").PAGE
    text = page.path.read_text(encoding="utf-8")
    results = (RESULTS / f"{page.benchmark}.json").read_text(encoding="utf-8")
    assert text.count(":begin -->") == len(page.parts)
    assert text == page.filled(text, json.loads(results))


def test_both_readmes_show_the_same_numbers():
    first, second = ([row[2] for row in _numbers_section(_read(name))[1]] for name in READMES)
    assert first == second


def _numbers_section(text: str) -> tuple[str, list[list[str]]]:
    """What stands beside the table of numbers, and the rows of the table without its head."""
    section = text.split("<!-- numbers:begin -->")[1].split("<!-- numbers:end -->")[0]
    lines = section.strip().splitlines()
    table = [line for line in lines if line.startswith("|")]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table[2:]]
    assert all(len(row) == 3 for row in rows)
    return "\n".join(line for line in lines if line not in table), rows


def _references(cell: str) -> list[tuple[str, str, float]]:
    """File, pointer and factor of each source in a cell."""
    spans = re.findall(r"`([^`]+)`", cell)
    found = [re.fullmatch(r"([\w-]+\.json): (\S+)(?: \* ([\d.e-]+))?", span) for span in spans]
    assert all(found), f"cannot read the sources {spans}"
    return [(match[1], match[2], float(match[3] or 1)) for match in found if match]


def _value(file: str, pointer: str, factor: float) -> float | str:
    document = json.loads((RESULTS / file).read_text(encoding="utf-8"))
    assert document.get("quick") is not True, f"{file} is of a quick run"
    value: Any = document
    for key in pointer.split("/"):
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value if isinstance(value, str) else value * factor


# The page on methods


def test_the_page_on_methods_lists_every_one_where_it_belongs():
    from grainhash.methods import METHODS, method

    page = _read("docs/hashing.md")
    sections = [re.findall(r"^\| `([\w-]+)` \|", part, re.MULTILINE) for part in page.split("\n## ")[1:]]
    without, needing, together = sections
    assert sorted([*without, *needing, *together]) == sorted(METHODS)
    assert not any(method(name).needs_labels for name in without)
    assert all(method(name).needs_labels for name in needing)
    assert together == ["joint"]


def test_the_python_of_the_page_on_methods_runs(tmp_path: Path):
    (code,) = [content for language, content in _blocks(_read("docs/hashing.md")) if language == "python"]
    assert _run(["-c", code], tmp_path).stdout.startswith("(400, 4) {'n_bits': 32")


# The page on parts


def test_the_page_on_parts_runs(demo: Path):
    """Its commands and its Python, in the folder that `make demo` leaves."""
    text = _read("docs/parts.md")
    for command, _ in _commands(text):
        _run(["-m", "grainhash", *shlex.split(command)[1:]], demo)
    (code,) = [content for language, content in _blocks(text) if language == "python"]
    assert "bits differ; exact\nhalf of what agrees is in " in _run(["-c", code], demo).stdout
    assert (demo / "why.png").stat().st_size > 10_000
    assert (demo / "why.html").stat().st_size > 10_000


def test_the_page_on_groups_runs(demo: Path):
    """Its commands and its Python, in the folder that `make demo` leaves."""
    ((_, notes),) = [block for block in _blocks(_read("README.md")) if block[0] == "csv"]
    (demo / "notes.csv").write_text(notes, encoding="utf-8")
    text = _read("docs/groups.md")
    commands = [command for command, _ in _commands(text)]
    assert len(commands) > 5
    for command in commands:
        _run(["-m", "grainhash", *shlex.split(command, comments=True)[1:]], demo)
    (code,) = [content for language, content in _blocks(text) if language == "python"]
    shown = _run(["-c", code], demo).stdout.splitlines()
    assert [line.partition(" pictures around ")[1] for line in shown[:4]] == [" pictures around "] * 4
    assert len(shown) == 6
    for page in ("groups.html", "labels.html"):
        assert (demo / page).stat().st_size > 10_000


def test_the_page_on_use_cases_runs(demo: Path):
    """Its commands, in the folder that `make demo` leaves, with two videos beside it."""
    ((_, notes),) = [block for block in _blocks(_read("README.md")) if block[0] == "csv"]
    (demo / "notes.csv").write_text(notes, encoding="utf-8")
    _film(demo)
    commands = [command for command, _ in _commands(_read("docs/use-cases.md"))]
    assert len(commands) > 8
    for command in commands:
        said = _run(["-m", "grainhash", *shlex.split(command, comments=True)[1:]], demo).stdout
    assert "yard-00000" in said  # the last one looks for what one camera saw in the other's frames


def test_the_page_on_the_service_runs(demo: Path):
    page = _read("docs/service.md")
    written, token = "http://127.0.0.1:8000", "a-token-for-writing"
    curls = [line for language, text in _blocks(page) if language == "sh" for line in text.splitlines()]
    curls = [line for line in curls if line.startswith("curl ")]
    assert len(curls) > 10
    (code,) = [text for language, text in _blocks(page) if language == "python"]
    assert token == TOKEN
    with serving(demo / "gallery") as server:
        assert "coffee.png" in _run(["-c", code.replace(written, server.url)], demo).stdout
        paths = server.client.get("/api/v1/openapi.json").json()["paths"]
        assert set(re.findall(r"`(?:GET|POST|DELETE) (/[^`]*)`", page)) == set(paths)
        if shutil.which("curl") is None:
            pytest.skip("curl is not installed: its examples are not run")
        for line in curls:
            line = line.replace(written, server.url).replace("$GRAINHASH_TOKEN", token)
            done = subprocess.run(shlex.split(line), cwd=demo, capture_output=True, timeout=60)
            assert done.returncode == 0, f"{line}: {done.stdout.decode()}"
