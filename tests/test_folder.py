from __future__ import annotations

import os
from pathlib import Path

import pytest

from grainhash.errors import PictureUnreadable
from grainhash.folder import absolute, look_at, walk


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def found(root: Path, **options: object) -> tuple[list[str], dict[str, str]]:
    """Relative paths of what a walk yields, and what it reports."""
    reported: dict[str, str] = {}
    files = [str(file.path.relative_to(root)) for file in walk(root, report=reported.__setitem__, **options)]
    return files, reported


def test_pictures_are_found_by_suffix_in_a_fixed_order(tmp_path):
    for name in ("b/z.jpg", "b/A.PNG", "a/x.webp", "c.jpeg", "a.tiff", "b/notes.txt", "b/jpg", "movie.mp4"):
        touch(tmp_path / name)
    assert found(tmp_path) == (["a.tiff", "c.jpeg", "a/x.webp", "b/A.PNG", "b/z.jpg"], {})


def test_a_file_is_seen_as_it_is(tmp_path):
    path = touch(tmp_path / "a.jpg")
    os.utime(path, ns=(1, 1_234_567_890))
    (file,) = walk(tmp_path)
    assert (file.uri, file.path, file.n_bytes, file.mtime_ns) == (str(path), path, 1, 1_234_567_890)
    assert look_at(path) == file


def test_hidden_files_and_folders_are_left_out(tmp_path):
    for name in (".hidden.jpg", ".thumbnails/a.jpg", "seen/.trash/a.jpg", "seen/a.jpg"):
        touch(tmp_path / name)
    assert found(tmp_path) == (["seen/a.jpg"], {})


def test_a_hidden_root_is_looked_into(tmp_path):
    touch(tmp_path / ".photos/a.jpg")
    assert found(tmp_path / ".photos") == (["a.jpg"], {})


def test_one_folder_may_be_skipped(tmp_path):
    touch(tmp_path / "gallery/a.jpg")
    touch(tmp_path / "below/gallery/a.jpg")
    assert found(tmp_path, skip=tmp_path / "gallery")[0] == ["below/gallery/a.jpg"]


def test_links_to_files_are_followed_and_links_to_folders_are_not(tmp_path):
    target = touch(tmp_path / "elsewhere/a.jpg")
    root = tmp_path / "root"
    root.mkdir()
    (root / "file.jpg").symlink_to(target)
    (root / "folder").symlink_to(target.parent)
    (root / "circle").symlink_to(root)
    (root / "folder.jpg").symlink_to(target.parent)
    (root / "broken.jpg").symlink_to(root / "none")
    files, reported = found(root)
    assert files == ["file.jpg"]
    assert list(reported) == [str(root / "broken.jpg")]


def test_a_pipe_is_reported_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert found(tmp_path) == ([], {str(tmp_path / "pipe.jpg"): "not a regular file"})
    with pytest.raises(PictureUnreadable, match=r"pipe\.jpg: not a regular file"):
        look_at(tmp_path / "pipe.jpg")


def test_a_name_that_is_no_text_is_reported_readably(tmp_path):
    touch(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg")))
    touch(tmp_path / "ä ☃.jpg")
    files, reported = found(tmp_path)
    assert files == ["ä ☃.jpg"]
    assert reported == {f"{tmp_path}/caf\\udce9.jpg": "its name is not valid UTF-8; rename the file"}


def test_a_folder_that_cannot_be_read_is_reported_and_the_rest_is_found(tmp_path, monkeypatch):
    touch(tmp_path / "closed/a.jpg")
    touch(tmp_path / "open/a.jpg")
    scandir = os.scandir

    def forbidden(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbidden)
    assert found(tmp_path) == (["open/a.jpg"], {str(tmp_path / "closed"): "Permission denied"})


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(PictureUnreadable, match=r"none\.jpg: No such file"):
        look_at(tmp_path / "none.jpg")


def test_absolute_gives_one_spelling_and_keeps_links(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("/")
    for spelling in ("a/b.jpg", "./a/b.jpg", "a/../a//b.jpg", tmp_path / "c/../a/b.jpg"):
        assert absolute(spelling) == tmp_path / "a/b.jpg"
    assert absolute("link/x") == tmp_path / "link/x"
