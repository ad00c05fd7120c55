"""Fakes of pictures that every honest metric must catch, made of real pictures.

- **noise**: a Gaussian field with the mean picture, the spectrum and the colours of the data, but without any shape.
- **blurred**: real pictures under a Gaussian blur.
- **blobs**: real pictures under a strong blur, with their contrast restored, as a model draws them that has hardly
  begun to train.
- **shuffled**: the patches of a 4 x 4 grid change places within each picture: parts are right, the whole is not.
- **means**: means of sixteen pictures, of one class where there are classes: typical, and like no single picture.
- **copies**: training pictures themselves. Only a search for copies can catch these.
"""

import numpy as np
from jaxtyping import Int64, UInt8

from gendi.diffusion.randomness import stream

Pictures = UInt8[np.ndarray, "_ height width channels"]
Labels = Int64[np.ndarray, " _"]
FAKES = ("noise", "blurred", "blobs", "shuffled", "means")
"""The controls that metrics of quality and of variety must catch."""
BLUR, BLOB = 1 / 20, 1 / 8
"""Standard deviations of the blurs, as shares of the shorter side."""
GRID, AVERAGED = 4, 16


def make_controls(pictures: Pictures, labels: Labels | None, n: int, seed: int) -> dict[str, Pictures]:
    """Return n fakes of each kind in `FAKES`, made of real pictures (N, H, W, C) and their classes (N,), if any."""
    rng = stream(seed, "picture controls")
    chosen = pictures[rng.integers(0, len(pictures), n) if n > len(pictures) else rng.permutation(len(pictures))[:n]]
    side = min(pictures.shape[1:3])
    return {
        "noise": spectral_noise(pictures, n, rng),
        "blurred": blurred(chosen, max(BLUR * side, 0.8)),
        "blobs": blobs(chosen, max(BLOB * side, 1.6)),
        "shuffled": shuffled_patches(chosen, rng),
        "means": mean_pictures(pictures, labels, n, rng),
    }


def spectral_noise(pictures: Pictures, n: int, rng: np.random.Generator) -> Pictures:
    """Return n Gaussian fields that have the mean picture and the cross-spectra of the channels of real pictures.

    With the discrete Fourier transform X(w) of the centred pictures, the spectrum is S(w) = E X(w) X(w)*, a matrix over
    channels. A field is the inverse transform of S(w)^(1/2) Z(w), where Z is that of white noise.
    """
    mean = pictures.mean(axis=0, dtype=np.float64)
    spectrum = np.zeros((*mean.shape, mean.shape[-1]), np.complex128)
    for start in range(0, len(pictures), 256):
        waves = np.fft.fft2(pictures[start : start + 256] - mean, axes=(1, 2))
        spectrum += np.einsum("nhwc,nhwd->hwcd", waves, waves.conj())
    values, vectors = np.linalg.eigh(spectrum / (len(pictures) * mean.shape[0] * mean.shape[1]))
    root = (vectors * np.sqrt(np.maximum(values, 0))[..., None, :]) @ vectors.conj().swapaxes(-1, -2)
    white = np.fft.fft2(rng.standard_normal((n, *mean.shape)), axes=(1, 2))
    field = np.fft.ifft2(np.einsum("hwcd,nhwd->nhwc", root, white), axes=(1, 2)).real
    return _bytes(mean + field)


def blurred(pictures: Pictures, sigma: float) -> Pictures:
    """Return the pictures under a Gaussian blur of `sigma` pixels, which repeats the pixels at the border."""
    return _bytes(_blur(pictures, sigma))


def blobs(pictures: Pictures, sigma: float) -> Pictures:
    """Return the pictures under a blur of `sigma` pixels, with the standard deviation of each one's channels restored.

    The blur hardly moves the mean of a channel.
    """
    smooth = _blur(pictures, sigma)
    mean = smooth.mean(axis=(1, 2), keepdims=True)
    wanted, left = (x.std(axis=(1, 2), keepdims=True) for x in (pictures.astype(np.float64), smooth))
    return _bytes(mean + (smooth - mean) * np.where(left > 0, wanted / np.maximum(left, 1e-9), 1.0))


def shuffled_patches(pictures: Pictures, rng: np.random.Generator) -> Pictures:
    """Return the pictures with the patches of a 4 x 4 grid permuted within each; a rest at the border stays."""
    height, width = (max(1, side // GRID) for side in pictures.shape[1:3])
    rows, columns = min(GRID, pictures.shape[1]), min(GRID, pictures.shape[2])
    out = pictures.copy()
    for i, picture in enumerate(pictures):
        order = rng.permutation(rows * columns)
        for to, source in enumerate(order.tolist()):
            (a, b), (c, d) = divmod(to, columns), divmod(source, columns)
            out[i, a * height : (a + 1) * height, b * width : (b + 1) * width] = picture[
                c * height : (c + 1) * height, d * width : (d + 1) * width
            ]
    return out


def mean_pictures(pictures: Pictures, labels: Labels | None, n: int, rng: np.random.Generator) -> Pictures:
    """Return n means of sixteen random pictures, each of the class of one random picture where there are classes."""
    everyone = np.arange(len(pictures))
    out = np.empty((n, *pictures.shape[1:]))
    for i in range(n):
        group = everyone if labels is None else np.flatnonzero(labels == labels[rng.integers(len(labels))])
        out[i] = pictures[rng.choice(group, AVERAGED)].mean(axis=0)
    return _bytes(out)


def _blur(pictures: Pictures, sigma: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(pictures.astype(np.float64), (0, sigma, sigma, 0), mode="nearest"))


def _bytes(values: np.ndarray) -> Pictures:
    return np.asarray(np.rint(np.clip(values, 0, 255)), np.uint8)
