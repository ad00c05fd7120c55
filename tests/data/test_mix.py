"""Several sources as one: the rows of all of them, classes by name, shards in their windows, and exact resumption."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from test_shards import TINY, pictures, write_shards

from gendi.data import open_data
from gendi.data.images.mix import JoinedRows
from gendi.errors import DataError, PreemptedError, UsageError
from gendi.train.budget import Budget
from gendi.train.kept.checkpoint import load_latest
from gendi.train.run.loop import train
from stop_at import StopAt


def write(path: Path, images: NDArray[np.uint8], names: list[str] | None = None) -> str:
    """A folder of pictures, in a subfolder for each class, i modulo the number of names."""
    from PIL import Image

    for i, image in enumerate(images):
        place = path / names[i % len(names)] if names else path
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{i:03}.png")
    return str(path)


@pytest.fixture
def sources(tmp_path: Path) -> tuple[str, str, str]:
    """40 cats and dogs, 30 birds and cats, 24 pictures in shards of 8."""
    one = write(tmp_path / "one", pictures(40, seed=1), ["cat", "dog"])
    two = write(tmp_path / "two", pictures(30, seed=2), ["bird", "cat"])
    return one, two, write_shards(tmp_path / "three", pictures(24, seed=3), 8)


def test_rows_of_several_are_those_of_each_whatever_is_asked(sources: tuple[str, str, str]) -> None:
    parts = [np.arange(n * 4, dtype=np.uint8).reshape(n, 2, 2, 1) + 7 * n for n in (3, 1, 5)]
    rows, whole = JoinedRows(parts), np.concatenate(parts)
    assert rows.shape == whole.shape and rows.nbytes == whole.nbytes
    for index in (np.array([8, 0, 3, 3, 2]), slice(1, 7, 2), np.array([[0, 8], [4, 1]]), np.arange(9) > 4, 3, -1):
        assert np.array_equal(rows[index], whole[index])
    with pytest.raises(IndexError):
        rows[np.array([9])]


def test_classes_are_matched_by_name(sources: tuple[str, str, str]) -> None:
    one, two, _ = sources
    mixed, parts = open_data(f"mix:{one},{two}"), [open_data(one), open_data(two)]
    assert mixed.class_names == ("bird", "cat", "dog") and mixed.name == "one+two"
    assert len(mixed.train) == len(parts[0].train) + len(parts[1].train)
    for split in ("train", "heldout"):
        whole, each = getattr(mixed, split), [getattr(part, split) for part in parts]
        assert np.array_equal(whole.rows[:], np.concatenate([part.rows[:] for part in each]))
        words = [p.class_names[label] for p, part in zip(parts, each, strict=True) for label in part.labels]
        assert [mixed.class_names[label] for label in whole.labels] == words
    assert mixed.fingerprint not in {part.fingerprint for part in parts}
    assert open_data(f"mix:{two},{one}").fingerprint != mixed.fingerprint


def test_what_one_source_does_not_know_is_left_out(sources: tuple[str, str, str], tmp_path: Path) -> None:
    plain = write(tmp_path / "plain", pictures(9, seed=4))
    mixed = open_data(f"mix:{sources[0]},{plain}")
    assert mixed.conditions == () and "plain does not have it" in mixed.left_out["class"]


def test_shards_keep_their_blocks_beside_other_sources(sources: tuple[str, str, str]) -> None:
    one, _, three = sources
    mixed, shards = open_data(f"mix:{one},{three}"), open_data(three)
    first = len(open_data(one).train)
    assert mixed.train.blocks is not None and shards.train.blocks is not None
    assert mixed.train.blocks.tolist() == [0, *(first + shards.train.blocks[0:]).tolist()]


@pytest.mark.parametrize("shards", [False, True])
def test_interrupted_and_resumed_on_several_sources_is_exact(
    sources: tuple[str, str, str], tmp_path: Path, shards: bool
) -> None:
    spec = f"mix:{sources[0]},{sources[2] if shards else sources[1]}"
    config = dataclasses.replace(TINY, conditions=(), train=dataclasses.replace(TINY.train, accumulate=2))
    train(spec, config, tmp_path / "whole", Budget(steps=9))
    with pytest.raises(PreemptedError):
        train(spec, config, tmp_path / "parts", Budget(steps=9), console=StopAt(4))
    train(spec, config, tmp_path / "parts", Budget(steps=9))
    one, two = load_latest(tmp_path / "whole"), load_latest(tmp_path / "parts")
    assert one is not None and two is not None and one.step == two.step == 9
    for group, tensors in one.tensors.items():
        assert all(np.array_equal(value, two.tensors[group][name]) for name, value in tensors.items())


def test_sources_that_cannot_be_mixed(sources: tuple[str, str, str], tmp_path: Path) -> None:
    other = write(tmp_path / "other", pictures(9, 8, 8))
    with pytest.raises(DataError, match=r"6 x 5 with 3 channel\(s\), those of .*other 8 x 8.*--size"):
        open_data(f"mix:{sources[0]},{other}")
    assert open_data(f"mix:{sources[0]},{other}", size=8).codec.shape == (3, 8, 8)
    (tmp_path / "t.csv").write_text("a,b\n" + "1,2\n3,4\n" * 5)
    with pytest.raises(UsageError, match="mix: is for pictures"):
        open_data(f"mix:{sources[0]},{tmp_path / 't.csv'}")
    for words in ("mix:", "mix:one", "mix:one,,two"):
        with pytest.raises(UsageError, match="written mix:ONE,TWO"):
            open_data(words)
