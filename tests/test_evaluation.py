"""Evaluations from start to end: pictures or files of codes, to tables, JSON, plots and a page."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from grainhash import Encoder, cli
from grainhash.codes import pack
from grainhash.encoder.granules import WHOLE_ONLY
from grainhash.errors import CodesError, InputError, LabelsError, MissingExtra, SplitError
from grainhash.evaluation import (
    PROTOCOLS,
    Comparison,
    Hamming,
    diagnose,
    evaluate,
    evaluate_codes,
    judge,
    protocol,
    report,
    write_pngs,
)
from grainhash.evaluation.arrays import read_labels, read_vectors
from grainhash.evaluation.plots import plots
from grainhash.evaluation.protocols import OWN
from grainhash.hashing.function import HashFunction
from grainhash.labelled import read_labelled
from grainhash.types import Progress

# Diagnostics


def test_independent_balanced_bits_are_all_effective():
    codes = pack(np.array([[(n >> bit) & 1 for bit in range(8)] for n in range(256)]))
    facts = diagnose(codes)
    assert facts.effective_bits == pytest.approx(8)
    assert facts.ones == (0.5,) * 8
    assert facts.mean_correlation == facts.max_correlation == facts.colliding == facts.n_constant == 0
    assert facts.n_distinct == 256


def test_repeated_constant_and_colliding_bits_are_seen():
    rng = np.random.default_rng(0)
    bits = np.zeros((1000, 16), bool)
    bits[:, :8] = rng.random((1000, 1)) < 0.5
    facts = diagnose(pack(bits))
    assert facts.n_constant == 8
    assert facts.effective_bits == pytest.approx(1)
    assert facts.mean_correlation == pytest.approx(1)
    assert (facts.n_distinct, facts.colliding) == (2, 1)
    assert facts.largest_collision == max(bits[:, 0].sum(), 1000 - bits[:, 0].sum())
    alone = diagnose(pack(bits[:1]))
    assert (alone.effective_bits, alone.n_constant, alone.colliding) == (0, 16, 0)


def test_correlations_are_those_of_numpy():
    bits = np.random.default_rng(1).random((300, 24)) < np.linspace(0.2, 0.7, 24)
    bits[:, 1] ^= bits[:, 0]
    pairs = np.abs(np.corrcoef(bits.T.astype(float))[np.triu_indices(24, 1)])
    facts = diagnose(pack(bits))
    assert facts.mean_correlation == pytest.approx(pairs.mean())
    assert facts.max_correlation == pytest.approx(pairs.max())
    np.testing.assert_allclose(facts.ones, bits.mean(axis=0))
    eigenvalues = np.linalg.eigvalsh(np.cov(bits.T.astype(float)))
    assert facts.effective_bits == pytest.approx(eigenvalues.sum() ** 2 / (eigenvalues**2).sum())
    with pytest.raises(InputError, match="no codes"):
        diagnose(np.empty((0, 2), np.uint8))


# Pictures


@pytest.fixture(scope="module")
def data(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV of real photographs in two kinds, with parts, one of which is no picture."""
    folder = tmp_path_factory.mktemp("data")
    rows = []
    for number, name in enumerate(sorted(path.relative_to(photographs) for path in photographs.rglob("*.*"))):
        shutil.copyfile(photographs / name, folder / f"{number}{name.suffix}")
        part = "query" if number % 3 == 0 else "database"
        rows.append((f"{number}{name.suffix}", "texture" if name.parts[0] == "textures" else "other", part))
    (folder / "broken.jpg").write_bytes(b"no picture")
    rows.append(("broken.jpg", "other", "database"))
    _write(folder / "labels.csv", rows)
    return folder / "labels.csv"


def _write(path: Path, rows: list[tuple[str, str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "label", "split"), *rows])


@pytest.fixture(scope="module")
def compared(data: Path) -> Comparison:
    encoder = Encoder.load()
    nested = encoder.with_hash_function(
        HashFunction(encoder.hash_function.steps, "nested"), {"method": "nested"}
    )
    seen: list[Progress] = []
    comparison = evaluate(
        [("nested", nested)],
        read_labelled(data),
        OWN,
        bits=[16, 64, 256],
        at=5,
        asymmetric=True,
        floats=True,
        title="photographs",
        progress=seen.append,
    )
    assert [progress.stage for progress in seen[:1]] == ["compare"]
    assert {"encode", "judge"} <= {progress.stage for progress in seen}
    assert all(progress.done <= progress.total for progress in seen)
    return comparison


