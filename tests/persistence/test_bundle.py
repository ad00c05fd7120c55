"""A bundle comes back as it was, is refused when anything in it changed, and runs nothing."""

import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from faulty import failing, killed_at
from hypothesis import given, settings
from hypothesis import strategies as st

from gendi.data.images.codec import ImageCodec
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.config import ProcessConfig
from gendi.diffusion.networks import build_network
from gendi.diffusion.networks.config import NetworkConfig
from gendi.errors import BundleError, ResourceError, UsageError
from gendi.storage.files import MANIFEST, verify_manifest, write_file, write_manifest
from gendi.storage.safe_tensors import read_tensors, tensor_chunks
from gendi.train.config import RunConfig
from gendi.train.kept.bundle import Bundle, load_bundle, save_bundle
from gendi.train.kept.checkpoint import clean_stale
from gendi.train.kept.folders import bundle_folder

NETWORK = NetworkConfig(channels=(8,), blocks=1, time_dim=8, groups=4)
TOLD = (ConditionConfig("class", size=2, names=("dot", "no dot")),)


def make_bundle(value: float = 0.01) -> Bundle:
    """A bundle whose weights all differ, and tell which `value` they were made with."""
    state = build_network(NETWORK, (1, 5, 6), TOLD).state_dict()
    for index, tensor in enumerate(state.values()):
        tensor.copy_(torch.linspace(-value, value, tensor.numel()).reshape(tensor.shape) + value * index)
    config = RunConfig(network=NETWORK, process=ProcessConfig(steps=None), conditions=TOLD)
    meta = {"data": "dots", "images": 640, "metrics": {"fid-digits": {"value": 2.5, "floor": 1.25}, "odd|name": 3}}
    return Bundle(config, ImageCodec(1, 5, 6), state, 0.96, meta)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_bundle(tmp_path / "bundle", make_bundle())


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bundle(tmp_path_factory.mktemp("sound") / "bundle", make_bundle())


def assert_same(found: Bundle, wanted: Bundle) -> None:
    assert (found.config, found.codec) == (wanted.config, wanted.codec)
    assert (found.sigma_data, found.class_names) == (wanted.sigma_data, wanted.class_names)
    assert wanted.meta.items() <= found.meta.items()
    assert found.state.keys() == wanted.state.keys()
    for name, tensor in wanted.state.items():
        assert torch.equal(found.state[name], tensor), name


def rewrite(folder: Path, **fields: object) -> None:
    """Change config.json as a stranger would who also writes an honest manifest."""
    data = json.loads((folder / "config.json").read_text()) | fields
    (folder / "config.json").write_text(json.dumps({k: v for k, v in data.items() if v is not ...}))
    (folder / MANIFEST).unlink()
    write_manifest(folder)


def test_a_bundle_shows_what_it_is_in_a_line_and_pictures_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = make_bundle()
    assert len(repr(bundle)) < 300 and "data: dots" in repr(bundle) and "class (2 classes)" in repr(bundle)
    before = torch.random.get_rng_state()
    assert "data:image/png;base64," in bundle._repr_html_()
    assert torch.equal(torch.random.get_rng_state(), before)
    monkeypatch.setattr("gendi.train.kept.portrait.QUICK", 1.0)  # as with a large network
    assert "data:image" not in bundle._repr_html_()


def test_a_bundle_comes_back_from_its_folder_and_from_its_run(folder: Path) -> None:
    for path in (folder, folder.parent, str(folder.parent)):
        found = load_bundle(path)
        assert_same(found, make_bundle())
        assert {"gendi", "torch"} <= found.meta.keys()


def test_its_denoiser_is_the_network_that_was_saved(folder: Path) -> None:
    network = build_network(NETWORK, (1, 5, 6), TOLD)
    network.load_state_dict(make_bundle().state)
    x, t = torch.linspace(-3, 3, 60).reshape(2, 1, 5, 6), torch.tensor([0.3, 0.8])
    cond = {"class": torch.tensor([0, 1])}
    before = torch.random.get_rng_state()
    denoiser = load_bundle(folder).denoiser(clip=0.5)
    assert torch.equal(torch.random.get_rng_state(), before)  # no global randomness is used up
    assert not denoiser.training
    assert (denoiser.clip, denoiser.sigma_data, denoiser.schedule.steps) == (0.5, 0.96, None)
    with torch.no_grad():
        time = denoiser.time_value(t)
        assert torch.equal(denoiser.network(x, time, **cond), network.eval()(x, time, **cond))
    assert denoiser(x, t, **cond).abs().max() <= 0.5


