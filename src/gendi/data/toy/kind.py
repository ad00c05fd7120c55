"""The kind of data `toy`: points in the plane from a world whose denoiser is a formula. See `gendi.data.kind.Kind`.

    toy:swissroll               10,000 points of the world
    toy:moons?n=2000&seed=1     2,000 others

They are drawn anew wherever they are opened, so there is nothing to download and nothing to keep.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendi.data.kind import Kind
from gendi.diffusion.config import ConditionConfig
from gendi.errors import DataError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gendi.data.codec import Codec
    from gendi.data.dataset import Data
    from gendi.data.kind import Texts
    from gendi.data.split import Loaded
    from gendi.evaluate.result import Evaluation

MOST = 1_000_000


class Toys(Kind):
    """Points (N, 2). Samples are an array (n, 2), and a file of them has a line `x,y` for each."""

    name = "toy"
    title = "toy worlds"
    noun = "points"
    preset = "toy"
    evaluation_options = ("tell",)
    suffixes = (".csv",)
    previews = True
    made = True
    without_conditions = "the toy worlds moons, gaussians and letters have classes."

    def files(self, spec: str) -> tuple[Path, ...]:
        """Return nothing: a toy world is no file."""
        return ()

    def open_path(self, place: str, options: Mapping[str, str]) -> "Loaded":
        """Draw the points of the world `place`, with the options `n` and `seed`.

        Raises `UsageError` for an unknown world, another option, or a number out of range.
        """
        from gendi.data.split import Loaded, class_spec
        from gendi.data.toy.worlds import world

        found = world(place)
        if strange := options.keys() - {"n", "seed"}:
            raise UsageError(f"toy:{place} has the options n and seed; {min(strange)!r} is not one of them.")
        n, seed = _whole(place, options, "n", 10_000, 10, MOST), _whole(place, options, "seed", 0, 0, 2**63 - 1)
        rows, labels = found.points(n, seed)
        known: dict[str, Any] = {"name": place, "schema": {"world": place}}
        if labels is None:
            return Loaded(rows, **known)
        return Loaded(rows, {"class": labels}, specs=(class_spec(found.names),), **known)

    def codecs(self) -> "Mapping[str, type[Codec]]":
        from gendi.data.toy.codec import PointCodec

        return {PointCodec.kind: PointCodec}

    def fit(self, data: "Data", conditions: Sequence[ConditionConfig], seed: int, options: Any) -> "Codec":
        """Return the codec of the world; nothing is fitted."""
        from gendi.data.toy.codec import PointCodec

        return PointCodec(data.schema["world"])

    def write(self, path: Path, samples: Any, texts: "Texts | None" = None, first: int = 0) -> None:
        """Write points (n, 2) as a CSV file with the columns x and y."""
        from gendi.storage.files import atomic_write

        lines = ["x,y", *(f"{x:.9g},{y:.9g}" for x, y in samples)]
        atomic_write(path, ("\n".join(lines) + "\n").encode())

    def evaluate(self, samples: Any, data: "Data", **options: Any) -> "Evaluation":
        """Evaluate points (n, 2), or a CSV file of them, against raw data; see `gendi.evaluate.vectors`."""
        import numpy as np

        from gendi.evaluate.vectors import RowSet, Standardised, evaluate_rows

        rows = read_points(samples) if isinstance(samples, str | Path) else np.asarray(samples, np.float64)
        train, heldout = (RowSet(np.asarray(part.batch(range(len(part))))) for part in (data.train, data.heldout))
        named: dict[str, Any] = {"name": data.name, "fingerprint": data.fingerprint}
        return evaluate_rows(RowSet(rows), train, heldout, space=Standardised.fit, **named, **options)

    def preview(self, rows: "NDArray[Any]") -> bytes:
        """Return a PNG file with a scatter plot of points (n, 2)."""
        from gendi.data.toy.picture import scatter_png

        return scatter_png(rows)

    def preview_bytes(self, codec: "Codec", n: int) -> int:
        return 20_000


def _whole(place: str, options: Mapping[str, str], name: str, usual: int, least: int, most: int) -> int:
    text = options.get(name, str(usual))
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise UsageError(f"toy:{place}?{name}={text}: {name} is a whole number from {least} to {most}.")
    return int(text)


def read_points(path: str | Path) -> "NDArray[Any]":
    """Return the points (n, 2) of a CSV file with the columns x and y. Raises `DataError` if there are none."""
    import numpy as np

    try:
        rows = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} could not be read as points: {error}. Write a first line `x,y`, then one line for each point."
        ) from error
    if rows.ndim != 2 or rows.shape[1] != 2 or not len(rows):
        raise DataError(f"{path} holds an array of shape {rows.shape}; points have two columns, x and y.")
    return rows


TOYS = Toys()
