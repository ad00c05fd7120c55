"""Data sets of the hub by name, from a filesystem in memory that has the hub's folders."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry
from test_shards import pictures, write_parquet

from gendi.data import open_data
from gendi.errors import DataError, UsageError

ROOT = "datasets/{}@refs/convert/parquet/{}/{}"


class Hub(MemoryFileSystem):  # type: ignore[misc]
    """What `huggingface_hub` registers under this protocol, without the network."""

    protocol = "hf"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("hf://")))


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    fsspec.register_implementation("hf", Hub, clobber=True)
    system = Hub()
    images = pictures(30)
    places = [("zoo/digits", "plain", "train"), ("zoo/digits", "plain", "test"), ("zoo/large", "all", "partial-train")]
    places += [("zoo/two", "big", "train"), ("zoo/two", "small", "train")]
    for name, config, split in places:
        write_parquet(tmp_path / "0000.parquet", images if split != "test" else images[:20])
        system.pipe(f"/{ROOT.format(name, config, split)}/0000.parquet", (tmp_path / "0000.parquet").read_bytes())
    yield system
    Hub.store.clear()
    Hub.pseudo_dirs[:] = [""]
    _registry.pop("hf")


def test_a_data_set_by_name_is_its_training_split(hub: Hub) -> None:
    data = open_data("hf:zoo/digits")
    assert (data.name, data.spec) == ("digits", "hf:zoo/digits")
    assert len(data.train) + len(data.heldout) == 30
    everything = np.concatenate([data.train.batch(np.arange(len(data.train))), data.heldout.rows[:]])
    assert sorted(map(bytes, everything)) == sorted(map(bytes, pictures(30)))
    other = open_data("hf:zoo/digits?split=test&config=plain")
    assert len(other.train) + len(other.heldout) == 20


def test_a_part_is_told_to_be_one(hub: Hub) -> None:
    assert "only a part of zoo/large" in open_data("hf:zoo/large").notes[0]
    assert not any("only a part" in note for note in open_data("hf:zoo/digits").notes)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("hf:digits", "written hf:OWNER/NAME"),
        ("hf:", "written hf:OWNER/NAME"),
        ("hf:zoo/../x", "written hf:OWNER/NAME"),
        ("hf:zoo/two", "several configurations: big, small. Choose one: hf:zoo/two?config=big"),
        ("hf:zoo/two?config=smal", "Perhaps you meant 'small'"),
        ("hf:zoo/digits?split=tran", "Perhaps you meant 'train'"),
        ("hf:zoo/digits?subset=a", "no option of hf:zoo/digits named 'subset'"),
        ("hf:zoo/digits?split", "are written"),
        ("hf:zoo/digits?", "are written"),
    ],
)
def test_words_that_name_nothing_there(hub: Hub, spec: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_data(spec)
    assert said in str(caught.value)


def test_an_unknown_data_set(hub: Hub) -> None:
    with pytest.raises(DataError, match="The hub has no data set hf:zoo/none, or has made no parquet of it"):
        open_data("hf:zoo/none")


def test_network_down_with_a_data_set_of_the_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*args: Any, **options: Any) -> None:
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(Hub, "ls", down)
    with pytest.raises(DataError, match=r"not known.*give the folder that holds them") as caught:
        open_data("hf:zoo/digits")
    assert caught.value.exit_code == 3


def test_arrow_files_of_save_to_disk_are_told_apart(tmp_path: Path) -> None:
    table = pa.table({"label": [1, 2]})
    with (
        pa.OSFile(str(tmp_path / "data-00000-of-00001.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema) as w,
    ):
        w.write_table(table)
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(DataError, match=r"Arrow files \(data-00000-of-00001\.arrow\).*to_parquet"):
        open_data(str(tmp_path))
