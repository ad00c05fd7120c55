"""What happened to a checkpoint or a bundle on disk is always noticed, named, and survived where it can be."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty import assert_whole, groups, save
from hypothesis import given, settings
from hypothesis import strategies as st

from gendi.errors import BundleError
from gendi.storage.files import MANIFEST, sha256_file, verify_manifest, write_manifest
from gendi.train.kept.checkpoint import list_checkpoints, load_checkpoint, load_latest, save_checkpoint

FILES = ["model.safetensors", "ema.safetensors", "optimizer.safetensors", "state.json", MANIFEST]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    save(tmp_path, 1)
    save(tmp_path, 2)
    return tmp_path


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    run = tmp_path_factory.mktemp("sound")
    yield save(run, 7)
    assert_whole(load_latest(run), 7)  # every example put back what it broke


def newest(run: Path) -> Path:
    return list_checkpoints(run)[-1][1]


def assert_falls_back(run: Path, named: str) -> None:
    """The damage in the newest checkpoint is named; the one before loads; nothing was deleted."""
    before = sorted(path for path in run.rglob("*"))
    found = load_latest(run)
    assert_whole(found, 1)
    assert found is not None
    assert len(found.problems) == 1
    assert str(newest(run) / named) in found.problems[0]
    assert sorted(path for path in run.rglob("*")) == before


@given(data=st.data())
@settings(max_examples=120, deadline=None)
def test_a_flipped_bit_anywhere_in_any_file_is_detected(sound: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(FILES))
    path = sound / name
    original = path.read_bytes()
    position = data.draw(st.integers(0, len(original) * 8 - 1))
    flipped = bytearray(original)
    flipped[position // 8] ^= 1 << position % 8
    path.write_bytes(flipped)
    try:
        with pytest.raises(BundleError, match=r"MANIFEST\.json|" + name.replace(".", r"\.")):
            load_checkpoint(sound)
    finally:
        path.write_bytes(original)


def test_every_bit_of_a_manifest_is_guarded(tmp_path: Path) -> None:
    """The manifest has no checksum of its own, so each of its bits is tried."""
    (tmp_path / "a").write_bytes(b"a")
    write_manifest(tmp_path)
    path = tmp_path / MANIFEST
    original = path.read_bytes()
    for position in range(len(original) * 8):
        flipped = bytearray(original)
        flipped[position // 8] ^= 1 << position % 8
        path.write_bytes(flipped)
        with pytest.raises(BundleError, match=r"MANIFEST\.json"):
            verify_manifest(tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_truncated_file(run: Path, name: str) -> None:
    path = newest(run) / name
    path.write_bytes(path.read_bytes()[:-1])
    assert_falls_back(run, name)


@pytest.mark.parametrize("name", FILES)
def test_empty_file(run: Path, name: str) -> None:
    (newest(run) / name).write_bytes(b"")
    assert_falls_back(run, name)


@pytest.mark.parametrize("name", FILES)
def test_missing_file(run: Path, name: str) -> None:
    (newest(run) / name).unlink()
    assert_falls_back(run, name)


def test_extra_file(run: Path) -> None:
    (newest(run) / "notes.txt").write_text("mine")
    assert_falls_back(run, "notes.txt")


@pytest.mark.parametrize("copied", range(len(FILES)))
def test_folder_copied_half(run: Path, copied: int) -> None:
    """The first `copied` files arrived, the next one is cut, the rest are missing."""
    whole, half = newest(run), run / "checkpoints" / "step_00000003"
    half.mkdir()
    for name in FILES[:copied]:
        shutil.copy(whole / name, half)
    raw = (whole / FILES[copied]).read_bytes()
    (half / FILES[copied]).write_bytes(raw[: len(raw) // 2])
    found = load_latest(run)
    assert_whole(found, 2)
    assert found is not None
    assert str(half) in found.problems[0]


def test_an_empty_folder_and_a_stray_file_are_no_checkpoints(run: Path) -> None:
    (run / "checkpoints" / "step_00000009").mkdir()
    (run / "checkpoints" / "step_00000008").write_text("a file")
    (run / "checkpoints" / "mine").mkdir()
    found = load_latest(run)
    assert_whole(found, 2)
    assert found is not None
    assert len(found.problems) == 1
    assert "step_00000009" in found.problems[0]


def test_no_checkpoint_at_all(tmp_path: Path) -> None:
    assert load_latest(tmp_path) is None
    (tmp_path / "checkpoints").mkdir()
    assert load_latest(tmp_path) is None


def test_none_valid_tells_each_fault_and_keeps_the_evidence(run: Path) -> None:
    (run / "checkpoints" / "step_00000001" / "state.json").write_text("{}")
    (run / "checkpoints" / "step_00000002" / "ema.safetensors").unlink()
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(BundleError) as caught:
        load_latest(run)
    assert caught.value.exit_code == 4
    assert "step_00000001/state.json" in str(caught.value)
    assert "step_00000002/ema.safetensors" in str(caught.value)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("content", [None, "step_99999999\n", "\x00\xff"])
def test_latest_missing_or_wrong_is_harmless(run: Path, content: str | None) -> None:
    latest = run / "checkpoints" / "latest"
    assert latest.read_text() == "step_00000002\n"
    latest.unlink() if content is None else latest.write_text(content)
    assert_whole(load_latest(run), 2)


def test_a_renamed_folder_is_noticed(run: Path) -> None:
    newest(run).rename(run / "checkpoints" / "step_00000005")
    found = load_latest(run)
    assert_whole(found, 1)
    assert found is not None
    assert "holds step 2" in found.problems[0]


def edit_state(folder: Path, **fields: object) -> None:
    """Change state.json as a program that writes honest manifests would."""
    data = json.loads((folder / "state.json").read_text()) | fields
    (folder / "state.json").write_text(json.dumps({k: v for k, v in data.items() if v is not None}))
    (folder / MANIFEST).unlink()
    write_manifest(folder)


def test_checkpoint_from_a_newer_version(run: Path) -> None:
    """Not a reason to fall back: going on from the older one would throw the newer one's work away."""
    edit_state(newest(run), format=2, gendi="9.9.9")
    with pytest.raises(BundleError, match=r"gendi 9\.9\.9 or newer"):
        load_latest(run)


