"""The rules that the options of each kind of network must satisfy. This module does not import torch."""

from gendi.diffusion.networks.config import NetworkConfig
from gendi.errors import Mend, UsageError


def check_unet(config: NetworkConfig) -> None:
    """Raise `UsageError` naming the first field that a U-Net cannot have."""
    for width in config.channels:
        if width % config.groups:
            near = max(config.groups, round(width / config.groups) * config.groups)
            raise UsageError(
                f"network.channels has {width}, which network.groups = {config.groups} does not divide evenly; {near} "
                "would do."
            ).mended_by(Mend(put={str(width): str(near)}))
    for level in config.attention:
        if not 0 <= level < len(config.channels):
            kept = attention_within(config)
            mend = Mend(add=("--network.attention", *map(str, kept)))
            raise UsageError(
                f"network.attention names level {level}; levels are 0 to {len(config.channels) - 1}, one for each of "
                f"network.channels: --network.attention {' '.join(map(str, kept))} would do."
            ).mended_by(mend)
    levels = set(config.attention)
    if config.middle_attention:
        levels.add(len(config.channels) - 1)
    for level in levels:
        _check_heads(config, level)


def attention_within(config: NetworkConfig) -> tuple[int, ...]:
    """Return the levels with attention, with those that there are not moved to the coarsest one that there is."""
    last = len(config.channels) - 1
    return tuple(sorted({min(max(level, 0), last) for level in config.attention}))


def check_dit(config: NetworkConfig) -> None:
    """Raise `UsageError` naming the first field that a DiT cannot have."""
    _check_one_width(config)
    _check_heads(config, 0)
    width = config.channels[0]
    of, unit = ("of a head", width // config.heads_at(0)) if config.positions == "rotary" else ("of a token", width)
    if unit % 4:
        raise UsageError(
            f"network.positions = {config.positions!r} needs channels in fours, a sine and a cosine of each axis: "
            f"the {unit} {of} are no multiple of 4."
        )


def check_mlp(config: NetworkConfig) -> None:
    """Raise `UsageError` naming the first field that an MLP cannot have."""
    _check_one_width(config)
    if config.patch != 1:
        raise UsageError("network.patch is for images: an mlp takes vectors.")
    if config.output == "bytes":
        raise UsageError("network.output = 'bytes' is for images: an mlp takes vectors.")


def check_sequence(config: NetworkConfig) -> None:
    """Raise `UsageError` naming the first field that a transformer of sequences cannot have."""
    _check_one_width(config)
    _check_heads(config, 0)
    if (unit := config.channels[0] // config.heads_at(0)) % 2:
        raise UsageError(f"rotary positions need an even number of channels in a head: {unit} is odd.")
    if config.local_conv and config.local_conv % 2 == 0:
        raise UsageError(f"network.local_conv = {config.local_conv} has no middle: it must be odd, or 0 for none.")
    if config.patch != 1 or config.fourier_features or config.output == "bytes" or config.inject != "film":
        raise UsageError(
            "network.patch, network.fourier_features, network.output and network.inject are for images: a sequence "
            "transformer takes tokens one by one, and conditions by 'film'."
        )


def sequence_way_in(config: NetworkConfig, name: str, kind: str, via: str) -> None:
    """Raise `UsageError` if the condition `name` cannot enter a transformer of sequences by `via`."""
    if via == "channels" or kind == "image":
        raise UsageError(
            f"{name} is a picture beside a sequence: it enters via 'embedding' or 'tokens' as another kind."
        )


def unet_way_in(config: NetworkConfig, name: str, kind: str, via: str) -> None:
    """Raise `UsageError` if the condition `name` cannot enter a U-Net by `via`."""
    if via == "tokens" and not (config.attention or config.middle_attention):
        raise UsageError(f"{name} enters via 'tokens': give network.attention a level, or set middle_attention.")
    token_way_in(config, name, kind, via)


def mlp_way_in(config: NetworkConfig, name: str, kind: str, via: str) -> None:
    """Raise `UsageError` if the condition `name` cannot enter an MLP by `via`."""
    if via != "embedding":
        raise UsageError(f"{name} enters via {via!r}: an mlp takes conditions via 'embedding' only.")


def token_way_in(config: NetworkConfig, name: str, kind: str, via: str) -> None:
    """Raise `UsageError` if the tokens of a picture cannot be placed on their grid."""
    if kind == "image" and via == "tokens" and config.time_dim % 4:
        raise UsageError(f"network.time_dim = {config.time_dim} must be a multiple of 4: {name} has tokens on a grid.")


def _check_one_width(config: NetworkConfig) -> None:
    if len(config.channels) != 1:
        raise UsageError(f"network.channels has {len(config.channels)} entries: a {config.kind} has one width.")
    if config.attention or config.middle_attention:
        raise UsageError(f"network.attention and middle_attention are for levels of a U-Net: a {config.kind} has none.")


def _check_heads(config: NetworkConfig, level: int) -> None:
    width = config.channels[level]
    if config.head_dim and width % config.head_dim:
        raise UsageError(f"network.head_dim = {config.head_dim} does not divide width {width}.")
    if width % config.heads_at(level):
        raise UsageError(f"network.heads = {config.heads} does not divide width {width}.")
