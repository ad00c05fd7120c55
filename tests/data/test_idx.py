import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gendi.data.images import idx
from gendi.data.images.idx import decode_idx, encode_idx, idx_shape, read_idx, write_idx
from gendi.errors import DataError

DTYPES = st.sampled_from(["u1", "i1", "<i2", ">i2", "<i4", "<f4", ">f4", "<f8"])
SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, max_side=5)


def test_bytes_of_a_known_file() -> None:
    array = np.array([[1, 2, 3], [4, 5, 6]], np.int16)
    expected = bytes.fromhex("00000b02 00000002 00000003 0001 0002 0003 0004 0005 0006")
    assert encode_idx(array) == expected
    np.testing.assert_array_equal(decode_idx(expected, "known"), array)


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(DTYPES, SHAPES), st.booleans())
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, zipped: bool) -> None:
    path = tmp_path_factory.mktemp("idx") / ("a.idx.gz" if zipped else "a.idx")
    write_idx(path, array)
    back = read_idx(path)
    np.testing.assert_array_equal(back, array)
    assert back.dtype == array.dtype.newbyteorder("=")
    assert back.flags.writeable
    assert idx_shape(path) == array.shape
    assert list(path.parent.iterdir()) == [path]


def test_a_column_major_array_is_written_by_rows() -> None:
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert encode_idx(np.asfortranarray(array)) == encode_idx(array)


def test_file_larger_than_memory_is_mapped_and_never_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idx, "fits_in_memory", lambda nbytes: False)
    array = np.arange(24, dtype=np.uint8).reshape(4, 3, 2)
    path = tmp_path / "a.idx"
    write_idx(path, array)
    mapped = read_idx(path)
    mapped[0] = 99
    np.testing.assert_array_equal(decode_idx(path.read_bytes(), "a"), array)


def damaged(tmp_path: Path, data: bytes, name: str = "broken.idx") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


GOOD = encode_idx(np.zeros((3, 2, 2), np.uint8))


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "0 byte"),
        (b"\x89PNG\r\n\x1a\n", "begins with 89 50 4e 47"),
        (b"\0\0\x07\x01\0\0\0\0", "no idx file"),
        (b"\0\0\x08\0", "no idx file"),
        (GOOD[:7], "within its header"),
        (GOOD[:-1], "truncated"),
        (GOOD + b"\0", "longer than its header"),
    ],
    ids=["empty", "png", "unknown type", "no dimensions", "short header", "truncated", "trailing bytes"],
)
def test_broken_idx_is_refused_by_name(tmp_path: Path, data: bytes, message: str, zipped: bool) -> None:
    path = damaged(tmp_path, gzip.compress(data) if zipped else data)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("zipped", [False, True])
def test_huge_header_allocates_nothing(tmp_path: Path, zipped: bool) -> None:
    data = struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1) + b"\0" * 100
    with pytest.raises(DataError, match="claims 4294967295 x 4294967295 x 4294967295"):
        read_idx(damaged(tmp_path, gzip.compress(data) if zipped else data))


def test_truncated_gzip_is_refused(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (100, 4, 4), np.uint8)
    path = damaged(tmp_path, gzip.compress(encode_idx(rows))[:-200], "t.gz")
    with pytest.raises(DataError, match=r"t\.gz could not be read"):
        read_idx(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing\.idx"):
        read_idx(tmp_path / "nothing.idx")


@pytest.mark.parametrize("array", [np.zeros(3, np.int64), np.zeros((), np.uint8), np.zeros(2, bool), np.array(["a"])])
def test_what_idx_cannot_hold_is_refused(array: np.ndarray) -> None:
    with pytest.raises(DataError, match="idx cannot hold"):
        encode_idx(array)