def test_the_model_card_says_what_it_is_and_its_python_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = (folder / "README.md").read_text()
    for text in ("5 x 6", "dot, no dot", "640", "2.5 (real images: 1.25)", r"odd\|name", "mnist", "(exponential"):
        assert text in card
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(code[1].replace("path/to/this/folder", str(folder)), names)
    assert names["images"].shape == (16, 5, 6, 1)
    assert names["images"].dtype == torch.uint8


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_flipped_bit_anywhere_in_a_bundle_is_detected(sound: Path, data: st.DataObject) -> None:
    path = sound / data.draw(st.sampled_from(["config.json", "model.safetensors", "README.md", MANIFEST]))
    original = path.read_bytes()
    position = data.draw(st.integers(0, len(original) * 8 - 1))
    flipped = bytearray(original)
    flipped[position // 8] ^= 1 << position % 8
    path.write_bytes(flipped)
    try:
        with pytest.raises(BundleError, match=rf"{re.escape(path.name)}|MANIFEST"):
            load_bundle(sound)
    finally:
        path.write_bytes(original)


def test_an_edited_model_card_is_refused_by_name(folder: Path) -> None:
    card = folder / "README.md"
    card.write_text(card.read_text() + "better than it is\n")
    with pytest.raises(BundleError, match=r"README\.md") as caught:
        load_bundle(folder)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"format": 2, "gendi": "9.9.9"}, "gendi 9.9.9 or newer"),
        ({"format": 0}, "format"),
        ({"format": ...}, "'format' is missing"),
        ({"surprise": 1}, "'surprise' is unknown"),
        ({"codec": {"kind": "pickle"}}, "codec"),
        ({"codec": {"kind": "image", "channels": 10**9, "height": 5, "width": 6}}, "channels"),
        ({"config": {"network": {"channels": [10**9]}}}, "network.channels"),
        ({"config": {"network": {"kind": "os.system"}}}, "kind"),
        ({"config": []}, "config"),
        ({"sigma_data": 0}, "sigma_data"),
        ({"sigma_data": True}, "sigma_data"),
        ({"sigma_data": float("nan")}, "sigma_data"),
        ({"meta": []}, "meta"),
        ({"codec": {"kind": "image", "channels": 3, "height": 5, "width": 6}}, "stem.weight"),
    ],
)
def test_hostile_or_wrong_configurations(folder: Path, fields: dict[str, object], named: str) -> None:
    rewrite(folder, **fields)
    with pytest.raises(BundleError, match=re.escape(named)):
        load_bundle(folder)


def test_a_network_of_another_size_is_refused_from_the_header(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten billion weights are described; none is allocated, and the file's tensor that does not fit is named."""
    rewrite(folder, config=RunConfig(network=NetworkConfig(channels=(8192, 8192), groups=4)).to_dict())
    monkeypatch.setattr(
        "gendi.storage.safe_tensors.safe_open", lambda *args, **kwargs: pytest.fail("the file was opened")
    )
    with pytest.raises(BundleError, match=r"tensor '\S+' (has shape|is missing)"):
        load_bundle(folder)


def test_malicious_pickle_given_as_a_bundles_weights(folder: Path) -> None:
    proof = folder.parent / "executed"

    class Payload:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return (Path.touch, (proof,))

    (folder / "model.safetensors").write_bytes(pickle.dumps({"w": Payload()}))
    (folder / MANIFEST).unlink()
    write_manifest(folder)  # the stranger's manifest is honest
    with pytest.raises(BundleError, match="is a pickle"):
        load_bundle(folder)
    assert not proof.exists()


def test_weights_in_memory_that_do_not_fit_are_named() -> None:
    bundle = make_bundle()
    bundle.state["head.bias"] = bundle.state["head.bias"].half()
    with pytest.raises(BundleError, match=r"head\.bias"):
        bundle.network()


def test_missing_weights_with_an_honest_manifest(folder: Path) -> None:
    for name in ("model.safetensors", MANIFEST):
        (folder / name).unlink()
    write_manifest(folder)
    with pytest.raises(BundleError, match=r"model\.safetensors is missing"):
        load_bundle(folder)
    write_file(folder / "model.safetensors", tensor_chunks({"w": torch.zeros(1)}))
    (folder / MANIFEST).unlink()
    write_manifest(folder)
    with pytest.raises(BundleError, match="is missing; the network here has it"):
        load_bundle(folder)


def test_no_bundle_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no folder"):
        load_bundle(tmp_path / "absent")
    with pytest.raises(UsageError, match="neither a run nor a bundle"):
        load_bundle(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UsageError, match="without a bundle yet"):
        load_bundle(tmp_path)


def which(run: Path, old: Bundle, new: Bundle) -> Bundle:
    """Return the one of the two that the run's bundle, whole, holds."""
    folder = bundle_folder(run)
    verify_manifest(folder)
    found = read_tensors(folder / "model.safetensors")
    wanted = new if torch.equal(found["stem.weight"], new.state["stem.weight"]) else old
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.state.items())
    return wanted


def test_replacing_a_bundle_killed_at_any_call_leaves_one_that_loads(folder: Path) -> None:
    run, old, new = folder.parent, make_bundle(0.01), make_bundle(0.02)
    held = new
    for at in range(1, 200):
        if held is new:
            save_bundle(folder, old)
        killed = killed_at(at, lambda: save_bundle(folder, new), torn=True)
        held = which(run, old, new)
        clean_stale(run)
        assert [path.name for path in run.iterdir()] == ["bundle"]
        assert which(run, old, new) is held
        if not killed:
            assert held is new
            assert_same(load_bundle(run), new)
            return
    raise AssertionError("no save passed untouched")


@pytest.mark.parametrize("persistent", [False, True])
def test_replacing_a_bundle_failed_at_any_call_leaves_one_that_loads(folder: Path, persistent: bool) -> None:
    run, old, new = folder.parent, make_bundle(0.01), make_bundle(0.02)
    held = new
    for at in range(1, 200):
        if held is new:
            save_bundle(folder, old)
        error = None
        with failing(at, persistent) as made:
            try:
                save_bundle(folder, new)
            except ResourceError as caught:
                error = caught
        held = which(run, old, new)
        if error is None:
            assert held is new
        if len(made) < at:
            assert error is None
            return
    raise AssertionError("no save passed untouched")
