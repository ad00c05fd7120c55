"""Folders with files that are damaged, too large, unreadable or not there."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from saved_pictures import Save, pixels

from gendi.data import open_data
from gendi.data.images import folder as folder_module
from gendi.data.images.folder import load_folder
from gendi.data.images.pixels import MAX_PIXELS
from gendi.errors import DataError
from gendi.storage import store

# ------------------------------------------------------------------------------------------ faults


def break_file(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "zero bytes":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("I am no picture")
    elif how == "broken link":
        path.unlink()
        path.symlink_to("nowhere.png")
    else:
        path.write_bytes(data[: int(len(data) * float(how))])


@pytest.mark.parametrize("how", ["zero bytes", "text", "broken link", "0.7", "0.3", "0.02"])
@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "webp", "tif", "bmp"])
def test_bad_file_is_listed_and_skipped(folder: Path, save: Save, how: str, suffix: str) -> None:
    good = [save(f"{i}.{suffix}", 40, 40) for i in (0, 1, 3)]
    bad = save(f"2.{suffix}", 40, 40)
    break_file(bad, how)
    loaded = load_folder(folder)
    assert [skipped.path for skipped in loaded.skipped] == [bad]
    assert loaded.skipped[0].reason
    again = load_folder(folder)
    assert again.skipped == loaded.skipped, "the same skips on resume"
    bad.unlink()
    np.testing.assert_array_equal(load_folder(folder).rows, loaded.rows)
    assert len(good) == len(loaded.rows)


def test_a_bad_file_takes_its_label_along(folder: Path, save: Save) -> None:
    for name in ("a/1.png", "a/2.png", "b/1.png", "c/1.png"):
        save(name)
    break_file(folder / "a/1.png", "0.7")
    loaded = load_folder(folder)
    assert loaded.labels is not None
    assert loaded.labels.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(loaded.rows[1], pixels(folder / "b/1.png"))


def test_more_bad_files_than_max_bad_end_it(folder: Path, save: Save) -> None:
    for i in range(14):
        path = save(f"{i:02}.png", 20, 20)
        if i >= 2:
            break_file(path, "zero bytes" if i % 2 else "0.7")
    with pytest.raises(DataError, match="at most 1 are skipped") as caught:
        load_folder(folder)
    assert caught.value.exit_code == 3
    text = str(caught.value)
    assert str(folder / "03.png") in text
    assert len(load_folder(folder, max_bad=12).skipped) == 12
    with pytest.raises(DataError, match=r"12 of the 14 images .* at most 11 are skipped"):
        load_folder(folder, max_bad=11)


def test_a_folder_of_bad_files_alone_ends_whatever_max_bad_says(folder: Path, save: Save) -> None:
    break_file(save("a.png"), "text")
    with pytest.raises(DataError, match="1 of the 1 images"):
        load_folder(folder, max_bad=100)


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("limit", ["Pillow's", "none"])
def test_decompression_bomb_is_refused_by_its_header(
    folder: Path, save: Save, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if limit == "none":
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    monkeypatch.setattr(folder_module, "decode", no_bomb(folder_module.decode))
    save("a.png")
    (folder / "bomb.png").write_bytes(png_header(60_000, 60_000))
    (folder / "other.png").write_bytes(png_header(MAX_PIXELS + 1, 1))
    loaded = load_folder(folder, max_bad=2)
    assert [skipped.path.name for skipped in loaded.skipped] == ["bomb.png", "other.png"]
    assert all("too large to decode safely" in skipped.reason for skipped in loaded.skipped)


def no_bomb(decode: object) -> object:
    def checked(path: Path, *args: int, **options: bool) -> np.ndarray:
        assert path.name == "a.png", "only the header of a bomb may be read"
        return decode(path, *args, **options)  # type: ignore[operator,no-any-return]

    return checked


def test_empty_folder_says_what_was_searched(folder: Path) -> None:
    (folder / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"holds no image \(searched .*\.png.*1 other file") as caught:
        open_data(str(folder))
    assert caught.value.exit_code == 3


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no data set, file or folder .*nowhere"):
        open_data(str(tmp_path / "nowhere"))


def test_a_file_for_a_folder(save: Save) -> None:
    with pytest.raises(DataError, match=r"is a file, and no \.npy or \.npz.*give the folder"):
        open_data(str(save("a.png")))


def test_broken_link_for_a_folder(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("gone")
    with pytest.raises(DataError, match="broken link: it points to gone"):
        open_data(str(link))


def test_unreadable_subfolder_is_named(folder: Path, save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    save("open/a.png")
    save("closed/a.png")
    scandir = os.scandir

    def refused(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(DataError, match=r"closed could not be read \(Permission denied\)"):
        load_folder(folder)


def test_unreadable_file_is_listed(folder: Path, save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    save("a.png")
    save("b.png")
    opened = Path.open

    def refused(path: Path, mode: str) -> object:
        if path.name == "b.png":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, mode)

    monkeypatch.setattr(Path, "open", refused)
    assert load_folder(folder).skipped[0].reason == "no permission to read it"


def test_a_link_back_up_ends(folder: Path, save: Save) -> None:
    save("a/1.png")
    (folder / "a" / "loop").symlink_to(folder)
    assert len(load_folder(folder).rows) == 1


def test_a_name_that_is_no_text_becomes_one(folder: Path, save: Save) -> None:
    save("plain/1.png")
    (folder / "plain").rename(os.fsdecode(os.fsencode(folder) + b"/caf\xe9"))
    assert load_folder(folder).class_names == ("caf\N{REPLACEMENT CHARACTER}",)


def test_one_image_and_classes_with_one_image_work(folder: Path, save: Save) -> None:
    save("cat/1.png")
    data = open_data(str(folder))
    assert (len(data.train), len(data.heldout)) == (1, 1)
    assert any("only one image" in note for note in data.notes)
    for i in range(2, 8):
        save(f"cat/{i}.png")
    save("emu/1.png")
    data = open_data(str(folder))
    assert data.train.labels is not None
    assert set(data.train.labels) == {0, 1}, "the only emu stays in training"


def test_images_beyond_memory_are_decoded_into_a_file_once(
    folder: Path, save: Save, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(30):
        save(f"{i % 3}/{i}.png")
    break_file(folder / "1/4.png", "0.8")
    in_memory = open_data(str(folder))
    monkeypatch.setattr(store, "fits_in_memory", lambda nbytes: False)
    mapped = open_data(str(folder))
    monkeypatch.setattr(folder_module, "decode", lambda *args, **options: pytest.fail("decoded twice"))
    again = open_data(str(folder))
    for data in (mapped, again):
        assert data.fingerprint == in_memory.fingerprint
        assert data.skipped == in_memory.skipped
        assert data.class_names == ("0", "1", "2")
    assert sorted(path.suffix for path in (cache / "decoded").iterdir()) == [".json", ".npy"]
    save("0/0.png")
    with pytest.raises(pytest.fail.Exception, match="decoded twice"):
        open_data(str(folder))
