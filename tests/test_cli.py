from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import typer
from PIL import Image

import grainhash
from grainhash import Box
from grainhash.cli import app, main

VERBS = (
    "index",
    "add",
    "remove",
    "search",
    "explain",
    "info",
    "duplicates",
    "cluster",
    "classify",
    "frames",
    "serve",
    "evaluate",
    "train",
    "advise",
    "export",
)


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line in this process: its exit code, stdout and stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["grainhash", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit:
            main()
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return exit.value.code or 0, out, err

    return call


@pytest.fixture
def fails(run):
    """Run a command that must fail: its exit code and the one line it says."""

    def call(*arguments):
        code, _, err = run(*arguments)
        assert re.fullmatch(r"grainhash: [^\n]+\n", err), err
        return code, err

    return call


@pytest.fixture(scope="module")
def indexed(tmp_path_factory, photographs):
    """A gallery of all photographs, for tests that only ask."""
    from grainhash import Gallery

    path = tmp_path_factory.mktemp("cli") / "gallery"
    with Gallery.open(path, create=True) as gallery:
        gallery.index(photographs)
    return path


def process(*arguments, cwd=None, env=None):
    """Run the command line as a process of its own, as a user does."""
    command = [sys.executable, "-m", "grainhash", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env={**os.environ, **(env or {})}, timeout=120
    )


# The whole way, as a user goes it


def test_index_search_and_the_rest_in_processes_of_their_own(photos, tmp_path):
    gallery = {"GRAINHASH_GALLERY": str(tmp_path / "mine")}
    result = process("index", "photos", cwd=tmp_path, env=gallery)
    assert (result.returncode, result.stderr) == (0, "")
    assert re.fullmatch(rf"{tmp_path}/mine: 4 added in [\d.]+ s; 4 pictures\n", result.stdout)

    result = process("search", "photos/animals/chelsea.png", "-k", 2, cwd=tmp_path, env=gallery)
    assert (result.returncode, result.stderr) == (0, "")
    assert "\x1b" not in result.stdout  # no colours into a pipe
    first = next(line.split() for line in result.stdout.splitlines() if line.lstrip().startswith("1 "))
    assert first[:4] == ["1", "1.000", "0", "0"]
    assert first[-1] == str(photos / "animals/chelsea.png")

    result = process("remove", "photos/animals/chelsea.png", cwd=tmp_path, env=gallery)
    assert result.stdout == f"removed 1 picture; 3 left in {tmp_path}/mine\n"
    result = process("add", "photos/things/../animals/chelsea.png", cwd=tmp_path, env=gallery)
    assert (result.returncode, result.stdout.split(" in ")[0]) == (0, f"{tmp_path}/mine: 1 added")
    result = process("index", "./photos/../photos", cwd=tmp_path, env=gallery)
    assert result.stdout.split(" in ")[0] == f"{tmp_path}/mine: 4 unchanged"
    result = process("info", cwd=tmp_path, env=gallery)
    assert re.search(r"^pictures +4 ", result.stdout, re.MULTILINE)
    assert not (tmp_path / "gallery").exists()


def test_the_gallery_is_the_folder_gallery_by_default(photos, tmp_path):
    assert process("add", "photos/things/coffee.png", cwd=tmp_path).returncode == 0
    assert (tmp_path / "gallery/gallery.sqlite").exists()


def test_help_answers_without_heavy_imports():
    code = (
        "import sys; sys.argv = ['grainhash', '--help']\n"
        "from grainhash.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'openvino', 'onnxruntime', 'PIL', 'torch', 'sqlite3', 'lark'}\n"
        "sys.exit(str(heavy & sys.modules.keys() or ''))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stderr.strip()) == (1, "")  # exit of '' is 1, and prints nothing
    for verb in VERBS:
        assert re.search(rf"^  {verb} ", result.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("command", "proof"),
    [
        (["search", "photos/things/coffee.png", "-g", "INDEXED"], "grainhash.search"),
        (
            ["explain", "photos/things/coffee.png", "1", "-g", "INDEXED", "--png", "a", "--html", "b"],
            "grainhash.explain_report",
        ),
        (["index", "photos", "-g", "new"], "grainhash.indexing"),
        (["duplicates", "-g", "INDEXED", "--html", "c"], "grainhash.duplicates_report"),
        (["cluster", "-g", "INDEXED", "--k", "2"], "grainhash.clusters"),
        (["classify", "-g", "INDEXED", "--html", "d"], "grainhash.classify"),
        (["evaluate", "photos", "--queries", "1"], "grainhash.evaluation"),
        (
            ["train", "photos", "--method", "itq", "--bits", "8", "--out", "out", "--cache", "cache"],
            "grainhash.training.frozen",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_needs_no_torch_never_imports_it(indexed, photographs, tmp_path, command, proof):
    (tmp_path / "photos").symlink_to(photographs)
    code = (
        "import sys\n"
        "sys.argv[0] = 'grainhash'\n"
        "from grainhash.cli import main\n"
        "try: main()\n"
        "except SystemExit as exit: assert not exit.code\n"
        f"assert '{proof}' in sys.modules\n"
        "assert not {'torch', 'onnx', 'sklearn', 'skimage', 'pandas'} & sys.modules.keys()"
    )
    arguments = [str(indexed) if argument == "INDEXED" else argument for argument in command]
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=tmp_path
    )
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_every_verb_helps_within_80_columns(run, verb):
    code, out, err = run(*verb.split(), "--help")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert "..." not in re.sub(r"(what|pictures|videos|ARGS|\}|\])\.\.\.", "", out)  # nothing is cut off


def test_the_verbs_are_those_tested(run):
    assert re.findall(r"^  (\w+)  ", run("--help")[1].split("Commands:")[1], re.MULTILINE) == list(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_says_what_it_is_for(verb):
    for parameter in typer.main.get_command(app).commands[verb].params:
        assert parameter.help, f"{verb} {parameter.name}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epochs", "3"], "--epochs: it is for --end-to-end"),
        (["--workers", "1"], "--workers: it is for --end-to-end"),
        (["--end-to-end", "--mirrored"], "--mirrored: it is not for --end-to-end"),
        (["--end-to-end", "--cache", "x"], "--cache: it is not for --end-to-end"),
    ],
)
def test_options_of_the_other_way_to_train_are_refused(fails, photographs, tmp_path, options, message):
    code, err = fails("train", photographs, "--out", tmp_path / "out", *options)
    assert (code, message in err) == (2, True)


def test_options_of_the_two_ways_to_train_exist():
    from grainhash.cli.train import OF_END_TO_END, OF_THE_FROZEN

    names = {parameter.name for parameter in typer.main.get_command(app).commands["train"].params}
    assert names >= OF_END_TO_END | OF_THE_FROZEN


@pytest.mark.parametrize("option", ["--html", "--plots"])
def test_plots_without_matplotlib_name_the_extra_before_the_work(
    fails, monkeypatch, photographs, tmp_path, option
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("grainhash.evaluation.evaluate", lambda *_, **__: pytest.fail("it was judged"))
    code, err = fails("evaluate", photographs, option, tmp_path / "out")
    assert (code, "pip install 'grainhash[evaluate]'" in err) == (1, True)


def test_training_end_to_end_without_torch_names_the_extra(fails, monkeypatch, photographs, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    code, err = fails("train", photographs, "--out", tmp_path / "out", "--end-to-end")
    assert (code, "pip install 'grainhash[train]'" in err) == (1, True)


def test_no_arguments_is_a_question_for_help(run):
    assert run() == run("--help")


def test_version(run):
    assert run("--version") == (0, f"grainhash {grainhash.__version__}\n", "")


# Each verb's options


def test_search_as_json_has_stable_keys(run, indexed, photographs):
    query = photographs / "things/coffee.png"
    code, out, err = run(
        "search", query, "-g", indexed, "--json", "-k", 3, "--region", "0.4,0.4,1,1", "--by", "part"
    )
    assert (code, err) == (0, "")
    answer = json.loads(out)
    keys = "query query_box where granularity n_bits n_pictures seconds plan hits"
    assert list(answer) == keys.split()
    assert (answer["query"], answer["query_box"]) == (str(query), [0.4, 0.4, 1, 1])
    assert (answer["where"], answer["granularity"], answer["n_bits"]) == (None, "part", 256)
    assert answer["n_pictures"] == 18
    assert len(answer["hits"]) == 3
    first = answer["hits"][0]
    keys = "rank id uri score false_matches distance whole_distance part_distance box query_box"
    assert list(first) == [*keys.split(), "width", "height", "meta", "points"]
    assert (first["rank"], first["uri"], first["distance"], first["part_distance"]) == (1, str(query), 0, 0)
    assert first["box"] == pytest.approx([0.4, 0.4, 1, 1], abs=1e-4)
    assert first["meta"] == {"folder": "things", "label": "things"}


def test_search_filters(run, indexed, photographs):
    query = photographs / "things/coffee.png"
    code, out, _ = run("search", query, "-g", indexed, "--json", "--where", "label in (textures, plants)")
    assert code == 0
    assert {hit["meta"]["label"] for hit in json.loads(out)["hits"]} == {"textures", "plants"}
    assert len(json.loads(out)["hits"]) == 4
    code, out, _ = run("search", query, "-g", indexed, "--where", "label = nothing")
    assert code == 0
    assert "nothing" in out


def test_search_writes_a_page_that_needs_nothing_else(run, indexed, photographs, tmp_path):
    page = tmp_path / "page.html"
    code, out, _ = run("search", photographs / "things/coffee.png", "-g", indexed, "--html", page)
    assert (code, out.splitlines()[-1]) == (0, f"page: {page}")
    html = page.read_text()
    assert html.count("data:image/jpeg;base64,") >= 10
    assert not re.search(r"""(src|href)=["'](?!data:|#|file:)""", html)
    assert "coffee.png" in html


def test_by_whole_and_by_part_differ(run, indexed, photographs):
    def distances(by):
        _, out, _ = run("search", photographs / "things/coffee.png", "-g", indexed, "--json", "--by", by)
        return [
            (hit["distance"], hit["whole_distance"], hit["part_distance"]) for hit in json.loads(out)["hits"]
        ]

    assert all(distance == whole for distance, whole, _ in distances("whole"))
    assert all(distance == part for distance, _, part in distances("part"))
    assert all(distance in (whole, part) for distance, whole, part in distances("both"))


def test_scores_fall_and_a_least_score_cuts(run, indexed, photographs):
    query = photographs / "things/coffee.png"

    def scores(*options):
        code, out, err = run("search", query, "-g", indexed, "--json", "-k", 18, *options)
        assert (code, err) == (0, "")
        return [hit["score"] for hit in json.loads(out)["hits"]]

    everything = scores()
    assert everything == sorted(everything, reverse=True)
    assert everything[0] > 0.999 > 0.5 > everything[-1] >= 0
    assert scores("--min-score", 0.9) == [score for score in everything if score >= 0.9]
    code, _, _ = run("search", query, "-g", indexed, "--min-score", 1.5)
    assert code == 2


def test_the_plan_of_a_search_is_told(run, indexed, photographs):
    query = photographs / "things/coffee.png"
    asked = "search", query, "-g", indexed, "--explain-plan", "--where", "label != people", "--parts", "2"
    code, out, err = run(*asked)
    assert (code, err) == (0, "")
    steps = out[out.index("step ") :].splitlines()
    assert [line.split()[0] for line in steps[1:]] == ["filter", "candidates", "order", "score", "read"]
    assert "by asymmetric distance" in out
    assert "by Hamming distance" in run(*asked, "--order", "hamming")[1]


def test_points_are_verified_and_told(run, indexed, photographs):
    asked = "search", photographs / "things/coffee.png", "-g", indexed, "--verify", 3, "-k", 2
    code, out, err = run(*asked, "--json", "--points", "sift")
    assert (code, err) == (0, "")
    document = json.loads(out)
    first, second = document["hits"]
    assert first["points"]["places"] > 50
    assert {len(corner) for corner in first["points"]["outline"]} == {2}
    assert second["points"] is None
    assert document["plan"][-1]["name"] == "verify"
    assert document["plan"][-1]["n"] == 1
    code, out, err = run(*asked, "--explain-plan")
    assert (code, err) == (0, "")
    assert "map points with those of the best 3" in out


def test_parts_of_a_query_are_asked_for(run, indexed, photographs, tmp_path):
    host = Image.open(photographs / "textures/grass.png").convert("RGB").resize((600, 600))
    host.paste(Image.open(photographs / "things/coffee.png").convert("RGB").resize((270, 180)), (60, 300))
    host.save(tmp_path / "host.png")
    code, out, _ = run("search", tmp_path / "host.png", "-g", indexed, "--json", "-k", 2, "--parts", "auto")
    assert code == 0
    hits = {Path(hit["uri"]).name: hit for hit in json.loads(out)["hits"]}
    assert "coffee.png" in hits
    found = Box(*hits["coffee.png"]["query_box"])
    assert found.iou(Box(0.1, 0.5, 0.55, 0.8)) > 0.5
    for wrong in ("some", "-1", "1000"):
        code, _, _ = run("search", photographs / "things/coffee.png", "-g", indexed, f"--parts={wrong}")
        assert code == 2


def test_a_gallery_with_faces(run, photographs, tmp_path):
    folder = tmp_path / "people"
    folder.mkdir()
    shutil.copyfile(photographs / "people/astronaut.png", folder / "astronaut.png")
    code, _, err = run("index", folder, "-g", tmp_path / "g", "--faces", "--proposals", "1")
    assert (code, err) == (0, "")
    asked = "search", folder / "astronaut.png", "-g", tmp_path / "g", "--region", "0.3,0.07,0.58,0.38"
    _, out, _ = run(*asked, "--by", "part", "--json")
    box = Box(*json.loads(out)["hits"][0]["box"])
    assert box.iou(Box(0.33, 0.11, 0.55, 0.34)) > 0.4


@pytest.mark.parametrize("without", [("--whole-only",), ("--proposals", 0)])
def test_boxes_that_would_come_to_nothing_are_refused(run, photos, tmp_path, without):
    """For a new gallery, which is not made, and for one that is there."""
    table = tmp_path / "boxes.csv"
    table.write_text("path,x0,y0,x1,y1\nthings/coffee.png,0,0,1,1\n")
    index = "index", photos, "-g", tmp_path / "g"
    for given in (("--faces",), ("--boxes", table)):
        code, _, err = run(*index, *without, *given)
        assert (code, err.count("\n")) == (2, 1)
        assert "take the place of proposals" in err
        assert not (tmp_path / "g").exists()
    assert run(*index, *without)[0] == 0
    code, _, err = run(*index, "--faces")
    assert code == 2
    assert "take the place of proposals" in err


def test_a_gallery_with_boxes_of_a_detector(run, photos, tmp_path):
    table = tmp_path / "boxes.csv"
    table.write_text("path,x0,y0,x1,y1\nthings/coffee.png,0.05,0.5,0.3,0.98\nno.png,0,0,1,1\n")
    new = "index", photos, "-g", tmp_path / "g", "--boxes", table, "--proposals", "1"
    code, out, err = run(*new)
    assert code == 0
    assert "no.png" in out + err
    _, out, _ = run("index", photos, "-g", tmp_path / "json", "--boxes", table, "--json")
    assert json.loads(out)["unmatched_boxes"] == ["no.png"]
    query = photos / "things/coffee.png"
    _, out, _ = run(
        "search", query, "-g", tmp_path / "g", "--region", "0.05,0.5,0.3,0.98", "--by", "part", "--json"
    )
    first = json.loads(out)["hits"][0]
    assert first["box"] == pytest.approx([0.05, 0.5, 0.3, 0.98], abs=1e-4)
    assert first["distance"] <= 8  # a box is kept in steps of a 65,535th
    code, _, err = run("index", photos, "-g", tmp_path / "g", "--proposals", "5")
    assert code == 2
    assert "at most 1 proposals" in err
    table.write_text("path,x0,y0,x1,y1\nthings/coffee.png,2,2,3,3\n")
    code, _, err = run("index", photos, "-g", tmp_path / "h", "--boxes", table)
    assert code == 2
    assert "line 2: the box 2, 2, 3, 3 has no area" in err
    assert not (tmp_path / "h").exists()


def test_digits_without_end_are_no_number(run, photos, tmp_path):
    run("index", photos, "-g", tmp_path / "g")
    query, digits = photos / "things/coffee.png", "9" * 5000
    for arguments in (("search", query, "--parts", digits), ("cluster", "--k", digits)):
        code, _, err = run(*arguments, "-g", tmp_path / "g")
        assert code == 2
        assert "auto, or a number" in err.replace("\n", " ")
    code, _, err = run("explain", query, digits, "-g", tmp_path / "g")
    assert code == 1
    assert "not in the gallery" in err


def test_index_as_json(run, photos, tmp_path):
    (photos / "bad.png").write_bytes(b"no picture")
    table = tmp_path / "table.jsonl"
    table.write_text('{"path": "things/coffee.png", "year": 2011}\n{"path": "none.png"}\n')
    code, out, err = run("index", photos, "-g", tmp_path / "g", "--metadata", table, "--json", "--workers", 1)
    assert (code, err) == (0, "")
    report = json.loads(out)
    keys = "gallery added updated unchanged removed relabelled skipped unmatched seconds unmatched_boxes"
    assert list(report) == keys.split()
    assert (report["gallery"], report["added"], report["unmatched"]) == (str(tmp_path / "g"), 4, ["none.png"])
    assert list(report["skipped"]) == [str(photos / "bad.png")]
    _, out, _ = run(
        "search", photos / "astronomy/rocket.jpg", "-g", tmp_path / "g", "--where", "year=2011", "--json"
    )
    assert [Path(hit["uri"]).name for hit in json.loads(out)["hits"]] == ["coffee.png"]
    code, out, err = run("info", "-g", tmp_path / "g", "--json")
    facts = json.loads(out)
    assert (code, facts["pictures"], facts["n_bits"]) == (0, 4, 256)
    assert facts["skipped"] == [[str(photos / "bad.png"), report["skipped"][str(photos / "bad.png")]]]


def test_a_whole_only_gallery(run, photos, tmp_path):
    assert run("index", photos, "-g", tmp_path / "g", "--whole-only")[0] == 0
    _, out, _ = run("info", "-g", tmp_path / "g", "--json")
    assert json.loads(out)["regions"] == 0
    assert run("index", photos, "-g", tmp_path / "g", "--whole-only")[0] == 0


def test_refit_from_the_command_line(run, photos, tmp_path):
    for number in range(20):
        image = Image.open(photos / "places/china.jpg")
        x, y = 20 * number, 10 * number
        image.crop((x, y, x + 200, y + 200)).save(photos / f"crop{number}.jpg")
    code, out, err = run("index", photos, "-g", tmp_path / "g", "--refit")
    assert (code, err) == (0, "")
    assert "24 added" in out
    _, out, _ = run("search", photos / "crop7.jpg", "-g", tmp_path / "g", "-k", 1, "--json")
    (hit,) = json.loads(out)["hits"]
    assert (hit["uri"], hit["distance"]) == (str(photos / "crop7.jpg"), 0)


def test_add_takes_metadata_and_the_same_file_twice(run, photos, tmp_path):
    coffee = photos / "things/coffee.png"
    code, out, _ = run(
        "add", coffee, coffee, "-g", tmp_path / "g", "--meta", "by=me", "--meta", "on=a=b", "--json"
    )
    assert (code, json.loads(out)["added"]) == (0, 1)
    _, out, _ = run("search", coffee, "-g", tmp_path / "g", "--json")
    assert [hit["meta"] for hit in json.loads(out)["hits"]] == [{"by": "me", "on": "a=b"}]


def test_remove_by_id_and_by_folder(run, photos, tmp_path):
    run("index", photos, "-g", tmp_path / "g")
    assert run("remove", 1, 2, "-g", tmp_path / "g")[1].startswith("removed 2 pictures; 2 left in ")
    assert run("remove", photos, "-g", tmp_path / "g")[1].startswith("removed 2 pictures; 0 left in ")


# Bad input: one clear line, and the right exit code


def test_bad_pictures_are_left_out_listed_and_explained(run, photos, tmp_path):
    good = (photos / "things/coffee.png").read_bytes()
    (photos / "empty.jpg").write_bytes(b"")
    (photos / "truncated.png").write_bytes(good[: len(good) // 2])
    for number in range(5):
        (photos / f"text{number}.jpg").write_text("I am not a picture")
    code, out, err = run("index", photos, "-g", tmp_path / "g")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith(f"{tmp_path / 'g'}: 4 added")
    assert lines[1] == "7 left out:"
    assert lines[2] == f"  {photos / 'empty.jpg'}: the file is empty"
    assert lines[-2:] == [
        "  ... and 2 more",
        f"  see them all with: grainhash info --skipped -g {tmp_path / 'g'}",
    ]
    code, out, _ = run("info", "--skipped", "-g", tmp_path / "g")
    assert code == 0
    assert len(out.splitlines()) == 7
    assert "7 files" in run("info", "-g", tmp_path / "g")[1]


def test_adding_a_bad_picture_fails_and_takes_the_good_ones(run, photos, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"x")
    code, out, _ = run(
        "add", tmp_path / "bad.jpg", photos / "things/coffee.png", tmp_path / "none.jpg", "-g", tmp_path / "g"
    )
    assert code == 1
    assert "1 added" in out
    assert f"{tmp_path / 'bad.jpg'}: " in out
    assert f"{tmp_path / 'none.jpg'}: no such file" in out.lower()


def test_a_gallery_that_is_not_there(fails, photos, tmp_path):
    for arguments in (["search", photos / "things/coffee.png"], ["info"], ["remove", "1"]):
        code, err = fails(*arguments, "-g", tmp_path / "none")
        assert code == 1
        assert f"create one with: grainhash index FOLDER -g {tmp_path / 'none'}" in err
    assert not (tmp_path / "none").exists()


def test_a_folder_that_is_not_there_makes_no_gallery(fails, tmp_path):
    code, err = fails("index", tmp_path / "none", "-g", tmp_path / "g")
    assert (code, f"{tmp_path / 'none'}: no such folder" in err) == (1, True)
    assert not (tmp_path / "g").exists()


def test_a_folder_that_has_vanished_loses_nothing(fails, run, photos, tmp_path):
    run("index", photos, "-g", tmp_path / "g")
    photos.rename(tmp_path / "aside")
    assert fails("index", photos, "-g", tmp_path / "g")[0] == 1
    photos.mkdir()
    code, err = fails("index", photos, "-g", tmp_path / "g")
    assert (code, "mount" in err) == (1, True)
    assert json.loads(run("info", "-g", tmp_path / "g", "--json")[1])["pictures"] == 4


@pytest.mark.parametrize("region", ["1,2", "0,0,1,nan", "0.5,0,0.5,1", "0,0,1.5,1", "a,b,c,d", ""])
def test_a_wrong_region_is_wrong_usage(fails, indexed, photographs, region):
    code, err = fails("search", photographs / "things/coffee.png", "-g", indexed, "--region", region)
    assert (code, "box" in err) == (2, True)


@pytest.mark.parametrize("where", ["label = = x", "label", "", "label = 'x", "drop table"])
def test_a_wrong_filter_is_wrong_usage(fails, indexed, photographs, where):
    code, _ = fails("search", photographs / "things/coffee.png", "-g", indexed, "--where", where)
    assert code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["search"],
        ["serch", "x"],
        ["search", "x", "--regoin", "0,0,1,1"],
        ["search", "x", "-k", "many"],
        ["search", "x", "-k", "-1"],
        ["search", "x", "--by", "pixel"],
        ["index", ".", "--workers", "0"],
        ["index", ".", "--runtime", "torch"],
        ["add", "x.jpg", "--meta", "novalue"],
        ["remove"],
    ],
)
def test_wrong_usage_is_one_line_that_says_where_help_is(fails, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    code, err = fails(*arguments)
    assert code == 2
    assert "--help" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [None, b"", b"no picture", "folder", "fifo"])
def test_a_query_that_is_no_picture(fails, indexed, tmp_path, content):
    query = tmp_path / "query.jpg"
    if content == "folder":
        query.mkdir()
    elif content == "fifo":
        os.mkfifo(query)
    elif content is not None:
        query.write_bytes(content)
    code, err = fails("search", query, "-g", indexed)
    assert (code, err.startswith(f"grainhash: {query}: ")) == (1, True)


def test_a_page_that_cannot_be_written(fails, indexed, photographs, tmp_path):
    query = photographs / "things/coffee.png"
    for page in (tmp_path / "none/page.html", tmp_path):
        code, err = fails("search", query, "-g", indexed, "--html", page)
        assert (code, str(page) in err) == (1, True)


def test_a_gallery_of_another_format_version(fails, run, photos, tmp_path):
    run("index", photos, "-g", tmp_path / "g")
    with closing(sqlite3.connect(tmp_path / "g/gallery.sqlite")) as db, db:
        db.execute("UPDATE info SET value = '99' WHERE key = 'format_version'")
    for arguments in (["info"], ["index", photos], ["search", photos / "things/coffee.png"]):
        code, err = fails(*arguments, "-g", tmp_path / "g")
        assert (code, "format 99" in err) == (1, True)


def test_what_is_no_gallery_or_no_encoder(fails, photos, tmp_path):
    (tmp_path / "g").mkdir()
    (tmp_path / "g/gallery.sqlite").write_bytes(b"something else" * 200)
    assert fails("info", "-g", tmp_path / "g")[0] == 1
    code, err = fails("index", photos, "-g", photos)
    assert (code, "new or empty folder" in err) == (1, True)
    code, err = fails("index", photos, "-g", tmp_path / "new", "--encoder", photos)
    assert (code, "no encoder there" in err) == (1, True)
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("x")
    assert fails("index", photos, "-g", tmp_path / "file")[0] == 1
    assert fails("index", photos, "-g", tmp_path / "file/g")[0] == 1


def test_a_damaged_gallery(fails, run, photos, tmp_path):
    run("index", photos, "-g", tmp_path / "g")
    file = tmp_path / "g/gallery.sqlite"
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    file.write_bytes(content)
    code, err = fails("search", photos / "things/coffee.png", "-g", tmp_path / "g")
    assert (code, str(tmp_path / "g") in err) == (1, True)


def test_a_damaged_encoder_in_the_gallery(fails, run, photos, tmp_path):
    run("index", photos, "-g", tmp_path / "g")
    (network,) = (tmp_path / "g").glob("encoder/*/network.onnx")
    network.write_bytes(network.read_bytes()[:1000])
    code, err = fails("search", photos / "things/coffee.png", "-g", tmp_path / "g")
    assert (code, str(network) in err) == (1, True)
    shutil.rmtree(tmp_path / "g/encoder")
    assert fails("search", photos / "things/coffee.png", "-g", tmp_path / "g")[0] == 1


def test_parts_of_a_whole_only_gallery(fails, run, photos, tmp_path):
    run("index", photos, "-g", tmp_path / "g", "--whole-only")
    code, err = fails("search", photos / "things/coffee.png", "-g", tmp_path / "g", "--by", "part")
    assert (code, "no parts" in err) == (1, True)


def test_other_settings_for_a_gallery_that_is_there(fails, indexed, photographs):
    code, err = fails("index", photographs, "-g", indexed, "--whole-only")
    assert (code, "--whole-only is for a new gallery" in err) == (2, True)


def test_another_encoder_for_a_gallery_that_is_there(fails, run, indexed, photographs, tmp_path):
    from grainhash import Encoder
    from grainhash.encoder.encoder import DEFAULT_FOLDER
    from grainhash.encoder.granules import WHOLE_ONLY

    assert run("index", photographs, "-g", indexed, "--encoder", DEFAULT_FOLDER)[0] == 0
    Encoder.load().with_granules(WHOLE_ONLY).save(tmp_path / "other")
    code, err = fails("index", photographs, "-g", indexed, "--encoder", tmp_path / "other")
    assert (code, "made with another encoder" in err) == (1, True)
    code, err = fails("index", photographs, "-g", indexed, "--encoder", tmp_path / "none")
    assert (code, "no encoder there" in err) == (1, True)


def test_an_error_of_the_system_is_one_line(fails, monkeypatch, photos):
    def forbidden(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_dir", forbidden)
    code, err = fails("index", photos)
    assert (code, "Permission denied" in err) == (1, True)


def test_a_metadata_file_that_cannot_be_read(fails, photos, tmp_path):
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    for table in (tmp_path / "none.csv", tmp_path / "table.csv"):
        code, err = fails("index", photos, "-g", tmp_path / "g", "--metadata", table)
        assert (code, str(table) in err) == (1, True)
    assert not (tmp_path / "g").exists()


def test_a_refit_of_too_few_pictures_still_says_what_was_indexed(run, photos, tmp_path):
    code, out, err = run("index", photos, "-g", tmp_path / "g", "--refit")
    assert (code, "4 added" in out) == (1, True)
    assert re.fullmatch(r"grainhash: [^\n]*pictures[^\n]*\n", err), err


@pytest.mark.parametrize("what", ["/none.png", "77", "99999999999999999999999", "-1"])
def test_removing_what_is_not_there(fails, indexed, what):
    code, err = fails("remove", "-g", indexed, "--", what)
    assert (code, "not in the gallery; nothing was removed" in err) == (1, True)


def test_names_that_are_no_text(photos, tmp_path):
    name = os.fsencode(tmp_path) + b"/caf\xe9.png"
    shutil.copyfile(os.fsencode(photos / "things/coffee.png"), name)
    gallery = str(tmp_path / "g")
    result = process("index", tmp_path, "-g", gallery)
    assert result.returncode == 0
    assert "caf\\udce9.png: its name is not valid UTF-8; rename the file" in result.stdout
    result = process("search", os.fsdecode(name), "-g", gallery, "--html", tmp_path / "page.html")
    assert (result.returncode, result.stderr) == (0, "")
    result = process("search", os.fsdecode(name), "-g", gallery, "--json")
    assert json.loads(result.stdout)["hits"][0]["distance"] == 0
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    Path(folder).mkdir()
    shutil.copyfile(photos / "things/coffee.png", Path(folder) / "a.png")
    for arguments in (["index", folder, "-g", gallery], ["remove", folder, "-g", gallery]):
        result = process(*arguments)
        assert result.returncode == 1
        assert re.fullmatch(r"grainhash: [^\n]+\n", result.stderr), result.stderr


def test_a_reader_that_goes_away_is_no_error(indexed):
    command = f"{sys.executable} -m grainhash info --json -g {indexed} | true"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", ["a?b#c%41 d", "-x", "caf\udce9"])
def test_a_gallery_of_any_name(photos, tmp_path, name):
    assert process("index", photos, f"--gallery={name}", cwd=tmp_path).returncode == 0
    assert (tmp_path / name / "gallery.sqlite").is_file()
    result = process("search", photos / "things/coffee.png", "-k", 1, f"--gallery={name}", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
