"""Shards that are damaged, foreign or out of reach: each is named, with what to do."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec import AbstractFileSystem
from made_shards import members_of, pictures, png, rows_of, write_parquet, write_shards, write_tar

from gendi.data import check_data, open_data
from gendi.errors import DataError, GendiError, UsageError

# --- bad input


def test_a_folder_without_shards_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty holds no shard.*\.tar"):
        open_data(f"shards:{tmp_path / 'empty'}")
    with pytest.raises(DataError, match="not there"):
        open_data(f"shards:{tmp_path / 'nowhere'}")


def test_both_kinds_in_one_folder_are_refused(tmp_path: Path) -> None:
    write_shards(tmp_path, pictures(2), 2)
    write_parquet(tmp_path / "a.parquet", pictures(2))
    with pytest.raises(DataError, match="both"):
        open_data(str(tmp_path))


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_a_truncated_tar_is_refused(tmp_path: Path, share: float) -> None:
    path = write_tar(tmp_path / "s/0.tar", members_of(pictures(5)))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * 5 * 3 * 1024)])
    with pytest.raises(DataError, match=r"0\.tar.*truncated"):
        open_data(str(path.parent))


def test_a_tar_cut_between_members_is_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "s/0.tar", [("0.png", png(pictures(1)[0])), ("1.png", png(pictures(1)[0]))])
    path.write_bytes(path.read_bytes()[:1024])  # a header and one block of content
    with pytest.raises(DataError, match=r"0\.tar.*truncated"):
        open_data(str(path.parent))


@pytest.mark.parametrize("content", [b"", b"no tar at all" * 99])
@pytest.mark.parametrize("ending", ["tar", "parquet"])
def test_what_is_no_shard_is_refused(tmp_path: Path, content: bytes, ending: str) -> None:
    (tmp_path / f"0.{ending}").write_bytes(content)
    with pytest.raises(DataError, match=rf"0\.{ending} "):
        open_data(str(tmp_path))


def test_members_that_are_no_picture_are_skipped_up_to_a_limit(tmp_path: Path) -> None:
    images = pictures(8)
    good = members_of(images)
    write_tar(tmp_path / "s/0.tar", [*good, ("bad.png", b"no picture"), ("bad.cls", b"1")])
    data = open_data(str(tmp_path / "s"))
    assert len(data.train) + len(data.heldout) == 8
    assert [(skipped.path.name, skipped.reason[:12]) for skipped in data.skipped] == [("bad.png", "not an image")]
    write_tar(tmp_path / "s/1.tar", [("x.png", b"")])
    with pytest.raises(DataError, match=r"2 of the 10 pictures.*--max-bad"):
        open_data(str(tmp_path / "s"))
    assert len(open_data(str(tmp_path / "s"), max_bad=2).skipped) == 2


def test_shards_without_a_picture_are_refused(tmp_path: Path) -> None:
    write_tar(tmp_path / "s/0.tar", [("0.cls", b"1"), ("0.txt", b"a cat")])
    with pytest.raises(DataError, match="hold no picture"):
        open_data(str(tmp_path / "s"))


def test_a_picture_whose_header_alone_is_good_is_named_when_it_is_read(tmp_path: Path) -> None:
    broken = png(pictures(1, 60, 50)[0])[:3000]
    write_tar(tmp_path / "s/0.tar", [("0.png", broken), ("1.png", png(pictures(1, 60, 50)[0]))])
    with pytest.raises(DataError, match=r"byte 512 of .*0\.tar cannot be decoded"):
        check_data(str(tmp_path / "s"))


def test_shards_of_different_columns_are_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "0.parquet", pictures(3), dose=[1.0, 2.0, 3.0])
    write_parquet(tmp_path / "1.parquet", pictures(3), dosis=[1.0, 2.0, 3.0])
    with pytest.raises(DataError, match=r"1\.parquet has the columns .*dosis.*must have the same columns"):
        open_data(str(tmp_path))


def test_parquet_without_a_column_of_images_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / "0.parquet")
    with pytest.raises(DataError, match="no column of images"):
        open_data(str(tmp_path))


def _remove(path: Path) -> None:
    path.unlink()


def _rewrite(path: Path) -> None:
    write_tar(path, members_of(pictures(4, seed=9)))
    os.utime(path, (1, 1))


@pytest.mark.parametrize(("harm", "said"), [(_remove, "not there"), (_rewrite, "changed since")])
def test_a_shard_that_is_gone_or_changed_is_named(tmp_path: Path, harm: Callable[[Path], None], said: str) -> None:
    rows = rows_of(write_shards(tmp_path / "s", pictures(8), 4))
    harm(tmp_path / "s/001.tar")
    assert rows[0].shape == (6, 5, 3)
    with pytest.raises(DataError, match=rf"001\.tar.*{said}"):
        rows[7]


@pytest.mark.parametrize(("name", "what"), [("0000.jpg", "picture"), ("0000.cls", ".cls")])
def test_a_key_twice_in_a_shard_is_refused(tmp_path: Path, name: str, what: str) -> None:
    write_tar(tmp_path / "s/0.tar", [*members_of(pictures(2)), (name, png(pictures(1)[0]))])
    with pytest.raises(DataError, match=rf"0\.tar has two of the key '0000': a second {what}"):
        open_data(str(tmp_path / "s"))


@pytest.mark.parametrize(("name", "content"), [("0.json", b"{"), ("0.json", b"[1]"), ("0.cls", b"\xff")])
def test_what_tells_of_a_picture_must_be_readable(tmp_path: Path, name: str, content: bytes) -> None:
    write_tar(tmp_path / "s/0.tar", [("0.png", png(pictures(1)[0])), (name, content)])
    with pytest.raises(DataError, match=rf"{name} of .*0\.tar"):
        open_data(str(tmp_path / "s"))


class Refusing(AbstractFileSystem):
    """A store behind a network that refuses."""

    protocol = "refusing"

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        raise ConnectionRefusedError("connection refused by port 9")


def test_a_network_that_refuses_is_one_clear_error() -> None:
    fsspec.register_implementation("refusing", Refusing, clobber=True)
    with pytest.raises(DataError, match=r"refusing://bucket could not be read: connection refused.*the network"):
        open_data("shards:refusing://bucket")


def test_a_url_nobody_knows_is_a_wrong_flag() -> None:
    with pytest.raises(UsageError, match="nowhere"):
        open_data("shards:nowhere://bucket")


@pytest.mark.parametrize("package", ["fsspec", "pyarrow.parquet"])
def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    write_parquet(tmp_path / "0.parquet", pictures(2))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=r'pip install "gendi\[data\]"') as raised:
        open_data(str(tmp_path))
    assert isinstance(raised.value, GendiError)
