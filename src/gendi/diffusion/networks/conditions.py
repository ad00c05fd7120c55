"""How the conditions of each sample enter a network.

    via embedding     a vector (B, dim), added to the embedding of the noise level
    via tokens        tokens (B, M, dim) for cross-attention: one for each condition, or one for each patch of a picture
    via channels      planes (B, C, H, W) of a picture, concatenated with x at the stem

The vector of a condition, or of a patch of a picture, is computed from the values of its kind:

    class             a row of a table
    tags              the sum of the rows of the tags that apply
    value             u = (value - mean) / std, and sin, cos of 2^n pi u, n = -3 ... 3 -> linear, SiLU, linear
    vector            (vector - mean) / std -> linear, SiLU, linear
    image             patches of 4 x 4 pixels -> linear, plus the sinusoids of their place

For a null row (see `gendi.diffusion.conditions`), the result is replaced by a learned row of the condition. No NaN is
multiplied by a weight, and the result for a null row does not depend on the other rows. A condition that is absent is
null in every row. A null picture has one null token, and its other tokens are masked.
"""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gendi.diffusion.conditions import as_keyword, by_name, is_null
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.networks.attention import Tokens, grid_sinusoids
from gendi.diffusion.networks.embeddings import pad_to_multiple
from gendi.errors import UsageError, unknown_name

EXPONENTS = range(-3, 4)
"""Exponents n of the sinusoids sin(2^n pi u) of a value u of standard deviation 1."""
TOKEN_PATCH = 4
"""Pixels along a side of a token of a picture."""