def test_every_length_and_baseline_is_judged(compared: Comparison):
    assert [(each.name, each.n_bits) for each in compared.evaluations] == [
        ("nested", 16),
        ("nested, asymmetric", 16),
        ("nested", 64),
        ("nested, asymmetric", 64),
        ("nested", 256),
        ("nested, asymmetric", 256),
        ("nested, floats", None),
    ]
    assert compared.n_queries + compared.n_database == 18
    for each in compared.evaluations:
        value = each.mean_average_precision["found"]
        assert 0 <= value.worst <= value.best <= 1
        for within in (value.id, value.expected):
            assert value.worst - 1e-12 <= within <= value.best + 1e-12


def test_an_unreadable_picture_is_reported_and_left_out(compared: Comparison):
    ((name, reason),) = compared.skipped.items()
    assert name.endswith("broken.jpg")
    assert "picture" in reason


def test_codes_are_those_of_the_encoder(compared: Comparison, data: Path):
    encoder, pictures = Encoder.load().with_granules(WHOLE_ONLY), read_labelled(data)
    assert pictures.labels is not None
    split = OWN.split(pictures.labels, pictures.splits).without([len(pictures) - 1])
    query, database = (
        np.stack([encoder.encode_query(pictures.source(i), name="x") for i in part])
        for part in (split.query, split.database)
    )
    again = judge(
        Hamming(query, database),
        pictures.labels.take(split.query),
        pictures.labels.take(split.database),
        name="nested",
        at=5,
    )
    assert again == compared.evaluations[4]


def test_prefixes_of_codes_that_are_not_nested_are_refused(data: Path, encoder: Encoder):
    pictures = read_labelled(data)
    with pytest.raises(CodesError, match="only where codes are nested"):
        evaluate([("itq", encoder)], pictures, OWN, bits=[64])
    with pytest.raises(CodesError, match="codes of 256 bits have no 512"):
        evaluate([("itq", encoder)], pictures, OWN, bits=[512])
    with pytest.raises(InputError, match="no encoder"):
        evaluate([], pictures, OWN)


def test_a_leak_is_found_before_anything_is_encoded(data: Path, tmp_path: Path, encoder: Encoder):
    first = read_labelled(data).names[0]
    shutil.copyfile(first, tmp_path / "query.png")
    shutil.copyfile(first, tmp_path / "copy.png")
    _write(tmp_path / "labels.csv", [("query.png", "a", "query"), ("copy.png", "a", "database")])
    with pytest.raises(SplitError, match=r"query\.png is .*copy\.png"):
        evaluate([("x", encoder)], read_labelled(tmp_path / "labels.csv"), OWN)


def test_pictures_without_labels_cannot_judge(photos: Path, encoder: Encoder):
    pictures = read_labelled(photos / "animals")
    with pytest.raises(LabelsError, match="no labels to judge by"):
        evaluate([("x", encoder)], pictures, OWN)


# Reports


def test_a_remark_says_published_only_of_what_is(compared: Comparison):
    noted = replace(compared, notes=("4 of its 6 queries, drawn with seed 0",))
    assert "only 4 of its 6 queries, drawn with seed 0" in report.remarks(noted)
    published = replace(noted, protocol="cifar10")
    assert any(
        line.startswith("differs from the published protocol: 4") for line in report.remarks(published)
    )


def test_distances_of_one_code_alone_are_not_drawn_wide(compared: Comparison):
    assert 'class="wide"' in report.html_page(compared)
    alone = replace(compared, evaluations=compared.evaluations[:2])
    assert 'class="wide"' not in report.html_page(alone)


def test_json_is_plain_and_complete(compared: Comparison):
    document = json.loads(json.dumps(report.to_json(compared)))
    assert document["format_version"] == 1
    assert document["n_queries"] == compared.n_queries
    first = document["evaluations"][0]
    assert set(first["mean_average_precision"]["capped"]) == {"id", "expected", "worst", "best"}
    assert first["precision_at"]["1"] == compared.evaluations[0].precision_at[1]
    assert len(first["codes"]["diagnostics"]["ones"]) == 16
    assert document["evaluations"][1]["codes"] is None


@pytest.mark.parametrize("width", [60, 100])
def test_the_terminal_is_never_overrun_and_shows_every_number(compared: Comparison, width: int):
    stream = io.StringIO()
    report.terminal(compared, Console(file=stream, width=width, force_terminal=True, color_system=None))
    lines = stream.getvalue().splitlines()
    tables = lines[lines.index("") :]
    assert max(map(len, tables)) <= width
    for table in report.tables(compared.evaluations):
        for row in table.rows:
            assert all(any(cell in line for line in tables) for cell in row[1:])


