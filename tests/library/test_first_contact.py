"""What a person sees first: the names of the package, pictures, and what objects show of themselves."""

import dataclasses

import numpy as np
import pytest
import torch

import gendi
from gendi.data.dataset import Data
from gendi.data.images.codec import ImageCodec
from gendi.data.split import Split, class_spec
from gendi.diffusion.gaussian.likelihood.result import Bound, Density, Estimate
from gendi.errors import DataError, UsageError
from gendi.evaluate.result import Check, Evaluation, Metric

BYTES = np.arange(2 * 4 * 5, dtype=np.uint8).reshape(2, 4, 5, 1)


def test_dir_lists_what_there_is_and_nothing_else() -> None:
    names = [name for name in dir(gendi) if not name.startswith("__")]
    assert set(names) == set(gendi.__all__) - {"__version__"}
    assert {"fit", "sample", "measure", "load", "show", "inpaint", "vary"} <= set(names)


@pytest.mark.parametrize("images", [BYTES, BYTES[..., 0], torch.from_numpy(BYTES), list(BYTES), list(BYTES[..., 0])])
def test_pictures_are_laid_out_in_rows(images: object) -> None:
    """Two pictures of 4 x 5 beside each other, enlarged by 2, with a gap of 2 around each."""
    sheet = gendi.show(images, columns=2, scale=2)
    assert sheet.size == (2 + 10 + 2 + 10 + 2, 2 + 8 + 2)
    pixels = np.asarray(sheet)
    assert (pixels[2:10:2, 2:12:2] == BYTES[0, ..., 0]).all() and (pixels[2:10:2, 14:24:2] == BYTES[1, ..., 0]).all()


def test_one_picture_is_shown_too() -> None:
    assert gendi.show(np.zeros((28, 28), np.uint8), scale=1).size == (32, 32)
    assert gendi.show(np.zeros((28, 20, 3), np.uint8), scale=1).size == (24, 32)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (BYTES / 255, "float64"),
        ("a picture", "a str"),
        (np.zeros((2, 3, 4, 5), np.uint8), r"\(2, 3, 4, 5\)"),
        ([], r"shape"),
        ([BYTES[0], BYTES[0, :2]], "one size"),
    ],
)
def test_what_is_no_picture_is_refused(images: object, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        gendi.show(images)


def test_the_codec_takes_numpy_bytes() -> None:
    codec = ImageCodec(1, 4, 5)
    assert torch.equal(codec.encode(BYTES), codec.encode(torch.from_numpy(BYTES)))
    with pytest.raises(DataError, match=r"bytes from 0 to 255 \(uint8\), not float64"):
        codec.encode(BYTES / 255)


def test_data_say_what_they_hold_and_a_notebook_shows_some() -> None:
    from gendi.data.kinds import KINDS

    split = Split(BYTES, {"class": np.array([0, 1])})
    data = Data(
        name="small",
        spec="small.npz",
        train=split,
        heldout=split,
        conditions=(class_spec(["ant", "<bee>"]),),
        fingerprint="0",
        codec=ImageCodec(1, 4, 5),
        skipped=(),
        notes=(),
        kind="image",
        preview=KINDS["image"].preview,
    )
    assert len(repr(data)) < 200 and "for training: 2" in repr(data) and "class (2 classes)" in repr(data)
    assert repr(split) == "Split(2 rows of shape (4, 5, 1), conditions: class)"
    html = data._repr_html_()
    assert "data:image/png;base64," in html and "<bee>" not in html


def metrics() -> Evaluation:
    fid = Metric("fid-digits", 2.2, 0.25, "lower", interval=(2.0, 2.4))
    return Evaluation(64, 0, "mnist", "0", "train", 64, "test", 64, (), (fid, Metric("<recall>", None, 0.5, "higher")))


def test_the_table_of_an_evaluation_prints_as_one() -> None:
    lines = str(metrics().table()).splitlines()
    assert lines[0].split() == ["metric", "value", "95%", "interval", "floor", "better"]
    assert lines[1].split() == ["fid-digits", "2.2", "2", "to", "2.4", "0.25", "lower"]
    assert lines[2].split() == ["<recall>", "-", "-", "0.5", "higher"]
    assert len({line.index(word) for line, word in zip(lines, ("better", "lower", "higher"), strict=True)}) == 1
    assert [row.name for row in metrics().table()] == ["fid-digits", "<recall>"]


def test_the_table_says_what_is_no_grade_and_what_passes() -> None:
    """Precision takes noise for real pictures, recall lies inside its gate, and the distance outside."""
    rows = (
        Metric("fid-pixels", 2.2, 0.25, "lower", check=Check(64, 2.3, (None, 0.4), {"noise": 9.0}, ())),
        Metric("precision-pixels", 0.9, 0.8, "higher", check=Check(64, 0.9, (0.7, None), {"noise": 0.95}, ("noise",))),
        Metric("recall-pixels", 0.8, 0.8, "higher", gate=(0.7, None)),
        Metric("near-copies", 0.0, 0.01, "lower"),
    )
    table = dataclasses.replace(metrics(), metrics=rows).table()
    assert [row.as_real for row in table] == ["FAIL", "no grade", "pass", None]
    lines = str(table).splitlines()
    assert lines[0].endswith("as real?") and [line.split()[1] for line in lines[1:4]] == ["2.2", "(0.9)", "0.8"]


def test_an_evaluation_is_short_and_shows_its_table_in_a_notebook() -> None:
    assert len(repr(metrics())) < 200 and "fid-digits 2.2 (floor 0.25)" in repr(metrics())
    html = metrics()._repr_html_()
    assert "<td>fid-digits</td>" in html and "<recall>" not in html


def bound(discretised: bool) -> Bound:
    parts = [torch.tensor(values, dtype=torch.float64) for values in ([0.01, 0.01], [0.5, 0.7], [0.1, 0.1])]
    edges, cost = torch.linspace(0, 1, 3, dtype=torch.float64), torch.tensor([0.2, 0.4], dtype=torch.float64)
    return Bound(*parts, edges, cost, 0.0, 3, 2, "small", discretised, 1e-3)


def test_a_bound_of_bytes_shows_bits_and_one_of_other_data_nats() -> None:
    """The mean of 0.61 and 0.81 is 0.71 nats with a standard error of 0.1; over ln 2 they are 1.024 and 0.144 bits."""
    assert "1.02 ± 0.14 bits per dimension" in repr(
        bound(True)
    ) and "prior 0.01443, steps 0.8656, decoder 0.1443" in repr(bound(True))
    assert "0.71 ± 0.10 nats per dimension" in repr(bound(False)) and "model space" in repr(bound(False))
    assert bound(True).bits == pytest.approx(0.71 / np.log(2))
    assert repr(Estimate(0.71, 0.1)) == "1.02 ± 0.14 bits per dimension (0.71 ± 0.10 nats)"


def test_a_density_shows_its_unit() -> None:
    values, calls = torch.tensor([0.61, 0.81], dtype=torch.float64), torch.full((2,), 30.0, dtype=torch.float64)
    of_bytes = Density(values, 0.0, calls, "exact", "normal", 1e-3, 1e-5, 1e-5, 0.0)
    assert "1.02 ± 0.14 bits per dimension" in repr(of_bytes) and "30 calls each" in repr(of_bytes)
    assert "nats" in repr(Density(values, 0.0, calls, "exact", "none", 1e-3, 1e-5, 1e-5, 0.0))
