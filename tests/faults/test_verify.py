"""`gendi verify`: what is whole is called so, what is not is named, whatever the damage; a live run is no damage."""

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from victims import TINY, flip

from gendi.cli import main
from gendi.data.images.codec import ImageCodec
from gendi.diffusion.gaussian.guidance.noisy_classifier import ClassifierNetwork
from gendi.errors import UsageError
from gendi.storage.files import MANIFEST, write_file, write_manifest
from gendi.storage.folders import replace_folder
from gendi.storage.safe_tensors import read_tensors, tensor_chunks
from gendi.train.kept.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from gendi.train.kept.classifier_bundle import ClassifierBundle, save_classifier
from gendi.train.kept.verify import verify

KINDS = ["bundle", "checkpoint", "checkpoint", "configuration", "snapshot", "snapshot", "snapshot"]


def problems(folder: Path) -> list[str]:
    return [found.problem for found in verify(folder) if found.problem is not None]


def test_a_whole_run_is_whole(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sorted(found.kind for found in verify(run)) == KINDS
    assert main(["verify", str(run), "--data"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(KINDS) + 1 and all(line.startswith("ok ") for line in lines)
    for part in (run / "bundle", run / "checkpoints", list_checkpoints(run)[0][1]):
        assert problems(part) == []
    assert main(["verify", str(run / "bundle"), "--data"]) == 0


@pytest.mark.parametrize(
    "name",
    [
        "bundle/config.json",
        "bundle/model.safetensors",
        "bundle/MANIFEST.json",
        "checkpoints/step_00000011/state.json",
        "checkpoints/step_00000010/power_1.safetensors",
        "ema/images_000000000060/average_0.safetensors",
        "ema/images_000000000066/snapshot.json",
    ],
)
@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "remove"])
def test_the_bad_file_is_named_and_the_exit_code_is_4(
    run: Path, name: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run / name
    if damage == "flip":
        flip(path, 8)  # the second byte: of a manifest, of JSON, of the length of a header
    elif damage == "remove":
        path.unlink()
    else:
        path.write_bytes(b"" if damage == "empty" else path.read_bytes()[:-1])
    assert main(["verify", str(run)]) == 4
    told = capsys.readouterr()
    assert str(path) in told.err
    assert sum(line.startswith("BAD") for line in told.out.splitlines()) == 1
    assert main(["verify", str(run), "--json"]) == 4
    found = json.loads(capsys.readouterr().out)
    assert not found["ok"]
    assert [Path(entry["path"]) for entry in found["checked"] if entry["problem"]] == [path.parent]


@given(data=st.data())
def test_flipped_bit_anywhere_in_a_run_s_manifested_files(sound: Path, data: st.DataObject) -> None:
    files = sorted(p for manifest in sound.rglob(MANIFEST) for p in manifest.parent.iterdir())
    path = data.draw(st.sampled_from(files))
    bit = data.draw(st.integers(0, 8 * path.stat().st_size - 1))
    flip(path, bit)
    try:
        (problem,) = problems(path.parent)
        assert path.name in problem or MANIFEST in problem
    finally:
        flip(path, bit)


def rewritten(folder: Path, group: str, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change tensors of a folder as a program that writes honest manifests would."""
    path = folder / f"{group}.safetensors"
    tensors = read_tensors(path)
    change(tensors)
    path.unlink()
    write_file(path, tensor_chunks(tensors))
    (folder / MANIFEST).unlink()
    write_manifest(folder)


@pytest.mark.parametrize("group", ["model", "ema", "power_0", "optimizer"])
def test_wrong_shape_under_an_honest_manifest(run: Path, group: str) -> None:
    """No hash is wrong: it is the configuration in state.json that the tensor does not fit."""
    folder = list_checkpoints(run)[-1][1]
    name = next(k for k in read_tensors(folder / f"{group}.safetensors") if not k.endswith(":step"))
    rewritten(folder, group, lambda tensors: tensors.update({name: torch.zeros(3, 1, 7)}))
    (problem,) = problems(run)
    assert str(folder / f"{group}.safetensors") in problem and repr(name) in problem


def test_wrong_dtype_or_missing_tensor_of_a_snapshot(run: Path) -> None:
    folder = run / "ema/images_000000000030"
    rewritten(folder, "average_1", lambda tensors: tensors.pop(next(iter(tensors))))
    assert "average_1.safetensors" in problems(run)[0]


def test_checkpoint_from_a_newer_version_is_said(run: Path) -> None:
    folder = list_checkpoints(run)[-1][1]
    state = json.loads((folder / "state.json").read_text()) | {"format": 9, "gendi": "9.9"}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / MANIFEST).unlink()
    write_manifest(folder)
    assert "gendi 9.9 or newer" in problems(run)[0]


def test_a_bad_configuration(run: Path) -> None:
    path = run / "config.toml"
    path.write_text(path.read_text().replace("batch_size = 6", 'batch_size = "six"'))
    assert "train.batch_size" in problems(run)[0]


def test_a_classifier(tmp_path: Path) -> None:
    network = ClassifierNetwork(1, 3, (32, 32))
    bundle = ClassifierBundle(3, (), ImageCodec(1, 6, 6), (32, 32), 1.0, dict(network.state_dict()))
    folder = save_classifier(tmp_path / "judge", bundle)
    assert [(found.kind, found.problem) for found in verify(tmp_path)] == [("classifier", None)]
    flip(folder / "model.safetensors", 9000)
    assert str(folder / "model.safetensors") in problems(tmp_path)[0]


def test_data_changed_since_the_checkpoint(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.npz"
    np.savez(other, images=np.zeros((24, 6, 6, 1), np.uint8), labels=np.arange(24) % 3)
    path = run / "config.toml"
    text = path.read_text()
    spec = next(line for line in text.splitlines() if line.startswith("spec = "))
    path.write_text(text.replace(spec, f'spec = "{other}"'))
    assert main(["verify", str(run)]) == 0
    assert main(["verify", str(run), "--data"]) == 4
    assert "trained on other data" in capsys.readouterr().err


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no folder"):
        problems(tmp_path / "absent")
    (tmp_path / "photos").mkdir()
    with pytest.raises(UsageError, match="nothing to check"):
        problems(tmp_path)


def test_a_folder_that_is_being_written(run: Path) -> None:
    """Checkpoints come and go, and the bundle is replaced, all the time: nothing is called bad, nothing crashes."""
    last = load_checkpoint(list_checkpoints(run)[-1][1])
    done, failed = threading.Event(), []

    def write() -> None:
        try:
            step = last.step
            while not done.is_set():
                step += 1
                save_checkpoint(run, step, last.tensors, last.state, keep=1)
                with replace_folder(run / "bundle") as writer:
                    for path in sorted((run / "bundle").iterdir()):
                        if path.name != MANIFEST:
                            writer.write(path.name, [path.read_bytes()])
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(12):
            assert problems(run) == []
    finally:
        done.set()
        thread.join()
    assert failed == []


def test_what_a_killed_save_left_is_no_damage(run: Path) -> None:
    shutil.copytree(run / "checkpoints/step_00000010", run / "checkpoints/.tmp-step_00000012")
    (run / "checkpoints/.tmp-step_00000012/state.json").unlink()
    (run / "bundle").rename(run / ".old-bundle")  # killed between the two renames: it is the bundle in force
    assert problems(run) == []
    flip(run / ".old-bundle/model.safetensors", 80_000)
    assert len(problems(run)) == 1
    assert TINY.train.keep == 2 and len(list_checkpoints(run)) == 2
