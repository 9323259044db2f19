from __future__ import annotations

import csv
import errno
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from grouping import gallery_of
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont, ImageOps
from typer.testing import CliRunner

from grainhash import Gallery
from grainhash.cli import app
from grainhash.duplicates import (
    Regions,
    default_radius,
    find_copies,
    find_inside,
    pairs,
    pairs_between,
    pairs_within,
    verified_copies,
    verify,
)
from grainhash.duplicates import run as duplicates_run
from grainhash.encoder.points import corner_points, mirrored
from grainhash.errors import GalleryWriteError, InputError
from grainhash.store import PictureRow
from grainhash.types import Box, silent

# Pairs


def brute_force(codes, others, radius, *, itself):
    distances = np.bitwise_count(codes[:, None] ^ others[None]).sum(axis=2)
    near = distances <= radius
    first, second = np.nonzero(np.triu(near, 1) if itself else near)
    return first.tolist(), second.tolist(), distances[first, second].tolist()


def as_lists(found):
    return found.first.tolist(), found.second.tolist(), found.distances.tolist()


@given(
    st.integers(0, 2**32),
    st.integers(0, 60),
    st.sampled_from([1, 2, 8, 9, 16, 33]),
    st.integers(0, 9),
    st.sampled_from([0.5, 0.03]),
    st.booleans(),
    st.sampled_from([1, 3]),
)
def test_pairs_are_those_of_all_distances_by_blocks_and_by_scan(
    seed, n, n_bytes, radius, ones, by_blocks, n_threads
):
    radius = min(radius, 8 * n_bytes)
    rng = np.random.default_rng(seed)
    codes = np.unique(np.packbits(rng.random((n, 8 * n_bytes)) < ones, axis=1), axis=0)
    others = np.unique(np.packbits(rng.random((n, 8 * n_bytes)) < ones, axis=1), axis=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "SCANNED", -1 if by_blocks else 10**9)
        patch.setattr(pairs, "CHUNK", 7)
        patch.setattr(pairs, "SCAN", 500)
        within = pairs_within(codes, radius, n_threads=n_threads)
        between = pairs_between(codes, others, radius, n_threads=n_threads)
    assert as_lists(within) == brute_force(codes, codes, radius, itself=True)
    assert as_lists(between) == brute_force(codes, others, radius, itself=False)


def test_too_many_pairs_are_an_error_not_the_end_of_memory(monkeypatch):
    monkeypatch.setattr(pairs, "MOST", 100)
    codes = np.arange(256, dtype=np.uint8)[:, None]
    for scanned in (-1, 10**9):
        monkeypatch.setattr(pairs, "SCANNED", scanned)
        with pytest.raises(InputError, match="smaller radius"):
            pairs_within(codes, 4)


# Groups


def row(id: int, *, side: int = 100, sha256: str | None = None, **meta: object) -> PictureRow:
    added = f"2026-01-01T00:00:{id:02}"
    return PictureRow(id, f"/none/{id}.jpg", sha256 or f"{id:064x}", side, side, added, dict(meta))


def code(n_ones: int) -> list[int]:
    """16 bits, of which the first are ones."""
    return list(np.packbits(np.arange(16) < n_ones))


def groups_of(found):
    return [(group.chain, group.keep.id, [copy.id for copy in group.copies]) for group in found.groups]


def test_a_chain_is_cut_where_it_leads_away_from_the_picture_to_keep():
    rows = [row(1), row(2), row(3), row(4), row(5)]
    codes = np.array([code(0), code(2), code(4), code(6), code(16)], np.uint8)
    assert groups_of(find_copies(rows, codes, 2)) == [(1, 1, [2]), (1, 3, [4])]
    best_second = [rows[0], replace(rows[1], width=500), *rows[2:]]
    assert groups_of(find_copies(best_second, codes, 2)) == [(1, 2, [1, 3])]  # 4 is near to 3, not to 2


