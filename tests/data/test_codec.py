import json
import math

import numpy as np
import pytest
import torch

from gendi.data import codec_from_dict
from gendi.data.images.codec import ImageCodec
from gendi.errors import BundleError, DataError, DivergedError

EVERY_BYTE = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1)


def test_every_byte_comes_back() -> None:
    codec = ImageCodec(1, 16, 16)
    assert torch.equal(codec.decode(codec.encode(EVERY_BYTE)), EVERY_BYTE)


def test_bytes_become_their_formula() -> None:
    x = ImageCodec(1, 16, 16).encode(EVERY_BYTE)
    expected = np.arange(256) / 127.5 - 1
    assert x.dtype == torch.float32
    # two float32 roundings of numbers up to 2
    np.testing.assert_allclose(x.flatten().double(), expected, atol=2 * 2**-23, rtol=0)
    assert x.min() == -1
    assert x.max() == 1


def test_channels_move_first_and_back() -> None:
    images = torch.arange(2 * 3 * 5 * 4, dtype=torch.uint8).reshape(2, 3, 5, 4)
    codec = ImageCodec(channels=4, height=3, width=5)
    x = codec.encode(images)
    assert x.shape == (2, 4, 3, 5)
    assert x.is_contiguous()
    assert codec.decode(x[:, 2:3].expand(2, 4, 3, 5))[1, 2, 4, 0] == images[1, 2, 4, 2]
    assert torch.equal(codec.decode(x), images)
    assert images[0, 0, 1, 0] == 4, "encode must not write into its input"


def test_values_beyond_the_range_are_clamped_and_the_nearest_byte_is_taken() -> None:
    codec = ImageCodec(1, 1, 6)
    step = 2 / 255
    x = torch.tensor([-7.0, math.inf, 1.001, -1 + 0.49 * step, -1 + 0.51 * step, 1 - 0.51 * step])
    assert codec.decode(x.reshape(1, 1, 1, 6)).flatten().tolist() == [0, 255, 255, 0, 1, 254]


def test_low_precision_is_decoded_in_float32() -> None:
    x = torch.full((1, 1, 1, 1), 0.5, dtype=torch.bfloat16)
    assert ImageCodec(1, 1, 1).decode(x).item() == round(1.5 * 127.5)


def test_half_bin_is_half_the_distance_of_neighbours() -> None:
    x = ImageCodec(1, 16, 16).encode(EVERY_BYTE).double().flatten()
    assert ImageCodec.half_bin == pytest.approx(float(x.diff().mean()) / 2, rel=1e-7)


def test_log2_scale_makes_uniform_bytes_cost_eight_bits() -> None:
    # Bytes dequantised over bins of width 2 half_bin fill 256 bins with the uniform density 1 / (256 * 2 half_bin).
    bits_in_model_space = math.log2(256 * 2 * ImageCodec.half_bin)
    assert bits_in_model_space + ImageCodec.log2_scale == pytest.approx(8, abs=1e-12)


@pytest.mark.parametrize("shape", [(16, 16, 1), (1, 16, 15, 1), (1, 16, 16, 3), (1, 1, 16, 16)])
def test_wrong_shape_is_refused(shape: tuple[int, ...]) -> None:
    codec = ImageCodec(1, 16, 16)
    with pytest.raises(DataError, match=r"height 16, width 16 and 1 channel"):
        codec.encode(torch.zeros(shape, dtype=torch.uint8))
    with pytest.raises(DataError):
        ImageCodec(3, 4, 4).decode(torch.zeros(shape))


def test_wrong_dtype_is_refused() -> None:
    codec = ImageCodec(1, 2, 2)
    with pytest.raises(DataError, match="float32"):
        codec.encode(torch.zeros(1, 2, 2, 1))
    with pytest.raises(DataError, match="uint8"):
        codec.decode(torch.zeros(1, 1, 2, 2, dtype=torch.uint8))


def test_nan_is_no_pixel() -> None:
    with pytest.raises(DivergedError, match="NaN"):
        ImageCodec(1, 1, 1).decode(torch.full((1, 1, 1, 1), math.nan))


def test_a_codec_survives_json() -> None:
    codec = ImageCodec(3, 96, 64)
    assert codec_from_dict(json.loads(json.dumps(codec.to_dict()))) == codec
    assert codec.shape == (3, 96, 64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "os.system"}, "no codec of kind 'os.system'"),
        ({"kind": None}, "no codec of kind None"),
        ({"channels": 0}, "channels is 0"),
        ({"height": 10**9}, "height is 1000000000"),
        ({"width": 2.0}, "width is 2.0"),
        ({"width": True}, "width is True"),
        ({"extra": 1}, "check extra"),
    ],
)
def test_foreign_codec_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        codec_from_dict({**ImageCodec(1, 2, 2).to_dict(), **change})


def test_codec_that_is_no_table_or_lacks_a_field_is_refused() -> None:
    with pytest.raises(BundleError, match="list"):
        codec_from_dict([])
    with pytest.raises(BundleError, match="check width"):
        codec_from_dict({"kind": "image", "channels": 1, "height": 1})
