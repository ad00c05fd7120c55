"""Shards: rows are the pictures that were written, in a stated order; what is wrong is said; memory stays flat."""

import dataclasses
import io
import json
import os
import signal
import sys
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from fsspec import AbstractFileSystem
from numpy.typing import NDArray
from PIL import Image

from gendi.data import check_data, open_data
from gendi.data.images.pixels import decode
from gendi.data.images.shards import ShardRows, load_shards
from gendi.data.order import WINDOW, batch_indices
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.networks.config import NetworkConfig
from gendi.errors import DataError, GendiError, PreemptedError, UsageError
from gendi.train.budget import Budget
from gendi.train.checkpoint import load_latest
from gendi.train.config import RunConfig, TrainConfig
from gendi.train.loop import train
from gendi.train.telling import Silent

Member = tuple[str, bytes]


def pictures(n: int, height: int = 6, width: int = 5, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), np.uint8)


def png(picture: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def write_tar(path: Path, members: Sequence[Member]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tar_bytes(members))
    return path


def tar_bytes(members: Sequence[Member]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def members_of(images: NDArray[np.uint8], first: int = 0) -> list[Member]:
    """Pictures, a class i % 3 and JSON of the number i."""
    found: list[Member] = []
    for i, image in enumerate(images, first):
        told = {"age": i / 2, "wears": ["hat", "scarf"][: i % 3], "at": [i, -i], "caption": f"picture {i} " * 40}
        found += [
            (f"{i:04}.png", png(image)),
            (f"{i:04}.cls", b"%d" % (i % 3)),
            (f"{i:04}.json", json.dumps(told).encode()),
        ]
    return found


def write_shards(folder: Path, images: NDArray[np.uint8], each: int) -> str:
    for shard, start in enumerate(range(0, len(images), each)):
        write_tar(folder / f"{shard:03}.tar", members_of(images[start : start + each], start))
    return str(folder)


def write_parquet(path: Path, images: NDArray[np.uint8], group: int = 4, **columns: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [{"bytes": png(image), "path": None} for image in images]
    pq.write_table(pa.table({"image": files, **columns}), path, row_group_size=group)


def rows_of(spec: str, **options: Any) -> ShardRows:
    rows = load_shards(spec, **options).rows
    assert isinstance(rows, ShardRows)
    return rows


def test_rows_are_the_pictures_of_the_tars(tmp_path: Path) -> None:
    images = pictures(30)
    rows = rows_of(write_shards(tmp_path / "s", images, 7))
    assert rows.shape == images.shape and len(rows) == 30 and rows.nbytes == images.nbytes
    chosen = np.random.default_rng(1).integers(0, 30, 50)
    assert np.array_equal(rows[chosen], images[chosen])
    assert np.array_equal(rows[3:9], images[3:9]) and np.array_equal(rows[-1], images[-1])
    assert np.array_equal(rows[images[:, 0, 0, 0] > 99], images[images[:, 0, 0, 0] > 99])
    with pytest.raises(IndexError):
        rows[np.array([30])]


@pytest.mark.parametrize("plain", [True, False])
def test_rows_are_the_pictures_of_parquet_files_as_datasets_writes_them(tmp_path: Path, plain: bool) -> None:
    images = pictures(22)
    names = ["cat", "ant", "bee"]
    features = {"label": {"names": names, "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    for k, part in enumerate(np.split(np.arange(22), [10])):
        files = [png(image) if plain else {"bytes": png(image), "path": "x"} for image in images[part]]
        table = pa.table({"image": files, "label": part % 3, "dose": part / 4.0})
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        (tmp_path / "p").mkdir(exist_ok=True)
        pq.write_table(table, tmp_path / "p" / f"{k}.parquet", row_group_size=4)
    found = load_shards(str(tmp_path / "p"))
    assert np.array_equal(found.rows[np.arange(22)[::-1]], images[::-1])
    assert found.rows.index.boundaries.tolist() == [0, 4, 8, 10, 14, 18, 22]
    assert found.class_names == tuple(names)  # in their own order, not that of the alphabet
    assert found.conditions["class"].tolist() == [i % 3 for i in range(22)]
    assert np.array_equal(found.conditions["dose"], np.arange(22, dtype=np.float32) / 4)


def test_what_tars_tell_becomes_conditions(tmp_path: Path) -> None:
    found = load_shards(write_shards(tmp_path / "s", pictures(12), 5))
    kinds = {spec.name: spec.kind for spec in found.specs}
    assert kinds == {"class": "class", "age": "value", "wears": "tags", "at": "vector"}
    assert found.conditions["class"].tolist() == [i % 3 for i in range(12)]
    assert found.conditions["age"].tolist() == [i / 2 for i in range(12)]
    assert found.conditions["wears"].tolist() == [[float(i % 3 > 0), float(i % 3 > 1)] for i in range(12)]
    assert found.conditions["at"].tolist() == [[i, -i] for i in range(12)]
    assert "more than 200 characters" in found.left_out["caption"]


def test_other_sizes_are_fitted_as_files_of_a_folder_are(tmp_path: Path) -> None:
    images = [pictures(1, 6 + i, 9)[0] for i in range(4)]
    place = str(write_tar(tmp_path / "s/0.tar", [(f"{i}.png", png(image)) for i, image in enumerate(images)]).parent)
    with pytest.raises(UsageError, match=r"4 sizes.*--size"):
        load_shards(place)
    for i, image in enumerate(images):
        path = tmp_path / f"{i}.png"
        path.write_bytes(png(image))
        assert np.array_equal(rows_of(place, size=(4, 5))[i], decode(path, 4, 5, grey=False))


def test_a_memory_filesystem_serves_as_an_object_store() -> None:
    images, store = pictures(9), fsspec.filesystem("memory")
    for k in range(3):
        store.pipe(f"/bucket/{k}.tar", tar_bytes(members_of(images[3 * k : 3 * k + 3])))
    data = open_data("shards:memory://bucket")
    assert np.array_equal(data.train.rows.rows[np.arange(9)], images)
    store.pipe("/bucket/2.tar", tar_bytes(members_of(pictures(3, seed=1))))
    data.train.rows.rows.open.clear()
    with pytest.raises(DataError, match=r"bucket/2\.tar changed"):
        data.train.rows.rows[8]
    store.rm("/bucket", recursive=True)
    with pytest.raises(DataError, match="not there"):
        open_data("shards:memory://bucket")


def test_open_data_holds_out_a_share_and_the_fingerprint_is_of_the_data(tmp_path: Path, cache: Path) -> None:
    images = pictures(60)
    data = open_data(write_shards(tmp_path / "a", images, 8))
    assert len(data.heldout) == 3 and len(data.train) == 57
    both = np.concatenate([data.train.batch(range(57)), data.heldout.rows]).reshape(60, -1)
    assert sorted(map(bytes, both)) == sorted(map(bytes, images.reshape(60, -1)))
    values = np.concatenate([data.train.conditions["age"], data.heldout.conditions["age"]])
    numbered = {bytes(image): i / 2 for i, image in enumerate(images.reshape(60, -1))}
    assert values.tolist() == [numbered[bytes(row)] for row in both]

    again = open_data(write_shards(tmp_path / "b", images, 8))  # elsewhere, later
    assert again.fingerprint == data.fingerprint
    images[17, 0, 0, 0] ^= 1
    assert open_data(write_shards(tmp_path / "c", images, 8)).fingerprint != data.fingerprint
    assert len(list((cache / "shards").iterdir())) == 3


def test_an_index_is_made_once_and_again_if_it_is_damaged(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = write_shards(tmp_path / "s", pictures(10), 5)
    first = load_shards(place)
    (kept,) = (cache / "shards").iterdir()
    monkeypatch.setattr("gendi.data.images.shard_index.scan", None)
    second = load_shards(place)
    assert np.array_equal(first.rows.index.samples, second.rows.index.samples) and first.specs == second.specs
    assert all(np.array_equal(first.conditions[name], rows) for name, rows in second.conditions.items())
    monkeypatch.undo()
    monkeypatch.setenv("GENDI_CACHE", str(cache))
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2])
    assert np.array_equal(load_shards(place).rows.index.samples, first.rows.index.samples)
    assert kept.read_bytes() == whole


# --- order


@pytest.mark.parametrize("sizes", [[5] * 40, [1, 0, 7, 30, 2, 2, 9] * 6, [3], list(range(1, 2 * WINDOW))])
def test_an_epoch_visits_every_row_once_and_windows_one_after_another(sizes: list[int]) -> None:
    blocks = np.cumsum([0, *sizes]).astype(np.int64)
    n = int(blocks[-1])
    block_of = np.repeat(np.arange(len(sizes)), sizes)
    steps = -(-3 * n // 7)
    visited = np.concatenate([batch_indices(n, 7, 5, step, blocks) for step in range(steps)])[: 3 * n].reshape(3, n)
    windows = -(-len(sizes) // WINDOW)
    for epoch in visited:
        assert sorted(epoch.tolist()) == list(range(n))
        changes, seen = 0, set[int]()
        for block in block_of[epoch].tolist():  # a window ends where a block turns up that it cannot hold
            seen.add(block)
            if len(seen) > WINDOW:
                changes, seen = changes + 1, {block}
        assert changes <= windows - 1
        ends = [np.flatnonzero(block_of[epoch] == block)[[0, -1]] for block in np.unique(block_of)]
        spans = np.array(ends)
        # at no place are more blocks begun and not ended than a window holds
        assert max(((spans[:, 0] <= place) & (place <= spans[:, 1])).sum() for place in range(n)) <= WINDOW
    if n > 20:
        assert not np.array_equal(visited[0], visited[1])


def test_the_order_in_windows_does_not_depend_on_the_batch_size() -> None:
    blocks = np.arange(0, 61, 3, dtype=np.int64)
    small, large = (
        np.concatenate([batch_indices(60, size, 0, k, blocks) for k in range(180 // size)]) for size in (4, 45)
    )
    assert np.array_equal(small, large)
    assert np.array_equal(np.sort(large[:60]), np.arange(60))


# --- memory


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_ten_times_the_shards_keep_no_more_of_them_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    most = []
    for name, shards in (("small", 20), ("large", 200)):
        for k in range(shards):
            if kind == "tar":
                write_tar(
                    tmp_path / name / f"{k:03}.tar", [("0.png", png(pictures(1)[0])), ("1.png", png(pictures(1)[0]))]
                )
            else:
                write_parquet(tmp_path / name / f"{k:03}.parquet", pictures(2))
        data = open_data(str(tmp_path / name))
        rows, seen, opened = data.train.rows.rows, [], []
        check = type(rows.shards).check

        def counted(self: Any, shard: int, opened: list[int] = opened, check: Any = check) -> None:
            opened.append(shard)
            check(self, shard)

        monkeypatch.setattr(type(rows.shards), "check", counted)
        rows.open.clear()
        n = len(data.train)
        for step in range(n // 8):  # an epoch
            data.train.batch(batch_indices(n, 8, 0, step, data.train.blocks))
            seen.append(len(rows.open))
        monkeypatch.undo()
        monkeypatch.setenv("GENDI_CACHE", str(tmp_path / "cache"))
        # each shard is opened once in an epoch, or again where a window ends within a batch
        assert len(opened) <= shards + 2 * WINDOW * (shards // WINDOW)
        most.append(max(seen))
    assert most == [WINDOW, WINDOW]


# --- training

TINY = RunConfig(
    preset="tiny",
    network=NetworkConfig(channels=(8, 16), blocks=1, patch=1, groups=4, time_dim=16, dropout=0.1),
    conditions=(ConditionConfig("class", size=3),),
    train=TrainConfig(
        batch_size=6, checkpoint_every=0.0, preview_every=0, log_every=4, precision="fp32", layout="contiguous"
    ),
)


class StopAt(Silent):
    def __init__(self, step: int) -> None:
        self.step = step

    def progress(self, done: float, **fields: object) -> None:
        if fields["step"] == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def test_interrupted_and_resumed_on_shards_is_exact(tmp_path: Path) -> None:
    place = write_shards(tmp_path / "s", pictures(40, 10, 9), 2)
    train(place, TINY, tmp_path / "whole", Budget(steps=12))
    with pytest.raises(PreemptedError):
        train(place, TINY, tmp_path / "cut", Budget(steps=12), console=StopAt(5))
    train(place, TINY, tmp_path / "cut", Budget(steps=12))
    one, two = load_latest(tmp_path / "whole"), load_latest(tmp_path / "cut")
    assert one is not None and two is not None and one.step == two.step == 12
    for group in ("model", "ema", "optimizer"):
        assert all(torch.equal(tensor, two.tensors[group][name]) for name, tensor in one.tensors[group].items())
    assert (tmp_path / "whole/metrics.jsonl").read_bytes() == (tmp_path / "cut/metrics.jsonl").read_bytes()


def test_training_on_shards_takes_batches_of_the_order_in_windows(tmp_path: Path) -> None:
    from gendi.train.trainer import Trainer

    images = pictures(80, 10, 9)
    data = open_data(write_shards(tmp_path / "s", images, 2))
    x_0, cond = Trainer(dataclasses.replace(TINY, conditions=(data.conditions[0],)), data).batch(3)
    blocks = data.train.blocks
    assert blocks is not None
    chosen = batch_indices(len(data.train), 6, TINY.train.seed, 3, blocks)
    expected = torch.from_numpy(data.train.batch(chosen)).permute(0, 3, 1, 2) / 127.5 - 1
    assert torch.allclose(x_0, expected, atol=1e-6)
    known = cond["class"] >= 0  # the others were dropped
    assert torch.equal(cond["class"][known], torch.from_numpy(data.train.conditions["class"][chosen])[known])


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