def test_what_is_kept_is_the_largest_then_the_oldest_then_the_first():
    codes = np.array([code(3)] * 3, np.uint8)
    large = [row(1), row(2, side=200), row(3)]
    assert groups_of(find_copies(large, codes, 1)) == [(1, 2, [1, 3])]
    old = [row(1, taken="2020-01-01T00:00:00"), row(2), row(3, taken="2019-01-01T00:00:00")]
    assert groups_of(find_copies(old, codes, 1)) == [(1, 3, [1, 2])]
    assert groups_of(find_copies([row(1), row(2), row(3)], codes, 1)) == [(1, 1, [2, 3])]


def test_with_radius_0_only_the_same_files_are_copies():
    rows = [row(1), row(2, sha256=f"{1:064x}"), row(3)]
    codes = np.array([code(3)] * 3, np.uint8)
    (group,) = find_copies(rows, codes, 0).groups
    assert [(copy.id, copy.is_exact) for copy in group.copies] == [(2, True)]


def test_pictures_that_are_all_the_same_make_one_group():
    n = 20_000
    rows, codes = [row(id) for id in range(1, n + 1)], np.tile(np.array([code(5)], np.uint8), (n, 1))
    (group,) = find_copies(rows, codes).groups
    assert len(group.copies) == n - 1


@pytest.mark.parametrize("radius", [-1, 9])
def test_a_radius_that_makes_no_sense_is_refused(radius):
    with pytest.raises(InputError, match="radius"):
        find_copies([row(1)], np.array([code(1)], np.uint8), radius)


def test_inside_equal_pictures_nothing_is_found_and_too_much_is_refused(monkeypatch):
    rows = [row(id) for id in (1, 2, 3)]
    codes = np.array([code(0), code(8), code(16)], np.uint8)
    regions = Regions(codes[[1, 1, 2, 0]], np.array([0, 0, 1, 2]), np.array([0, 1, 0, 0]))

    def box(id: int, number: int) -> Box:
        return Box(0, 0, id / 10, (number + 1) / 10)

    found = find_inside(rows, codes, regions, 2, box_of=box)
    assert [(each.id, each.of_id, each.box.corners) for each in found] == [
        (1, 3, [0, 0, 0.3, 0.1]),
        (2, 1, [0, 0, 0.1, 0.1]),
        (3, 2, [0, 0, 0.2, 0.1]),
    ]
    monkeypatch.setattr(duplicates_run, "MOST_TOLD", 3)
    with pytest.raises(InputError, match="smaller radius"):
        find_inside(rows, codes, regions, 2, box_of=box)


def test_a_gallery_of_one_picture_many_times_has_no_picture_inside_another(tmp_path, encoder):
    codes = np.tile(np.arange(32, dtype=np.uint8), (3000, 1))
    with gallery_of(tmp_path / "gallery", encoder, codes) as gallery:
        found = gallery.duplicates(parts=True)
    assert len(found.copies) == 2999
    assert not found.inside


# Real photographs


