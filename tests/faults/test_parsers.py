"""A fuzzer on everything that reads a file: whatever the bytes, the answer is a value or one error of gendi's.

A stranger may also write an honest manifest, so the parsers behind it are given the mutated text themselves.
"""

import copy
import io
import json
import tempfile
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from victims import TINY

from gendi.cli import main
from gendi.data import open_data
from gendi.data.images.pixels import read_size
from gendi.errors import BundleError, DataError, GendiError, UsageError
from gendi.storage.files import MANIFEST, encode_json, read_json, verify_manifest, write_file, write_manifest
from gendi.storage.safe_tensors import read_tensors, tensor_chunks
from gendi.storage.toml import dump_toml, read_toml
from gendi.train.config import RunConfig
from gendi.train.kept.bundle import load_bundle
from gendi.train.kept.checkpoint import list_checkpoints, load_checkpoint
from gendi.train.kept.classifier_bundle import load_classifier

HUGE = [10**9, -1, 0, 2**63, 10**400, 1e308, -0.0, 1e-320, "", "os.system", [], {}, None, True, "\x1b[2J", "a\x00b"]
ANY = st.recursive(
    st.sampled_from(HUGE) | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def spots(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a nested table that something else can be put in."""
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path, *(spot for key, value in inside for spot in spots(value, (*path, key)))]


def with_at(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    out = copy.copy(tree)
    out[path[0]] = with_at(tree[path[0]], path[1:], value)
    return out


def said(error: GendiError, path: Path | None = None) -> None:
    """The error is one clear paragraph, and names the file or folder where there is one."""
    assert len(str(error)) > 20
    assert path is None or str(path) in str(error)


def plain(config: RunConfig) -> Any:
    return json.loads(json.dumps(config.to_dict()))


@given(data=st.data(), value=ANY)
@settings(max_examples=300)
def test_config_with_anything_anywhere(data: st.DataObject, value: Any) -> None:
    """Refused by a `UsageError`, or a configuration whose network can be described without allocating it."""
    spot = data.draw(st.sampled_from(spots(plain(TINY))))
    try:
        RunConfig.from_dict(with_at(plain(TINY), spot, value))
    except UsageError as error:
        said(error)


@pytest.mark.parametrize("value", [10**400, -(10**400), 10**309])
@pytest.mark.parametrize("field", [("optim", "lr"), ("train", "batch_size"), ("network", "dropout"), ("train", "crop")])
def test_config_with_a_number_beyond_any_float(field: tuple[str, str], value: int) -> None:
    with pytest.raises(UsageError, match=".".join(field)):
        RunConfig.from_dict(with_at(plain(TINY), field, value))


@given(data=st.data())
@settings(max_examples=150)
def test_config_toml_of_any_text(data: st.DataObject) -> None:
    text = dump_toml(TINY.to_dict()).encode()
    raw = data.draw(mutated(text))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.toml"
        path.write_bytes(raw)
        try:
            RunConfig.from_dict(read_toml(path))
        except (UsageError, BundleError) as error:
            said(error)


@st.composite
def mutated(draw: st.DrawFn, raw: bytes) -> bytes:
    """`raw` with a piece replaced, dropped or doubled."""
    start = draw(st.integers(0, len(raw)))
    length = draw(st.integers(0, 12))
    piece = draw(st.binary(max_size=8) | st.sampled_from([raw[start : start + length] * 3, b"9" * 5000, b"[" * 3000]))
    return raw[:start] + piece + raw[start + length :]


@given(data=st.data())
@settings(max_examples=150)
def test_safetensors_header_of_any_text(data: st.DataObject) -> None:
    head, *rest = (bytes(c) for c in tensor_chunks({"w": torch.ones(2, 3), "b": torch.zeros(4, dtype=torch.int64)}))
    text = data.draw(mutated(head[8:]))
    length = data.draw(st.sampled_from([len(text), len(text), len(text), 0, 7, 2**40, 2**63]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "w.safetensors"
        path.write_bytes(length.to_bytes(8, "little") + text + b"".join(rest))
        try:
            found = read_tensors(path)
        except BundleError as error:
            said(error, path)
        else:  # a name may have changed and the order of axes, never how much there is
            assert sum(t.numel() * t.element_size() for t in found.values()) == 56


@given(data=st.data())
@settings(max_examples=150)
@example(data=None)
def test_manifest_of_any_text(data: st.DataObject | None) -> None:
    """Any other text than the one that was written is refused, by the name of a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / MANIFEST
        (Path(folder) / "a.txt").write_bytes(b"a")
        write_manifest(Path(folder))
        honest = path.read_bytes()
        raw = b"" if data is None else data.draw(mutated(honest))
        path.write_bytes(raw)
        if raw == honest:
            verify_manifest(Path(folder))
        else:
            with pytest.raises(BundleError, match=r"MANIFEST\.json|a\.txt"):
                verify_manifest(Path(folder))


NPZ = io.BytesIO()
np.savez_compressed(NPZ, images=np.arange(4 * 5 * 5, dtype=np.uint8).reshape(4, 5, 5), labels=np.arange(4))


@given(data=st.data())
@settings(max_examples=80)
def test_npz_of_any_bytes(data: st.DataObject) -> None:
    raw = data.draw(mutated(NPZ.getvalue()))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npz"
        path.write_bytes(raw)
        try:
            opened = open_data(str(path))
        except DataError as error:
            said(error, path)
        else:
            assert opened.train.rows.dtype == np.uint8


@given(data=st.data())
@settings(max_examples=80)
def test_npy_inside_an_npz_of_any_bytes(data: st.DataObject) -> None:
    """The archive is sound and its checksum right; the array's own header is not."""
    array = io.BytesIO()
    np.save(array, np.zeros((4, 5, 5), np.uint8))
    raw = data.draw(mutated(array.getvalue()))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npz"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("images.npy", raw)
        try:
            open_data(str(path))
        except DataError as error:
            said(error, path)


def encoded(kind: str) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
@given(data=st.data())
@settings(max_examples=40)
def test_image_of_any_bytes(kind: str, data: st.DataObject) -> None:
    """An image, or listed as bad: no other exception, and no warning, leaves the reader."""
    raw = data.draw(mutated(encoded(kind)))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "good.png").write_bytes(encoded("PNG"))
        (Path(folder) / f"any.{kind.lower()}").write_bytes(raw)
        found = open_data(folder, max_bad=1)
        assert len(found.train) + len(found.heldout) in (1, 2, 3)
        assert [skip.path.name for skip in found.skipped] in ([], [f"any.{kind.lower()}"])


def rewrite(folder: Path, name: str, data: Any) -> None:
    """Write `data` and an honest manifest over it, as a stranger would."""
    (folder / name).unlink()
    write_file(folder / name, [encode_json(data, allow_nan=True).encode()])
    (folder / MANIFEST).unlink()
    write_manifest(folder)


@given(data=st.data(), value=ANY)
@settings(max_examples=120)
def test_bundle_with_anything_anywhere(sound: Path, data: st.DataObject, value: Any) -> None:
    """It loads, or is refused by one error; what loads, `gendi info` can show."""
    bundle = sound / "bundle"
    honest = read_json(bundle / "config.json")
    try:
        rewrite(bundle, "config.json", with_at(honest, data.draw(st.sampled_from(spots(honest))), value))
        try:
            load_bundle(bundle)
        except BundleError as error:
            said(error, bundle)
        else:
            assert main(["info", str(bundle)]) == 0
    finally:
        rewrite(bundle, "config.json", honest)


@given(data=st.data(), value=ANY)
@settings(max_examples=80)
def test_checkpoint_state_with_anything_anywhere(sound: Path, data: st.DataObject, value: Any) -> None:
    folder = list_checkpoints(sound)[-1][1]
    honest = read_json(folder / "state.json")
    outside = [spot for spot in spots(honest) if spot[:1] != ("state",) or spot == ("state",)]
    try:
        rewrite(folder, "state.json", with_at(honest, data.draw(st.sampled_from(outside)), value))
        try:
            load_checkpoint(folder)
        except BundleError as error:
            said(error, folder)
    finally:
        rewrite(folder, "state.json", honest)


Reader = Callable[[Path], object]


@pytest.mark.parametrize("reader", [load_bundle, load_classifier, load_checkpoint, verify_manifest])
@given(raw=st.binary(max_size=40))
@settings(max_examples=25)
def test_folder_of_any_bytes(reader: Reader, raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "step_00000001"
        folder.mkdir()
        for file in ("config.json", "state.json", "model.safetensors", MANIFEST):
            (folder / file).write_bytes(raw)
        with pytest.raises(GendiError):
            reader(folder)


def test_the_fuzzer_s_own_seeds_are_read(tmp_path: Path) -> None:
    """What the mutations start from is sound, so that they reach beyond the first check."""
    (tmp_path / "x.npz").write_bytes(NPZ.getvalue())
    assert len(open_data(str(tmp_path / "x.npz")).train) == 3
    assert RunConfig.from_dict(plain(TINY)) == TINY
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"):
        (tmp_path / "any").write_bytes(encoded(kind))
        assert read_size(tmp_path / "any")[:2] == (9, 7)
    tomllib.loads(dump_toml(TINY.to_dict()))
