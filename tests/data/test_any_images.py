"""A folder of whatever pictures people have opens with no other word, and each is what its file shows."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gendi.data import open_data

RED, CLEAR = (200, 30, 40, 255), (200, 30, 40, 0)


@pytest.fixture
def mixed(folder: Path) -> Path:
    """Nine files whose left half is a dark red (of which grey ones keep the grey) and whose right half is clear or
    white.
    """

    def save(name: str, image: Image.Image, **options: object) -> None:
        image.save(folder / name, **options)

    def halves(left: object, right: object, mode: str, height: int = 12, width: int = 16) -> Image.Image:
        image = Image.new(mode, (width, height), left)  # type: ignore[arg-type]
        image.paste(Image.new(mode, (width // 2, height), right), (width // 2, 0))  # type: ignore[arg-type]
        return image

    rgba = halves(RED, CLEAR, "RGBA")
    save("alpha.png", rgba)
    save(
        "animated.gif",
        halves(RED[:3], (255, 255, 255), "RGB"),
        save_all=True,
        append_images=[Image.new("RGB", (16, 12))],
    )
    save("cmyk.jpg", halves(RED[:3], (255, 255, 255), "RGB", 48, 64).convert("CMYK"), quality=95)
    exif = Image.Exif()
    exif[274] = 6  # to be turned by a quarter, clockwise: the stored picture is turned back
    save("exif.jpg", halves(RED[:3], (255, 255, 255), "RGB", 48, 64).rotate(90, expand=True), exif=exif, quality=95)
    save("grey-alpha.png", halves((78, 255), (78, 0), "LA", 24, 32))
    deep = np.full((12, 16), 78 * 257, np.uint16)
    deep[:, 8:] = 65_535
    save("grey16.png", Image.fromarray(deep))
    palette = Image.new("P", (16, 12), 0)
    palette.putpalette([*RED[:3], 1, 2, 3])
    palette.paste(1, (8, 0, 16, 12))
    save("palette.png", palette, transparency=1)
    save("tall.png", halves(RED[:3], (255, 255, 255), "RGB", 400, 160))
    save("webp.webp", rgba, lossless=True)
    return folder


def test_each_file_becomes_what_it_shows(mixed: Path) -> None:
    data = open_data(str(mixed))
    images = np.concatenate([data.train.rows, data.heldout.rows])
    assert images.shape == (9, 12, 16, 3) and not data.skipped
    left, right = images[:, 3:9, 3:6], images[:, 3:9, 10:13]
    np.testing.assert_allclose(right, 255, atol=3)
    greys = [k for k in range(9) if abs(int(left[k, 0, 0, 0]) - 78) < 4]
    assert len(greys) == 2  # the two grey files: 78 in every channel
    for k in range(9):
        wanted = (78, 78, 78) if k in greys else RED[:3]
        np.testing.assert_allclose(left[k], np.broadcast_to(wanted, left[k].shape), atol=6)  # JPEG and palettes round
    assert any("4 of 9 images have another size" in note for note in data.notes)


def test_large_pictures_are_noted(folder: Path) -> None:
    Image.new("RGB", (200, 100)).save(folder / "a.png")
    assert any("--size 64" in note for note in open_data(str(folder)).notes)
    assert not any("--size 64" in note for note in open_data(str(folder), size=150).notes)


def test_names_lie_about_formats(folder: Path) -> None:
    png = io.BytesIO()
    Image.new("RGB", (5, 4), RED[:3]).save(png, "PNG")
    (folder / "a.jpg").write_bytes(png.getvalue())
    assert open_data(str(folder)).train.rows[0, 0, 0].tolist() == list(RED[:3])
