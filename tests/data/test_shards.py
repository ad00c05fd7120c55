"""Shards: rows are the pictures that were written, in a stated order; what is wrong is said; memory stays flat."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from made_shards import members_of, pictures, png, rows_of, tar_bytes, write_parquet, write_shards, write_tar

from gendi.data import open_data
from gendi.data.images.pixels import decode
from gendi.data.images.shards import load_shards
from gendi.data.order import WINDOW, batch_indices
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.networks.config import NetworkConfig
from gendi.errors import DataError, PreemptedError, UsageError
from gendi.train.budget import Budget
from gendi.train.config import RunConfig, TrainConfig
from gendi.train.kept.checkpoint import load_latest
from gendi.train.run.loop import train
from stop_at import StopAt


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
    from gendi.train.step.trainer import Trainer

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