def test_a_pipe_gets_whole_lines(compared: Comparison):
    stream = io.StringIO()
    report.terminal(compared, Console(file=stream, width=40))
    line = next(line for line in stream.getvalue().splitlines() if line.startswith("mAP@5"))
    assert len(line.split()) == 1 + len(compared.evaluations)


class _Page(HTMLParser):
    """Tags must be balanced; attributes and text are kept."""

    VOID = frozenset({"meta", "path", "use", "rect", "line", "image", "br"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_page_needs_nothing_else_and_follows_its_colours(compared: Comparison):
    page = report.html_page(compared)
    parsed = _Page(page)
    assert not re.search(r"https?://|<script|<link|<image", page)
    names = [tag for tag, _ in parsed.tags]
    assert names.count("svg") == 6
    assert names.count("h1") == 1
    ids = [attributes["id"] for _, attributes in parsed.tags if attributes.get("id")]
    assert len(ids) == len(set(ids)), "plots must not share ids"
    drawn = "".join(plots(compared.evaluations).values())
    assert {"var(--ink)", "var(--soft)", "var(--line)", "var(--series-0)"} <= set(
        re.findall(r"var\(--[\w-]+\)", drawn)
    )
    assert not re.search(r"#0[12]0[0-9a-f]{3}", drawn), "a stand-in was left"
    assert "broken.jpg" in page


def test_a_hostile_title_comes_out_harmless(compared: Comparison):
    page = report.html_page(replace(compared, title="<script>x</script>", about="<b>"))
    assert "<script>" not in page
    assert "<b>" not in page


def test_plots_are_written_as_pictures(compared: Comparison, tmp_path: Path):
    paths = write_pngs(compared.evaluations, tmp_path / "plots")
    assert [path.stem for path in paths] == [
        "lengths",
        "precision-recall",
        "precision-at-k",
        "recall-at-k",
        "distances",
        "bits",
    ]
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in paths)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="choose another folder"):
        write_pngs(compared.evaluations, tmp_path / "file")


def test_a_missing_matplotlib_names_the_extra(compared: Comparison, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"pip install 'grainhash\[evaluate\]'"):
        report.html_page(compared)


# Files of codes


@pytest.fixture
def files(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "db.npy", rng.integers(0, 256, (40, 4), np.uint8))
    np.save(tmp_path / "q.npy", rng.integers(0, 256, (8, 4), np.uint8))
    np.save(tmp_path / "db-labels.npy", np.arange(40) % 3)
    (tmp_path / "q-labels.txt").write_text("".join(f"{n % 3}\n" for n in range(8)))
    return tmp_path


def test_labels_of_two_files_share_their_classes(files: Path):
    asked, stored = read_labels(files / "q-labels.txt", files / "db-labels.npy")
    assert asked.classes == stored.classes == ("0", "1", "2")
    np.testing.assert_array_equal(asked.ids, np.arange(8) % 3)
    np.save(files / "m.npy", np.eye(3, dtype=np.int64)[np.arange(8) % 3])
    one, other = read_labels(files / "m.npy", files / "m.npy")
    assert one.kind == other.kind == "multi"
    (files / "several.csv").write_text("label\na;b\nb\n")
    assert read_labels(files / "several.csv", files / "several.csv")[0].kind == "multi"


def test_files_that_are_something_else_are_refused(files: Path):
    np.save(files / "wide.npy", np.zeros((2, 2, 2), np.uint8))
    np.save(files / "matrix.npy", np.zeros((8, 3), np.int64))
    with pytest.raises(CodesError, match=r"uint8 of shape \(2, 2, 2\)"):
        read_vectors(files / "wide.npy")
    with pytest.raises(CodesError, match=r"not a \.npy file"):
        read_vectors(files / "q-labels.txt")
    with pytest.raises(CodesError, match="no such file"):
        read_vectors(files / "missing.npy")
    np.savez(files / "several.npz", np.zeros((8, 4), np.uint8))
    with pytest.raises(CodesError, match="an archive of arrays"):
        read_vectors(files / "several.npz")
    with pytest.raises(LabelsError, match="one is a 0/1 matrix"):
        read_labels(files / "matrix.npy", files / "q-labels.txt")
    with pytest.raises(LabelsError, match="cannot be read"):
        read_labels(files / "missing.csv", files / "q-labels.txt")
    (files / "other.csv").write_text("name\na\n")
    with pytest.raises(LabelsError, match="needs a column label"):
        read_labels(files / "other.csv", files / "q-labels.txt")
    (files / "gap.txt").write_text("0\n\n1\n")
    with pytest.raises(LabelsError, match=r"gap\.txt: 1 pictures have no label \(first: row 1\)"):
        read_labels(files / "q-labels.txt", files / "gap.txt")


