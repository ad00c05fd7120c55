"""The codec: standardised latents, the way to a folder and back, and what is refused."""

import dataclasses
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from latent_world import LINEAR, SMALL, TRAINING, write_pictures

import gendi
from gendi.data import open_data
from gendi.data.codec_files import codec_from_dict, read_codec, write_codec
from gendi.data.encoded_rows import ROWS
from gendi.data.images.codec import ImageCodec, pictures_only
from gendi.data.images.latents import LatentCodec, pictures_of
from gendi.data.prepare import prepare
from gendi.errors import BundleError, DataError, DivergedError, UsageError
from gendi.train.kept.autoencoder import read_autoencoder


def test_latents_have_mean_0_and_deviation_1_in_each_channel(pictures: str, codec: LatentCodec) -> None:
    data = open_data(pictures)
    z = codec.encode(data.train.batch(range(len(data.train)))).double()
    assert z.shape == (len(data.train), *codec.shape) and codec.shape == (3, 4, 4)
    assert torch.allclose(z.mean((0, 2, 3)), torch.zeros(3).double(), atol=1e-5)
    assert torch.allclose(z.std((0, 2, 3), correction=0), torch.ones(3).double(), atol=1e-5)


def test_a_linear_codec_restores_pictures_as_principal_component_analysis_does(pictures: str, tmp_path: Path) -> None:
    from sklearn.decomposition import PCA

    options = {**TRAINING, "lr": 1e-9}
    codec = gendi.fit_autoencoder(pictures, out=tmp_path / "linear", config=LINEAR, steps=1, quiet=True, **options)
    data = open_data(pictures)

    def squares(rows: np.ndarray) -> np.ndarray:
        cut = rows.reshape(-1, 4, 4, 4, 4, 3).transpose(0, 1, 3, 5, 2, 4)
        return cut.reshape(-1, 48) / 127.5 - 1

    known = PCA(3).fit(squares(data.train.batch(range(len(data.train)))))
    given = data.heldout.batch(range(len(data.heldout)))
    expected = known.inverse_transform(known.transform(squares(given)))
    levels = ((expected + 1) * 127.5).round().clip(0, 255)
    assert abs(squares(codec.restored(given)) * 127.5 + 127.5 - levels).max() <= 1  # rounding at a half of a level


def test_a_codec_comes_back_from_a_folder_as_it_was(pictures: str, codec: LatentCodec, tmp_path: Path) -> None:
    write_codec(tmp_path / "codec", codec)
    again = read_codec(tmp_path / "codec")
    assert isinstance(again, LatentCodec) and again == codec and again.digest == codec.digest
    rows = open_data(pictures).heldout.batch([0, 1])
    assert np.array_equal(again.restored(rows), codec.restored(rows))
    assert again.about["pictures"] == 57 and again.about["psnr"] > 5


def test_what_cannot_be_decoded_or_encoded_is_refused(codec: LatentCodec) -> None:
    with pytest.raises(DataError, match="shape"):
        codec.decode(torch.zeros(1, 3, 5, 5))
    with pytest.raises(DivergedError, match="NaN"):
        codec.decode(torch.full((1, 3, 4, 4), torch.nan))
    with pytest.raises(DataError, match="height 16"):
        codec.encode(np.zeros((1, 8, 8, 3), np.uint8))
    assert codec.decode(torch.zeros(0, 3, 4, 4)).shape == (0, 16, 16, 3)
    assert codec.encode(np.zeros((0, 16, 16, 3), np.uint8)).shape == (0, 3, 4, 4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"about": []}, "about must be"),
        ({"about": {"psnr": "good"}}, "about.psnr"),
        ({"pixels": {"kind": "cells"}}, "pixels"),
        ({"more": 1}, "more"),
        ({"autoencoder": {"channels": -1}}, "channels"),
        ({"autoencoder": {"channels": 3, "factor": 32, "widths": []}}, "16 x 16 cannot be encoded"),
    ],
)
def test_a_damaged_description_is_refused_by_name(codec: LatentCodec, changes: dict[str, object], said: str) -> None:
    with pytest.raises(BundleError, match=said):
        codec_from_dict({**codec.to_dict(), **changes}, codec.tensors())


