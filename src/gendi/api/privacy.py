"""Attacks on what samples give away of the training data, from Python."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendi.api.models import Models
from gendi.api.prepared import prepare
from gendi.api.request import Request
from gendi.api.sample import draw
from gendi.data import open_data
from gendi.data.kinds import IN_MEMORY, kind_of
from gendi.errors import UsageError
from gendi.evaluate.vectors.privacy import TIMES
from gendi.machine.stopping import Poll
from gendi.train.kept.bundle import Bundle, load_bundle

if TYPE_CHECKING:
    from gendi.data import Data
    from gendi.evaluate.vectors import Privacy

MOST = 30_000
"""Most samples that are drawn for an attack, unless more are requested."""


def privacy(
    samples: Any, data: Any = None, *, n: int | None = None, seed: int = 0, poll: Poll | None = None
) -> "Privacy":
    """Find out whether samples of a table or of cells give away which rows the model was trained on.

    Args:
        samples: a DataFrame or an AnnData; or a model (a bundle, or the folder of a run or bundle) to draw from.
        data: the data that the model was trained on; a model's own training data by default.
        n: how many samples to draw from a model; by default three times as many as there are training rows, at most
            30,000. With fewer, an attack finds less, whatever the model does; the copier in the result shows how much.
        seed: the seed of the samples and of the attack.
        poll: called between parts; raises to stop.

    Returns:
        Membership attacks on the samples, on copies and on real rows; see `gendi.evaluate.vectors.privacy`.

    Raises:
        UsageError: data of another kind, or no data.
        DataError: too few rows, or samples that do not have the columns of the data.
    """
    if not isinstance(samples, Bundle | str | Path):
        if data is None:
            raise UsageError("say which data the model was trained on: data='people.csv'.")
        opened = open_data(data)
        return kind_of(opened.kind).privacy(samples, opened, seed=seed, poll=poll)
    bundle = samples if isinstance(samples, Bundle) else load_bundle(samples)
    spec = bundle.meta.get("data_spec") if data is None else data
    if spec is None or (isinstance(spec, str) and spec == IN_MEMORY):
        raise UsageError("This model's bundle does not hold the data that it was trained on: give them as `data`.")
    opened = open_data(spec)
    require_attack(opened)
    drawn = drawn_for_attack(bundle, opened, n, seed, poll)
    return kind_of(opened.kind).privacy(drawn, opened, seed=seed, poll=poll)


def require_attack(data: "Data") -> None:
    """Raise `UsageError` unless the kind of data has attacks on privacy."""
    kind = kind_of(data.kind)
    if not kind.attacked:
        kind.privacy(None, data)


def drawn_for_attack(bundle: Bundle, data: "Data", n: int | None, seed: int, poll: Poll | None = None) -> Any:
    """Return the samples that are attacked, as `gendi.sample` returns them."""
    n = min(TIMES * len(data.train), MOST) if n is None else n
    request = Request.of(bundle, n, {"seed": seed})
    return draw(prepare(request, Models.read(bundle, None)), poll)
