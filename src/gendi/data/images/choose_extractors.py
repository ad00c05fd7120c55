"""The feature networks of an evaluation: those that are named, or the one that suits the data.

Which one suits cannot be known beforehand; the fakes of `gendi.data.images.controls` decide:

1. MNIST at its own size has the digit classifier that comes with gendi.
2. Any other data with 200 training pictures or more have a network that is trained on them
   (`gendi.data.images.learned_features`), if its distances catch every fake.
3. Otherwise it is the one that misses the fewest fakes: that network, Inception, if its weights are on this machine, or
   the pixels.
4. Data with fewer pictures have their pixels.
"""

from collections.abc import Sequence
from typing import Any

from gendi.data.dataset import Data
from gendi.data.images.control_checks import DISTANCES, ControlCheck
from gendi.data.images.extractors import EXTRACTORS, Extractor, ModuleExtractor, get_extractor
from gendi.data.images.inception import installed_weights
from gendi.data.images.learned_features import FEWEST, Learned, kept_or_trained, learned_network, to_input
from gendi.errors import UsageError, unknown_name
from gendi.machine.stopping import Poll

Named = str | Extractor
LEARNED = "learned"


class LearnedExtractor(ModuleExtractor):
    """The extractor of a network that was trained on the data themselves."""

    def __init__(self, learned: Learned, **options: Any) -> None:
        super().__init__(learned.network, name=LEARNED, transform=to_input, resize=learned.resize, **options)
        self.learned = learned


def learned_alone(data: Data, poll: Poll | None = None) -> LearnedExtractor:
    """Return the extractor of the network that learns from the data, for a process that asks for it alone."""
    return LearnedExtractor(kept_or_trained(data, poll))


def digits_suit(data: Data) -> bool:
    """Return whether gendi's own digit classifier is for these data."""
    return data.name == "mnist" and tuple(data.train.rows.shape[1:]) == (28, 28, 1)


def choose_extractors(
    named: Named | Sequence[Named],
    data: Data,
    batch_size: int | None,
    device: str,
    *,
    n: int,
    seed: int = 0,
    poll: Poll | None = None,
) -> tuple[list[Extractor], list[str]]:
    """Return the extractors of an evaluation of n pictures, and notes on those that were trained or chosen.

    Raises `UsageError` for an unknown name, a name that occurs twice, none at all, or a batch size below 1.
    """
    several = [named] if isinstance(named, str | Extractor) else list(named)
    if not several:
        raise UsageError("No feature extractor was named.")
    options: dict[str, Any] = {"device": device}
    if batch_size is not None:
        if batch_size < 1:
            raise UsageError(f"batch_size = {batch_size} is out of range: it must be 1 or more.")
        options["batch_size"] = batch_size
    out: list[Extractor] = []
    notes: list[str] = []
    for each in several:
        if each == "auto":
            found, said = _suiting(data, options, n, seed, poll)
            notes += said
        else:
            found = _named(each, data, options, poll) if isinstance(each, str) else each
        out.append(found)
    if len({each.name for each in out}) < len(out):
        raise UsageError(f"An extractor is named twice: {', '.join(each.name for each in out)}.")
    notes += [each.learned.in_words() for each in out if isinstance(each, LearnedExtractor)]
    return out, notes


def _named(name: str, data: Data, options: dict[str, Any], poll: Poll | None) -> Extractor:
    if name == LEARNED:
        return LearnedExtractor(learned_network(data, poll), **options)
    if name not in EXTRACTORS:
        raise unknown_name("feature extractor", name, [*EXTRACTORS, LEARNED])
    return get_extractor(name, **options)


def _suiting(data: Data, options: dict[str, Any], n: int, seed: int, poll: Poll | None) -> tuple[Extractor, list[str]]:
    """Return the extractor that suits the data, and notes on the choice."""
    if digits_suit(data):
        return get_extractor("digits", **options), []
    if len(data.train) < FEWEST:
        return get_extractor("pixels", **options), []
    learned = _named(LEARNED, data, options, poll)
    check = ControlCheck(learned, data, n, seed, poll)
    if not any(check.missed(name) for name in check.gates if name in DISTANCES):
        return learned, []
    others = ["pixels"]
    if installed_weights() is not None and data.train.rows.shape[-1] in (1, 3):
        others.insert(0, "inception")
    misses: dict[str, tuple[int, Extractor]] = {LEARNED: (check.misses, learned)}
    for name in others:
        each = get_extractor(name, **options)
        misses[name] = ControlCheck(each, data, n, seed, poll).misses, each
    best = min(misses, key=lambda name: misses[name][0])
    told = ", ".join(f"{name} misses {count}" for name, (count, _) in misses.items())
    return misses[best][1], [f"{best} was chosen, as it misses the fewest fakes, counted over its metrics: {told}."]
