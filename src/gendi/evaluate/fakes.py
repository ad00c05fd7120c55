"""The fakes of pictures in words: what metrics are asked about, and may take for real images."""

from collections.abc import Iterable

FAKES = {
    "noise": "coloured noise",
    "blurred": "blurred images",
    "blobs": "smooth blobs",
    "shuffled": "images with shuffled patches",
    "means": "means of images",
    "copies": "copies",
    "missing classes": "real images without the classes of a tenth of the data",
    "ignored classes": "images that have nothing to do with the class",
}
"""The controls in words, by their names."""


def fakes_in_words(names: Iterable[str]) -> str:
    """Return the fakes of these names, joined by commas; a name without words stands for itself."""
    return ", ".join(FAKES.get(name, name) for name in names)
