"""The edits as functions: the same pictures as the commands draw, and bad input refused."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import gendi
from conftest import Gendi
from gendi.data.images.codec import ImageCodec
from gendi.errors import UsageError


@pytest.fixture(scope="module")
def codec(tiny_run: Path) -> ImageCodec:
    return gendi.load(tiny_run).codec  # type: ignore[return-value]


@pytest.fixture(scope="module")
def picture(codec: ImageCodec) -> Any:
    return np.random.default_rng(0).integers(0, 256, (codec.height, codec.width, codec.channels), dtype=np.uint8)


def saved(pixels: Any, path: Path) -> str:
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(path)
    return str(path)


def drawn(folder: Path) -> Any:
    found = [np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))]
    pictures = np.stack(found)
    return pictures[..., None] if pictures.ndim == 3 else pictures


def test_inpainting_draws_what_the_command_draws(gendi: Gendi, tiny_run: Path, picture: Any, tmp_path: Path) -> None:
    import gendi as python

    mask = np.zeros(picture.shape[:2], np.uint8)
    mask[2:] = 255
    image, where = saved(picture, tmp_path / "a.png"), saved(mask[..., None], tmp_path / "m.png")
    flags = ["--n", "2", "--steps", "5", "--seed", "3", "--class", "1", "--out", str(tmp_path / "out")]
    assert gendi("inpaint", str(tiny_run), image, "--mask", where, *flags).code == 0
    ours = python.inpaint(tiny_run, picture, mask, 2, steps=5, seed=3, condition={"class": 1})
    np.testing.assert_array_equal(ours, drawn(tmp_path / "out"))
    np.testing.assert_array_equal(ours[:, :2], np.stack([picture[:2]] * 2))


def test_variations_are_those_of_the_command(gendi: Gendi, tiny_run: Path, picture: Any, tmp_path: Path) -> None:
    import gendi as python

    flags = ["--strength", "0.5", "--n", "3", "--steps", "4", "--out", str(tmp_path / "out")]
    assert gendi("vary", str(tiny_run), saved(picture, tmp_path / "a.png"), *flags).code == 0
    ours = python.vary(tiny_run, picture, 3, strength=0.5, steps=4)
    np.testing.assert_array_equal(ours, drawn(tmp_path / "out"))
    np.testing.assert_array_equal(python.vary(tiny_run, picture, 1, strength=0.0, steps=4)[0], picture)


@pytest.mark.parametrize("seeded", [True, False], ids=["with flags", "by default"])
@pytest.mark.parametrize("name", ["inpaint", "upscale", "denoise", "vary", "interpolate", "mix"])
def test_every_edit_is_that_of_the_command(
    gendi: Gendi, tiny_run: Path, picture: Any, tmp_path: Path, name: str, seeded: bool
) -> None:
    """The command and the function give the same pictures for the same request, and by default too."""
    import gendi as python

    other, mask = 255 - picture, np.zeros(picture.shape[:2], np.uint8)
    mask[2:] = 255
    small = np.ascontiguousarray(picture[::2, ::2])
    a, b, m = (saved(pixels, tmp_path / f"{at}.png") for at, pixels in enumerate((picture, other, mask[..., None])))
    files = {"inpaint": [a, "--mask", m], "upscale": [saved(small, tmp_path / "small.png")], "denoise": [a]}
    files |= {"vary": [a], "interpolate": [a, b], "mix": [a, b]}
    arrays = {"inpaint": (picture, mask), "upscale": (small,), "denoise": (picture,), "vary": (picture,)}
    arrays |= {"interpolate": (picture, other), "mix": (picture, other)}
    flags, options = [], {}  # type: ignore[var-annotated]
    if seeded:
        flags, options = ["--class", "1", "--guidance", "2"], {"condition": {"class": 1}, "guidance": 2.0}
        if name in ("interpolate", "mix"):
            flags, options = [*flags, "--steps", "3"], {**options, "steps": 3}
        else:
            flags, options = [*flags, "--steps", "4", "--seed", "3"], {**options, "steps": 4, "seed": 3}
    done = gendi(name, str(tiny_run), *files[name], *flags, "--out", str(tmp_path / "out"))
    assert done.code == 0, done.err
    ours = getattr(python, name)(tiny_run, *arrays[name], **options)
    np.testing.assert_array_equal(ours[None] if name == "mix" else ours, drawn(tmp_path / "out"))


def test_what_another_version_took_by_default_is_made_again(
    gendi: Gendi, tiny_run: Path, picture: Any, tmp_path: Path
) -> None:
    """The file says how many steps were made; the words of its command line do not."""
    image, out = saved(picture, tmp_path / "a.png"), tmp_path / "x.png"
    assert gendi("vary", str(tiny_run), image, "--steps", "3", "--out", str(out)).code == 0
    with Image.open(out) as made:
        settings, pixels = json.loads(made.info["gendi-edit"]), np.asarray(made)
    text = PngInfo()
    text.add_text("gendi-edit", json.dumps({**settings, "words": [str(tiny_run), image]}))
    Image.fromarray(pixels).save(out, pnginfo=text)
    assert gendi("vary", "--again", str(out)).code == 0
    with Image.open(tmp_path / "x-again.png") as again:
        np.testing.assert_array_equal(np.asarray(again), pixels)


def test_the_others_give_pictures_of_the_models_size(tiny_run: Path, picture: Any, codec: ImageCodec) -> None:
    size = (codec.height, codec.width, codec.channels)
    other = 255 - picture
    way = gendi.interpolate(tiny_run, picture, other, 3, steps=4)
    assert way.shape == (3, *size) and gendi.mix(tiny_run, picture, other, steps=4).shape == size
    assert gendi.denoise(tiny_run, picture, 2, noise=0.2, steps=4).shape == (3, *size)
    small = picture[::2, ::2]
    assert gendi.upscale(tiny_run, small, 2, steps=4).shape == (2, *size)


def test_gradients_see_no_bound(tiny_run: Path, picture: Any) -> None:
    """A model whose sampling bounds x0_hat edits as one whose sampling does not: a bound passes no gradient on."""
    bundle, mask = gendi.load(tiny_run), np.eye(picture.shape[0])
    generator = torch.Generator().manual_seed(0)
    state = {name: torch.randn(w.shape, generator=generator) * 0.2 for name, w in bundle.state.items()}
    both = []
    for clip in (False, True):
        config = dataclasses.replace(bundle.config, sample=dataclasses.replace(bundle.config.sample, clip=clip))
        model = dataclasses.replace(bundle, config=config, state=state)
        asked = {"condition": {"class": 1}, "guidance": 2.0}
        both.append(gendi.inpaint(model, picture, mask, 2, steps=4, **asked))  # type: ignore[arg-type]
    np.testing.assert_array_equal(*both)


def test_bad_input_is_refused(tiny_run: Path, picture: Any) -> None:
    mask = np.ones(picture.shape[:2], bool)
    for call, said in [
        (lambda: gendi.inpaint(tiny_run, picture, mask), "one value everywhere"),
        (lambda: gendi.inpaint(tiny_run, picture, mask[1:]), "the mask has shape"),
        (lambda: gendi.inpaint(tiny_run, picture, np.eye(len(picture)), method="dsp"), "dps"),
        (lambda: gendi.vary(tiny_run, picture[1:]), "of shape"),
        (lambda: gendi.vary(tiny_run, picture / 255), "uint8"),
        (lambda: gendi.vary(tiny_run, picture, strength=2.0), "strength = 2"),
        (lambda: gendi.vary(tiny_run, picture, strenght=0.2), "'strenght' is no option"),
        (lambda: gendi.vary(tiny_run, picture, 0), "n = 0"),
        (lambda: gendi.inpaint(tiny_run, picture, mask, zeta=1.0, method="mmps"), "no option of this edit by mmps"),
        (lambda: gendi.upscale(tiny_run, picture), "times as large"),
        (lambda: gendi.vary(tiny_run, picture, condition={"class": 99}), "99"),
    ]:
        with pytest.raises(UsageError, match=said):
            call()