def test_codes_of_any_origin_are_judged(files: Path):
    labels = read_labels(files / "q-labels.txt", files / "db-labels.npy")
    comparison = evaluate_codes(read_vectors(files / "q.npy"), read_vectors(files / "db.npy"), *labels)
    assert comparison.protocol == "as given"
    assert comparison.evaluations[0].n_bits == 32
    floats = np.random.default_rng(0).normal(size=(8, 5))
    asked = labels[0]
    assert evaluate_codes(floats, floats, asked, asked).evaluations[0].codes is None


# The command


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr("sys.argv", ["grainhash", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_the_command_judges_pictures(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    page, folder = tmp_path / "page.html", tmp_path / "plots"
    assert (
        _run(monkeypatch, "evaluate", data, "--at", 5, "--queries", 4, "--html", page, "--plots", folder) == 0
    )
    shown = capsys.readouterr().out
    assert "protocol own: 4 queries" in shown
    assert "mAP@5" in shown
    assert f"page: {page}" in shown
    assert "<svg" in page.read_text(encoding="utf-8")
    assert (folder / "bits.png").is_file()


def test_the_command_judges_files_as_json(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    names = {
        "codes": "db.npy",
        "query-codes": "q.npy",
        "labels": "db-labels.npy",
        "query-labels": "q-labels.txt",
    }
    options = [part for name, file in names.items() for part in (f"--{name}", files / file)]
    assert _run(monkeypatch, "evaluate", *options, "--json", "--at", 10) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["evaluations"][0]["at"] == 10


CODES = ["--codes", "a.npy", "--query-codes", "b.npy", "--labels", "a.txt", "--query-labels", "b.txt"]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ([], 2, "name pictures, or all of --codes"),
        (["--codes", "db.npy"], 2, "name pictures, or all of --codes"),
        (["missing"], 1, "no such folder or file"),
        (["DATA", "--protocol", "cifar"], 1, "no protocol 'cifar'"),
        (["DATA", "--protocol", "cifar10-1"], 1, "draws 100 queries of class"),
        (["DATA", "--bits", "16"], 1, "only where codes are nested"),
        (["DATA", "--bits", "some"], 2, "write lengths such as 16,32,64"),
        (["DATA", "--encoder", "nowhere"], 1, "no encoder there"),
        (["missing", "--html", "nowhere/page.html"], 1, "there is no folder nowhere"),
        (
            [*CODES, "--bits", "16", "--asymmetric"],
            2,
            "codes are judged as they are; leave out --bits, --asymmetric",
        ),
    ],
)
def test_what_cannot_be_done_is_one_clear_line(
    data: Path,
    options: list[str],
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    rest = [str(data) if option == "DATA" else option for option in options]
    if "cifar10-1" in options:
        monkeypatch.chdir(data.parent)
        bare = data.with_name("bare.csv")
        bare.write_text("\n".join(",".join(line.split(",")[:2]) for line in data.read_text().splitlines()))
        rest[0] = str(bare)
    assert _run(monkeypatch, "evaluate", *rest) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_protocols_are_found_by_name():
    assert protocol("own") is OWN


def test_the_help_names_every_protocol(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert _run(monkeypatch, "evaluate", "--help") == 0
    words = set(re.findall(r"[\w-]+", capsys.readouterr().out))
    assert set(PROTOCOLS) <= words


def test_the_python_of_the_page_runs(capsys: pytest.CaptureFixture[str]):
    page = (Path(__file__).parents[1] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    for code in re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        exec(compile(code, "docs/evaluation.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert 0.1 < float(lines[0]) < 1
    assert lines[1].startswith("True ")


def test_the_page_lists_every_protocol():
    page = (Path(__file__).parents[1] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    section = page.split("## Protocols")[1]
    rows = re.findall(r"^\| `([\w-]+)` \|.*\| (\S+) \|$", section, re.MULTILINE)
    assert dict(rows) == {name: f"{known.at:,}" if known.at else "all" for name, known in PROTOCOLS.items()}