@pytest.mark.parametrize(
    "fields",
    [
        {"surprise": 1},
        {"step": None},
        {"step": "2"},
        {"step": True},
        {"format": "1"},
        {"tensors": {}},
        {"tensors": ["model"]},
        {"tensors": ["model", "ema", "optimizer", "../model"]},
        {"state": []},
    ],
)
def test_unknown_or_malformed_fields_of_the_state(run: Path, fields: dict[str, object]) -> None:
    edit_state(newest(run), **fields)
    with pytest.raises(BundleError, match=str(newest(run))):
        load_checkpoint(newest(run))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"files": []}',
        '{"files": {"a": 1}}',
        '{"files": {"a": {"size": 1}}}',
        '{"files": {"a": {"sha256": "0", "size": "1"}}}',
        "[" * 100_000,
        '{"files": ' + "9" * 5000 + "}",
        '{"files": {"../../etc/passwd": {"sha256": "0", "size": 1}}}',
    ],
)
def test_hostile_manifests(run: Path, text: str) -> None:
    (newest(run) / MANIFEST).write_text(text)
    assert_falls_back(run, MANIFEST)


def test_a_huge_json_is_not_read(run: Path) -> None:
    with (newest(run) / MANIFEST).open("wb") as file:
        file.truncate(10**10)  # sparse: ten gigabytes of nothing
    assert_falls_back(run, MANIFEST)


def test_a_damaged_checkpoint_is_set_aside_when_its_step_comes_again(run: Path) -> None:
    model = newest(run) / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-4])
    evidence = sha256_file(model)
    for _ in range(2):
        save(run, 2)
        assert_whole(load_latest(run), 2)
    aside = run / "checkpoints" / "damaged-step_00000002"
    assert sha256_file(aside / "model.safetensors") == evidence
    (newest(run) / "state.json").unlink()
    save(run, 2)
    assert (run / "checkpoints" / "damaged-step_00000002-1").is_dir()
    assert aside.is_dir()


def test_older_ones_are_pruned_but_damaged_ones_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step, keep=2)
    assert [step for step, _ in list_checkpoints(tmp_path)] == [2, 3]
    (tmp_path / "checkpoints" / "step_00000003" / "ema.safetensors").unlink()
    save(tmp_path, 4, keep=2)
    save(tmp_path, 5, keep=2)
    assert [step for step, _ in list_checkpoints(tmp_path)] == [3, 4, 5]
    save(tmp_path, 2, keep=1)  # gone back: later ones are not older ones
    assert [step for step, _ in list_checkpoints(tmp_path)] == [2, 3, 4, 5]


def test_state_survives_exactly(tmp_path: Path) -> None:
    """Every double has a decimal form that reads back to itself; NaN and infinity too, for a loss that was one."""
    state = {
        "a": 0.1 + 0.2,
        "b": 5e-324,
        "n": 2**80,
        "s": "\u2028é\x00",
        "w": [[float("inf"), float("nan")]],
        "x": None,
    }
    save_checkpoint(tmp_path, 1, groups(1), state)
    found = load_latest(tmp_path)
    assert found is not None
    assert repr(found.state) == repr(state)


def test_the_same_step_saved_again_is_replaced(run: Path) -> None:
    save_checkpoint(run, 2, groups(2), {"images": 256, "lr": 0.1 / 3})
    assert_whole(load_latest(run), 2)
    assert [step for step, _ in list_checkpoints(run)] == [1, 2]
