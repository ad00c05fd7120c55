"""Starting a network from the weights of another one that may differ in its conditions, but in nothing else.

    tensors of the same name and shape    the other network's tensor
    rows of a class or a tag              the other network's row of the class or tag of that name
    planes of a picture                   the other network's columns of the first layer for the condition of that name
    tensors of new conditions             as they were initialised

Conditions are matched by name. A condition that has another kind, way in or width counts as new. Any other difference
is reported as a problem.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.networks.attention import CrossAttention
from gendi.diffusion.networks.conditions import ConditionEmbedding

FIRST = "stem.weight"
"""The first layer, whose input may have planes of conditions beside x."""
MOST_NAMED = 5
"""The most tensors that a message names."""


@dataclass(frozen=True)
class Transfer:
    """The result of a transfer."""

    state: dict[str, Tensor]
    """The tensors of the network, by name."""
    new: tuple[str, ...]
    """The conditions that start anew, and the classes, as `condition: name`, that do."""
    problems: tuple[str, ...]
    """A line for each tensor that cannot be used."""

    def problem(self) -> str:
        """Return the problems as one text, shortened if they are many."""
        more = f"; and {len(self.problems) - MOST_NAMED} more" if len(self.problems) > MOST_NAMED else ""
        return "; ".join(self.problems[:MOST_NAMED]) + more


def transferred(
    network: nn.Module, state: Mapping[str, Tensor], theirs: Sequence[ConditionConfig], unit: int = 1
) -> Transfer:
    """Return the tensors for an untrained network from the tensors of another.

    Args:
        network: the untrained network, which is not changed.
        state: the tensors of the other network, by name.
        theirs: the conditions of the other network, in its order.
        unit: columns of the first layer for each channel, which is the number of pixels of a patch.
    """
    found, new, used = dict(network.state_dict()), list[str](), set[str]()
    problems: list[str] = []
    fresh: set[str] = set()
    for prefix, module in network.named_modules():
        if isinstance(module, ConditionEmbedding):
            for name, value, source, notes in _conditions(prefix, module, state, theirs, found):
                found[name] = value
                fresh.add(name)
                used.add(source)
                new += notes
            if FIRST in found and FIRST in state:
                layer = _first_layer(found[FIRST], state[FIRST], module.specs, theirs, unit)
                if layer is not None:
                    found[FIRST] = layer
                    fresh.add(FIRST)
        elif isinstance(module, CrossAttention) and not any(name.startswith(f"{prefix}.") for name in state):
            fresh |= {f"{prefix}.{name}" for name, _ in module.named_parameters()}
    for name, value in found.items():
        if name in fresh:
            continue
        if name not in state:
            problems.append(f"{name} of shape {tuple(value.shape)} is not there")
        elif state[name].shape != value.shape:
            problems.append(f"{name} has shape {tuple(state[name].shape)} there and {tuple(value.shape)} here")
        else:
            found[name] = state[name].to(value.dtype)
    for name in state:
        if name not in found and name not in used and not _of_conditions(name):
            problems.append(f"{name} of shape {tuple(state[name].shape)} has no place here")
    return Transfer(found, tuple(dict.fromkeys(new)), tuple(problems))


def _of_conditions(name: str) -> bool:
    """Return whether a tensor belongs to a condition, which may be left out."""
    return name.startswith("conditions.") or ".cross." in name


def _conditions(
    prefix: str,
    module: ConditionEmbedding,
    state: Mapping[str, Tensor],
    theirs: Sequence[ConditionConfig],
    found: Mapping[str, Tensor],
) -> Iterator[tuple[str, Tensor, str, list[str]]]:
    """Yield (name, tensor, its name in the other network, what is new) for each tensor of the conditions."""
    places = {spec.name: i for i, spec in enumerate(theirs)}
    for i, spec in enumerate(module.specs):
        place = places.get(spec.name)
        other = None if place is None else theirs[place]
        kept = other is not None and (other.kind, other.via) == (spec.kind, spec.via)
        for name in [name for name in found if name.startswith(f"{prefix}.each.{i}.")]:
            mine = found[name]
            source = f"{prefix}.each.{place}.{name.removeprefix(f'{prefix}.each.{i}.')}"
            taken = state.get(source) if kept else None
            if taken is None or other is None:
                yield name, mine, "", [spec.name]
            elif name.endswith(".body.weight") and spec.kind in ("class", "tags") and spec.via != "channels":
                value, notes = _by_name(mine, taken, spec, other)
                yield name, value, source, notes
            elif taken.shape == mine.shape:
                yield name, taken.to(mine.dtype), source, []
            else:
                yield name, mine, source, [spec.name]


def _by_name(mine: Tensor, taken: Tensor, spec: ConditionConfig, other: ConditionConfig) -> tuple[Tensor, list[str]]:
    """Return the rows of classes or columns of tags, taken from the other network where the names are the same."""
    across = 0 if spec.kind == "class" else 1
    if mine.shape[1 - across] != taken.shape[1 - across]:
        return mine, [spec.name]
    value, known = mine.clone(), {name: i for i, name in enumerate(labels(other))}
    new = [name for name in labels(spec) if name not in known]
    for i, name in enumerate(labels(spec)):
        if name in known:
            value.select(across, i).copy_(taken.select(across, known[name]))
    return value, [f"{spec.name}: {name}" for name in new]


def labels(spec: ConditionConfig) -> tuple[str, ...]:
    """Return the names of classes or tags, or their numbers if they have no names."""
    return spec.names or tuple(map(str, range(spec.size)))


def _first_layer(
    mine: Tensor, taken: Tensor, ours: Sequence[ConditionConfig], theirs: Sequence[ConditionConfig], unit: int
) -> Tensor | None:
    """Return the first layer with the other network's columns for x, and for the planes of conditions of the same name.

    The columns of x come first; each plane of a condition has `unit` columns after them. The result is None if the
    number of columns of x or the width of the layer differs.
    """
    blocks = [[(spec.name, unit * spec.size) for spec in specs if spec.via == "channels"] for specs in (ours, theirs)]
    base, other = (w.shape[1] - sum(n for _, n in block) for w, block in zip((mine, taken), blocks, strict=True))
    if base != other or base <= 0 or mine[:, :base].shape != taken[:, :base].shape:
        return None
    places, start = {}, base
    for name, columns in blocks[1]:
        places[name], start = slice(start, start + columns), start + columns
    value, start = mine.clone(), base
    value[:, :base] = taken[:, :base]
    for name, columns in blocks[0]:
        here, start = slice(start, start + columns), start + columns
        if name in places and taken[:, places[name]].shape == mine[:, here].shape:
            value[:, here] = taken[:, places[name]]
    return value
