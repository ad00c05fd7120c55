"""The configuration of a network. This module does not import torch."""

from dataclasses import dataclass
from typing import Literal

NetworkKind = Literal["unet", "dit", "mlp", "sequence"]
Resample = Literal["conv-narrow", "conv", "residual"]
Inject = Literal["film", "add", "concat"]
Positions = Literal["sinusoidal", "rotary"]
Output = Literal["linear", "bytes"]


@dataclass(frozen=True)
class NetworkConfig:
    """The network: a U-Net, a transformer of patches (DiT) or of tokens, or residual blocks over a vector (MLP)."""

    kind: NetworkKind | str = "unet"
    """`unet` and `dit` are for images, `mlp` for vectors, `sequence` for tokens."""
    channels: tuple[int, ...] = (64, 128)
    """Width of each level, finest first; each level after the first halves height and width. A DiT or an MLP has only
    one width.
    """
    blocks: int | tuple[int, ...] = 2
    """Residual blocks per level on the way down (one more on the way up): one number, or one for each level. In a DiT
    or an MLP, the number of blocks.
    """
    patch: int = 1
    """Patchify at the stem: patch x patch pixels become the channels of one, which makes every level cheaper. In a DiT,
    the size of a token.
    """
    attention: tuple[int, ...] = ()
    """Levels (0 = finest) of the U-Net that get self-attention."""
    middle_attention: bool = False
    """Put one self-attention between the two blocks in the middle; otherwise these are built like the coarsest level.
    """
    heads: int | tuple[int, ...] = 4
    """Attention heads: one number, or one for each level."""
    head_dim: int = 0
    """Channels per attention head, instead of `heads` (0 = use `heads`)."""
    resample: Resample = "conv-narrow"
    """Between levels of the U-Net: `conv` is a convolution that keeps the width (Ho et al. 2020), `conv-narrow` changes
    to the finer level's width on the way up, which is cheaper, `residual` is a residual block (Dhariwal & Nichol 2021).
    """
    inject: Inject = "film"
    """How time and conditions enter each block: a scale and a shift after the norm (AdaGN; in the DiT AdaLN-zero), an
    added term (Ho et al. 2020), or channels beside the features (in the DiT a token beside the tokens).
    """
    positions: Positions = "sinusoidal"
    """How the positions of a DiT's tokens enter: by sinusoids added to the tokens, or by rotated queries and keys."""
    local_conv: int = 0
    """Tokens along which a convolution of each channel goes before each block of a transformer of sequences; odd, or 0
    for none.
    """
    expand: int = 4
    """Hidden width of a block, as a multiple of its width, in the DiT and the MLP."""
    dropout: float = 0.0
    """Dropout probability inside each residual block."""
    time_dim: int = 256
    """Width of the embedding of time and conditions."""
    time_features: int = 0
    """Sinusoids of the noise level that this embedding is computed from (0 = half its width)."""
    groups: int = 8
    """Groups of GroupNorm (the paper's network: 32)."""
    time_input: Literal["log-snr", "step"] = "log-snr"
    """What the sinusoids are computed from: EDM's c_noise = ln(sigma / alpha) / 4, or the integer step of the paper."""
    fourier_features: tuple[int, ...] = ()
    """Exponents n of further inputs. Of pictures they are sin(2^(n-7) pi y) and cos(2^(n-7) pi y), where y is x in
    bytes: n = 8 shows the distance to the nearest byte. Of vectors (MLP) they are sin(2^n pi x) and cos(2^n pi x).
    """

    fourier_fade: bool = False
    """Fade these inputs out where the noise hides them, so that the flow of the ODE is smooth there (with time_input =
    log-snr).
    """
    output: Output = "linear"
    """What the outputs are: the prediction itself, or for pictures (`bytes`) numbers that tilt the histogram of the
    data's bytes, from which the mean of each byte given its noisy value follows by Bayes' rule. The latter needs
    objective.prediction = v and a schedule with alpha^2 + sigma^2 = 1.
    """

    @property
    def depth(self) -> tuple[int, ...]:
        """The number of residual blocks of each level."""
        return (self.blocks,) * len(self.channels) if isinstance(self.blocks, int) else self.blocks

    def heads_at(self, level: int) -> int:
        """Return the number of attention heads of a level."""
        if self.head_dim:
            return self.channels[level] // self.head_dim
        return self.heads if isinstance(self.heads, int) else self.heads[level]

    def ranges(self) -> list[tuple[str, float, float, float]]:
        """Return (name, lowest, highest, value) of every number."""
        heads = (self.heads,) if isinstance(self.heads, int) else self.heads
        return [
            *((f"network.channels[{i}]", 1, 8192, c) for i, c in enumerate(self.channels)),
            ("len(network.channels)", 1, 8, len(self.channels)),
            *(("network.blocks", 1, 64, n) for n in self.depth),
            ("network.patch", 1, 64, self.patch),
            *(("network.heads", 1, 256, n) for n in heads),
            ("network.head_dim", 0, 8192, self.head_dim),
            ("network.local_conv", 0, 255, self.local_conv),
            ("network.expand", 1, 64, self.expand),
            ("network.dropout", 0.0, 0.99, self.dropout),
            ("network.time_dim", 8, 8192, self.time_dim),
            ("network.time_features", 0, 8192, self.time_features),
            ("network.groups", 1, 8192, self.groups),
            *((f"network.fourier_features[{i}]", -8, 16, n) for i, n in enumerate(self.fourier_features)),
        ]