class RowEmbedding(nn.Module):
    """Maps a condition with one row of numbers for each sample to (B, dim)."""

    body: nn.Module

    def __init__(self, spec: ConditionConfig, dim: int) -> None:
        super().__init__()
        self.spec = spec
        self.null = nn.Parameter(torch.randn(dim))
        if spec.kind == "class":
            # what nn.Embedding draws by itself, but without memory it would load torch's compiler, in seconds
            table = torch.randn(spec.size, dim)
            self.body = nn.Embedding.from_pretrained(table, freeze=False)  # type: ignore[no-untyped-call]
        elif spec.kind == "tags":
            self.body = nn.Linear(spec.size, dim, bias=False)
        else:
            features = 1 + 2 * len(EXPONENTS) if spec.kind == "value" else spec.size
            self.body = nn.Sequential(nn.Linear(features, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, value: Tensor | None, batch: int) -> Float[Tensor, "b dim"]:
        if value is None:
            return self.null.expand(batch, -1)
        spec, kind = self.spec, self.spec.kind
        check(spec, value, (batch,) if kind in ("class", "value") else (batch, spec.size))
        null = is_null(value)[:, None]
        if kind == "class":
            out = self.body(value.clamp(min=0))
        else:
            rows = torch.where(null, 0.0, value.reshape(batch, -1))
            rows = rows if kind == "tags" else (rows - spec.mean) / spec.std
            out = self.body(features_of(rows) if kind == "value" else rows)
        return torch.where(null, self.null.to(out), out)


def features_of(u: Float[Tensor, "b 1"]) -> Float[Tensor, "b features"]:
    """Return u, and the sine and cosine of 2^n pi u for each n of `EXPONENTS`."""
    angles = torch.cat([2.0**n * math.pi * u for n in EXPONENTS], dim=1)
    return torch.cat([u, angles.sin(), angles.cos()], dim=1)


class PictureTokens(nn.Module):
    """Maps a picture (B, C, H, W) to tokens (B, M, dim), one for each of its patches."""

    def __init__(self, spec: ConditionConfig, dim: int) -> None:
        super().__init__()
        self.spec = spec
        self.null = nn.Parameter(torch.randn(dim))
        self.body = nn.Linear(spec.size * TOKEN_PATCH**2, dim)

    def forward(self, value: Tensor | None, batch: int) -> tuple[Tensor, Tensor]:
        if value is None:
            return self.null.expand(batch, 1, -1), torch.ones(batch, 1, dtype=torch.bool, device=self.null.device)
        check(self.spec, value, (batch, self.spec.size, *value.shape[2:]))
        null = is_null(value)
        x = pad_to_multiple(torch.where(null[:, None, None, None], 0.0, value), TOKEN_PATCH)
        x = F.pixel_unshuffle(x, TOKEN_PATCH)
        tokens = self.body(x.flatten(2).transpose(1, 2))
        tokens = tokens + grid_sinusoids(x.shape[2], x.shape[3], tokens.shape[-1], x.device).to(tokens)
        first = torch.arange(tokens.shape[1], device=x.device) == 0
        return torch.where(null[:, None, None], self.null.to(tokens), tokens), first | ~null[:, None]


class PicturePlanes(nn.Module):
    """Maps a picture (B, C, H', W') to planes (B, C, H, W) of the size of x, by bilinear interpolation."""

    def __init__(self, spec: ConditionConfig) -> None:
        super().__init__()
        self.spec = spec
        self.null = nn.Parameter(torch.zeros(spec.size, 1, 1))

    def forward(self, value: Tensor | None, x: Tensor) -> Tensor:
        if value is None:
            return self.null.to(x).expand(len(x), -1, *x.shape[2:])
        check(self.spec, value, (len(x), self.spec.size, *value.shape[2:]))
        null = is_null(value)[:, None, None, None]
        if value.shape[2:] != x.shape[2:]:
            value = F.interpolate(value, size=x.shape[2:], mode="bilinear", antialias=True)
        return torch.where(null, self.null, value).to(x)


class ConditionEmbedding(nn.Module):
    """All conditions of a network, grouped by the way in which they enter; one module each, in the order of `specs`.

    The conditions are given by their keywords (`gendi.diffusion.conditions.keywords`).
    """

    def __init__(self, specs: Sequence[ConditionConfig], dim: int) -> None:
        super().__init__()
        self.specs = tuple(specs)
        self.each = nn.ModuleList(_module(spec, dim) for spec in specs)

    @property
    def planes(self) -> int:
        """The number of channels that `beside` adds."""
        return sum(spec.size for spec in self.specs if spec.via == "channels")

    @property
    def has_tokens(self) -> bool:
        """Whether any condition enters by tokens."""
        return any(spec.via == "tokens" for spec in self.specs)

    def _via(self, via: str) -> list[tuple[ConditionConfig, nn.Module]]:
        return [(spec, module) for spec, module in zip(self.specs, self.each, strict=True) if spec.via == via]

    def forward(self, cond: Mapping[str, Tensor], like: Tensor) -> Tensor:
        """Return the sum (B, dim) of the embeddings for `like` (B, dim). Raises `UsageError` for an unknown name."""
        for name in by_name(cond):
            if name not in (names := [spec.name for spec in self.specs]):
                raise unknown_name("condition", name, names)
        out = torch.zeros_like(like)
        for spec, module in self._via("embedding"):
            out = out + module(cond.get(as_keyword(spec.name)), len(like))
        return out

    def tokens(self, cond: Mapping[str, Tensor], batch: int) -> Tokens | None:
        """Return the tokens (B, M, dim) and the mask of those that are there; None if no condition enters by tokens."""
        parts, there, pictures = [], [], False
        for spec, module in self._via("tokens"):
            if spec.kind == "image":
                tokens, mask = module(cond.get(as_keyword(spec.name)), batch)
                pictures = True
            else:
                tokens = module(cond.get(as_keyword(spec.name)), batch)[:, None]
                mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
            parts.append(tokens)
            there.append(mask)
        return (torch.cat(parts, 1), torch.cat(there, 1) if pictures else None) if parts else None

    def beside(self, cond: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Return x (B, C, H, W), followed by the planes of the conditions that enter as channels."""
        planes = [module(cond.get(as_keyword(spec.name)), x) for spec, module in self._via("channels")]
        return torch.cat([x, *planes], 1) if planes else x


def _module(spec: ConditionConfig, dim: int) -> nn.Module:
    if spec.via == "channels":
        return PicturePlanes(spec)
    return PictureTokens(spec, dim) if spec.kind == "image" else RowEmbedding(spec, dim)


def check(spec: ConditionConfig, value: Tensor, shape: tuple[int, ...]) -> None:
    """Raise `UsageError` if a condition has another shape, or other numbers than its kind requires."""
    if value.shape != shape or value.is_floating_point() == (spec.kind == "class"):
        kind = "whole numbers" if spec.kind == "class" else "floats"
        raise UsageError(f"{spec.name} must be {kind} of shape {shape}; got {value.dtype} of {tuple(value.shape)}.")