@pytest.fixture
def album(tmp_path, photographs):
    """Photographs, one of them as the same file again, recompressed smaller, and inside a collage."""
    folder = tmp_path / "album"
    shutil.copytree(photographs, folder)
    cat = folder / "animals/chelsea.png"
    shutil.copy(cat, folder / "again.png")
    with Image.open(cat) as picture:
        picture.convert("RGB").resize((300, 200)).save(folder / "small.jpg", quality=60)
    collage = Image.new("RGB", (600, 400))
    for place, name in enumerate(
        ("animals/chelsea.png", "things/coffee.png", "places/china.jpg", "astronomy/rocket.jpg")
    ):
        with Image.open(folder / name) as picture:
            collage.paste(picture.convert("RGB").resize((300, 200)), (place % 2 * 300, place // 2 * 200))
    collage.save(folder / "collage.png")
    return folder


@pytest.fixture
def gallery(album, tmp_path):
    with Gallery.open(tmp_path / "gallery", create=True) as opened:
        opened.index(album)
        yield opened


def names(group):
    return {Path(copy.uri).name for copy in (group.keep, *group.copies)}


def test_copies_are_found_and_nothing_is_touched(gallery, album):
    before = sorted(album.rglob("*"))
    found = gallery.duplicates(parts=True)
    assert found.radius == default_radius(256)
    (cats,) = [group for group in found.groups if "chelsea.png" in names(group)]
    assert names(cats) == {"chelsea.png", "again.png", "small.jpg"}
    assert [(copy.is_exact, copy.distance > 0) for copy in cats.copies] == [(True, False), (False, True)]
    collage = [each for each in found.inside if Path(each.of_uri).name == "collage.png"]
    cat = next(each for each in collage if Path(each.uri).name in names(cats))
    assert cat.box.x1 <= 0.7
    assert cat.box.y1 <= 0.7
    assert sorted(album.rglob("*")) == before
    assert json.loads(json.dumps(found.to_json()))["groups"][0]["keep"]["id"] == found.groups[0].keep.id


def test_copies_are_moved_noted_and_moved_back(gallery, album, tmp_path):
    found = gallery.duplicates()
    n, aside = len(gallery), tmp_path / "aside"
    metas = {row.uri: row.meta for row in gallery.browse()}
    assert any(metas[copy.uri] for copy in found.copies)
    aside.mkdir()
    taken = Path(found.copies[0].uri)
    (aside / taken.name).write_bytes(b"mine")
    acted = gallery.move_copies(found, aside)
    assert not acted.left
    assert len(gallery) == n - len(found.copies)
    assert (aside / taken.name).read_bytes() == b"mine"
    assert not any(Path(copy.uri).exists() for copy in found.copies)
    assert all(moved is not None and moved.exists() for _, moved in acted.done)
    elsewhere = aside.rename(tmp_path / "elsewhere")  # what was moved can be moved on
    with (elsewhere / "moves.jsonl").open("a") as journal:
        journal.write('{"from": "cut off by the end of its proc')
    undone = gallery.move_back(elsewhere)
    assert sorted(undone.back) == sorted(Path(copy.uri) for copy in found.copies)
    assert not undone.left
    assert {row.uri: row.meta for row in gallery.browse()} == metas
    again = gallery.move_back(elsewhere)
    assert not again.back
    assert not again.left
    assert gallery.index(album).added == 0


def test_what_cannot_be_moved_back_stays_and_can_be_later(gallery, tmp_path):
    found, aside = gallery.duplicates(), tmp_path / "aside"
    gallery.move_copies(found, aside)
    first, second = (Path(copy.uri) for copy in found.copies[:2])
    first.write_bytes(b"something new")
    undone = gallery.move_back(aside)
    assert [why for _, why in undone.left] == [f"there is something at {first}"]
    assert second in undone.back
    assert first.read_bytes() == b"something new"
    first.unlink()
    assert list(gallery.move_back(aside).back) == [first]


def test_what_has_changed_since_stays(gallery, tmp_path):
    found = gallery.duplicates()
    group = next(group for group in found.groups if len(group.copies) == 2)
    Path(group.copies[0].uri).write_bytes(b"edited since")
    Path(group.copies[1].uri).unlink()
    acted = gallery.move_copies(found, tmp_path / "aside")
    assert [why.partition(":")[0] for _, why in acted.left] == [
        "it has changed since it was indexed",
        "no such file or directory",
    ]
    assert Path(group.copies[0].uri).read_bytes() == b"edited since"


def test_copies_stay_where_the_picture_to_keep_is_gone(gallery, tmp_path):
    found = gallery.duplicates()
    for group in found.groups:
        Path(group.keep.uri).unlink()
    n = len(gallery)
    acted = gallery.delete_copies(found)
    assert not acted.done
    assert len(gallery) == n
    assert all(Path(copy.uri).exists() for copy in found.copies)


def test_a_folder_that_cannot_be_written_moves_nothing(gallery, tmp_path):
    found = gallery.duplicates()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(GalleryWriteError, match="nothing was moved"):
        gallery.move_copies(found, tmp_path / "file" / "aside")
    assert all(Path(copy.uri).exists() for copy in found.copies)


def test_an_empty_gallery_is_a_clear_error(tmp_path):
    with (
        Gallery.open(tmp_path / "empty", create=True) as gallery,
        pytest.raises(InputError, match="no pictures"),
    ):
        gallery.duplicates()


# The command


def run(*arguments: object, input: str | None = None):
    return CliRunner().invoke(app, ["duplicates", *map(str, arguments)], input=input)


def test_the_command_lists_writes_and_deletes_only_when_told(gallery, tmp_path):
    where = ("--gallery", gallery.path)
    page, sheet = tmp_path / "copies.html", tmp_path / "copies.csv"
    listed = run(*where, "--html", page, "--csv", sheet)
    assert listed.exit_code == 0, listed.output
    assert "same file" in listed.stdout
    assert "data:image/jpeg" in page.read_text()
    assert "Pictures inside others" not in page.read_text()
    rows = list(csv.DictReader(io.StringIO(sheet.read_text())))
    copies = [Path(each["path"]) for each in rows if each["keep"] == "no"]
    assert len(copies) == len(gallery.duplicates().copies)
    assert json.loads(run(*where, "--json").stdout)["n_bits"] == 256
    assert run(*where, "--delete", input="n\n").exit_code != 0
    assert all(path.exists() for path in copies)
    assert run(*where, "--delete", "--move", tmp_path / "x").exit_code == 2
    assert run(*where, "--against", tmp_path, "--parts").exit_code == 2
    assert run(*where, "--delete", "--yes").exit_code == 0
    assert not any(path.exists() for path in copies)
    assert "0 copies" in run(*where).stdout


def test_the_command_moves_and_undoes(gallery, tmp_path):
    where = ("--gallery", gallery.path)
    n, aside = len(gallery), tmp_path / "aside"
    assert run(*where, "--move", aside).exit_code == 0
    assert len(gallery) < n
    undone = run(*where, "--undo", aside)
    assert undone.exit_code == 0, undone.output
    assert len(gallery) == n
    assert run(*where, "--undo", tmp_path).exit_code != 0


def test_what_two_sets_share_is_listed(gallery, album, tmp_path, photographs):
    test_set = tmp_path / "test-set"
    test_set.mkdir()
    with Image.open(album / "animals/chelsea.png") as picture:
        picture.convert("RGB").resize((320, 213)).save(test_set / "cat.jpg", quality=70)
    listed = run("--gallery", gallery.path, "--against", test_set)
    assert listed.exit_code == 0, listed.output
    assert "cat.jpg" in listed.stdout
    with Gallery.open(tmp_path / "other", create=True, encoder=gallery.encoder) as other:
        other.index(photographs)
        leaks = gallery.leaks(other)
        assert {Path(leak.uri).name for leak in leaks.leaks if leak.is_exact} >= {"again.png", "chelsea.png"}
        exact = gallery.leaks(other, radius=0)
        assert all(leak.is_exact for leak in exact.leaks)
    assert not list(album.rglob("*.sqlite"))


# Looked at again


@pytest.fixture(scope="module")
def altered(tmp_path_factory, photographs):
    """Photographs; copies of two that no radius tells; two others with the same words over them."""
    folder = tmp_path_factory.mktemp("altered") / "album"
    shutil.copytree(photographs, folder)
    with Image.open(folder / "animals/chelsea.png") as file:
        cat = file.convert("RGB")
    with Image.open(folder / "places/china.jpg") as file:
        china = file.convert("RGB")
    width, height = cat.size
    ImageOps.mirror(cat).rotate(8, Image.Resampling.BICUBIC, fillcolor=(127, 127, 127)).save(
        folder / "turned.jpg"
    )
    cat.crop((width // 3, 0, width, 2 * height // 3)).save(folder / "cut.png")
    cat.crop((0, height // 4, 2 * width // 3, height)).save(folder / "cut-elsewhere.png")
    cat.resize((width // 2, height // 2)).save(folder / "crushed.jpg", quality=12)
    china.paste(cat.resize((260, 260 * height // width)), (300, 120))
    china.save(folder / "pasted.jpg")
    (folder / "places/china.jpg").unlink()
    for name in ("coffee", "rocket"):
        path = next(folder.rglob(f"{name}.*"))
        with Image.open(path) as file:
            picture = file.convert("RGB").resize((400, 400))
        for line in range(4):
            ImageDraw.Draw(picture).text((20, 20 + 90 * line), "FOR SALE 2 for 1", (255, 255, 255), size(44))
        picture.save(folder / f"{name}-for-sale.jpg")
    return folder


def size(pixels):
    return ImageFont.load_default(size=pixels)


@pytest.fixture(scope="module")
def looked(altered, tmp_path_factory):
    with Gallery.open(tmp_path_factory.mktemp("looked") / "gallery", create=True) as opened:
        opened.index(altered)
        yield opened


def pairs_of(found):
    return {frozenset((Path(each.uri).stem, Path(each.other_uri).stem)) for each in found.likenesses}


def test_looking_finds_copies_that_are_cut_turned_mirrored_and_pasted(looked, altered):
    by_code, found = looked.duplicates(), looked.duplicates(verify=True)
    cats = {"chelsea", "turned", "cut", "cut-elsewhere", "crushed", "pasted"}
    assert cats - {Path(copy.uri).stem for copy in by_code.copies} > {"cut", "pasted"}
    told = pairs_of(found)
    assert {frozenset(("chelsea", other)) for other in cats - {"chelsea"}} <= told
    assert frozenset(("cut", "turned")) in told  # both are of the same, and were compared for that
    assert found.radius is None
    (group,) = [group for group in found.groups if Path(group.keep.uri).stem == "chelsea"]
    assert {Path(copy.uri).stem for copy in group.copies} == {"turned", "crushed"}
    inside = {(Path(each.uri).stem, Path(each.of_uri).stem): each.box for each in found.inside}
    assert {("cut", "chelsea"), ("cut-elsewhere", "chelsea"), ("chelsea", "pasted")} <= set(inside)
    assert inside["cut", "chelsea"].iou(Box(1 / 3, 0, 1, 2 / 3)) > 0.9
    with Image.open(altered / "pasted.jpg") as host, Image.open(altered / "animals/chelsea.png") as cat:
        (width, height), bottom = host.size, 120 + 260 * cat.height // cat.width
    where = Box(300 / width, 120 / height, 560 / width, bottom / height)
    assert inside["chelsea", "pasted"].iou(where) > 0.85
    overlaps = {frozenset((Path(each.uri).stem, Path(each.other_uri).stem)) for each in found.overlaps}
    assert frozenset(("cut", "cut-elsewhere")) in overlaps


def test_the_same_words_over_two_photographs_make_no_copies(looked):
    told = pairs_of(looked.duplicates(verify=True))
    assert frozenset(("coffee", "coffee-for-sale")) in told
    assert frozenset(("coffee-for-sale", "rocket-for-sale")) not in told
    cats = {"chelsea", "turned", "cut", "cut-elsewhere", "crushed", "pasted"}
    assert not [pair for pair in told if len(pair & cats) == 1]


def test_looking_is_the_same_on_one_thread(looked, altered):
    found, limits = looked.duplicates(verify=True), looked.encoder.limits
    pictures, codes = looked._wholes(None)
    near = looked._nearest(codes, pictures, silent)
    alone = verified_copies(pictures, codes, near, limits, n_threads=1)
    assert alone.likenesses == found.likenesses
    assert alone.groups == found.groups


def test_what_cannot_be_looked_at_is_told(altered, tmp_path):
    album = tmp_path / "album"
    shutil.copytree(altered, album)
    with Gallery.open(tmp_path / "gallery", create=True) as opened:
        opened.index(album)
        (album / "cut.png").unlink()
        shutil.copy(album / "turned.jpg", album / "crushed.jpg")
        seen = []
        found = opened.duplicates(verify=True, progress=seen.append)
        assert {Path(each.uri).stem: "changed" in each.why for each in found.unread} == {
            "cut": False,
            "crushed": True,
        }
        assert not [pair for pair in pairs_of(found) if pair & {"cut", "crushed"}]
        assert {each.stage for each in seen} == {"compare", "look", "verify"}
        assert seen[-1].done == seen[-1].total
        page = tmp_path / "copies.html"
        text = run("--gallery", opened.path, "--verify", "--html", page)
        assert page.read_text().count('class="box" style="left:') == len(found.inside) > 0
        assert text.exit_code == 0, text.output
        assert "not looked at" in text.stdout
        assert "changed" in text.stdout
        with pytest.raises(InputError, match="at any distance"):
            opened.duplicates(verify=True, radius=3)
        with pytest.raises(InputError, match="no pictures"):
            opened.duplicates(verify=True, where="name = 'none'")
        assert run("--gallery", opened.path, "--verify", "--radius", 3).exit_code == 2
        where = opened.duplicates(verify=True, where="name like 'cut*'")
        assert where.n_pictures == 2
        assert [Path(each.uri).stem for each in where.unread] == ["cut"]


def test_what_two_sets_share_is_looked_at(looked, altered, tmp_path):
    test_set = tmp_path / "test-set"
    test_set.mkdir()
    for name in ("cut.png", "pasted.jpg"):
        shutil.copy(altered / name, test_set / name)
    train = tmp_path / "train"
    shutil.copytree(altered, train)
    (train / "cut.png").unlink()
    with (
        Gallery.open(tmp_path / "gallery", create=True, encoder=looked.encoder) as own,
        Gallery.open(tmp_path / "other", create=True, encoder=looked.encoder) as other,
    ):
        own.index(train)
        other.index(test_set)
        leaks = own.leaks(other, verify=True).leaks
        told = {(Path(leak.uri).stem, Path(leak.other_uri).stem): leak for leak in leaks}
        assert {("chelsea", "cut"), ("turned", "cut"), ("chelsea", "pasted"), ("pasted", "pasted")} <= set(
            told
        )
        assert told["pasted", "pasted"].is_exact
        assert told["chelsea", "cut"].share == pytest.approx(4 / 9, abs=0.05)
        assert all(leak.share is not None for leak in leaks)
        table = tmp_path / "leaks.csv"
        listed = run("--gallery", own.path, "--against", test_set, "--verify", "--csv", table)
        assert listed.exit_code == 0, listed.output
        assert "looked at" in listed.stdout
        assert "% of " in listed.stdout
        shares = [float(row["share"]) for row in csv.DictReader(io.StringIO(table.read_text()))]
        assert sorted(shares) == pytest.approx(sorted(leak.share for leak in leaks), abs=0.001)


def test_sift_s_points_of_a_mirrored_picture_need_no_second_look(photographs):
    with Image.open(photographs / "animals/chelsea.png") as file:
        picture = file.convert("RGB")
    points = mirrored(corner_points(np.asarray(picture), "sift"))
    seen = corner_points(np.asarray(ImageOps.mirror(picture)), "sift")
    near = np.abs(points.places[:, None] - seen.places[None]).max(axis=2).argmin(axis=1)
    there = np.abs(points.places - seen.places[near]).max(axis=1) < 0.005
    differ = np.bitwise_count(points.codes ^ seen.codes[near]).sum(axis=1)[there]
    assert there.mean() > 0.9
    assert np.median(differ) <= 2


def test_no_room_for_looks_is_one_clear_error(looked, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(verify.os, "posix_fallocate", full, raising=False)
    with pytest.raises(GalleryWriteError, match=r"no room for 1 MB .* \(No space left"):
        looked.duplicates(verify=True)