def test_a_scale_that_is_no_scale_is_refused(codec: LatentCodec) -> None:
    with pytest.raises(BundleError, match="scale"):
        codec_from_dict(codec.to_dict(), {**codec.tensors(), "scale": torch.zeros(3)})
    with pytest.raises(BundleError, match="lacks"):
        codec_from_dict(codec.to_dict(), {"scale": torch.ones(3)})


def test_codecs_of_one_autoencoder_match_and_others_say_why_not(codec: LatentCodec) -> None:
    other = codec_from_dict(codec.to_dict(), {**codec.tensors(), "centre": codec.centre + 1})
    assert codec.mismatch(codec) == "" and codec.mismatch(codec.pixels) == ""
    assert "another" in codec.mismatch(other)
    assert "8 x 8" in codec.mismatch(ImageCodec(3, 8, 8))


def test_the_codec_of_pixels_behind_latents_is_known_and_what_needs_pixels_says_so(codec: LatentCodec) -> None:
    assert pictures_of(codec) == ImageCodec(3, 16, 16) == pictures_of(codec.pixels) and pictures_of(None) is None
    with pytest.raises(UsageError, match="bits per dimension needs a model of pixels"):
        pictures_only(codec, "bits per dimension")


def test_latents_are_kept_on_the_disk_and_a_damaged_file_is_computed_again(
    pictures: str, codec: LatentCodec, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dataclasses.replace(open_data(pictures), codec=codec)
    first = prepare(data)
    assert first.encoded and np.allclose(first.train.rows[:], codec.encode(data.train.batch(range(57))), atol=1e-5)
    folders = sorted((own_cache / "latents").iterdir())
    assert len(folders) == 2
    monkeypatch.setattr(LatentCodec, "encode", lambda *_: pytest.fail("latents were computed again"))
    assert np.array_equal(prepare(data).train.rows[:], first.train.rows[:])
    monkeypatch.undo()
    monkeypatch.setenv("GENDI_CACHE", str(own_cache))
    for folder in folders:
        bad = bytearray((folder / ROWS).read_bytes())
        bad[-1] ^= 1
        (folder / ROWS).write_bytes(bad)
    assert np.array_equal(prepare(data).train.rows[:], first.train.rows[:])


def test_with_flips_the_latents_of_mirror_images_are_there_too(pictures: str, codec: LatentCodec) -> None:
    data = dataclasses.replace(open_data(pictures), codec=codec)
    doubled = prepare(data, flip=True)
    assert len(doubled.train) == 2 * len(data.train) and len(doubled.heldout) == len(data.heldout)
    rows = data.train.batch([3])
    assert np.allclose(doubled.train.rows[len(data.train) + 3], codec.encode(rows[:, :, ::-1].copy())[0], atol=1e-5)
    assert np.array_equal(doubled.train.labels, np.tile(data.train.labels, 2))
    with pytest.raises(UsageError, match="train.crop"):
        prepare(data, crop=1.2)


def test_a_folder_without_a_finished_autoencoder_says_what_to_do(pictures: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="gendi train-autoencoder DATA"):
        read_autoencoder(tmp_path)
    (tmp_path / "autoencoder.json").write_text("{}")
    with pytest.raises(UsageError, match="not finished"):
        read_autoencoder(tmp_path)


def test_other_options_data_or_things_than_pictures_are_refused(
    pictures: str, autoencoder: Path, tmp_path: Path
) -> None:
    more = {"quiet": True, "steps": 40, **TRAINING}
    with pytest.raises(UsageError, match="equivariance was 0.25, is 0.0"):
        gendi.fit_autoencoder(pictures, out=autoencoder, config=replace(SMALL, equivariance=0.0), **more)
    other = write_pictures(tmp_path / "others.npz", seed=1)
    with pytest.raises(DataError, match="not those with which"):
        gendi.fit_autoencoder(other, out=autoencoder, config=SMALL, **more)
    with pytest.raises(UsageError, match="pictures"):
        gendi.fit_autoencoder("toy:moons", out=tmp_path / "x", config=SMALL, **more)
    with pytest.raises(UsageError, match="cannot be encoded"):
        gendi.fit_autoencoder(pictures, out=tmp_path / "x", size=18, config=SMALL, **more)
    assert not (tmp_path / "x").exists()
