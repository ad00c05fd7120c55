"""The kind of data `cells`: single cells, integer counts of genes. See `gendi.data.kind.Kind`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendi.data.cells.config import CellsConfig
from gendi.data.kind import Kind
from gendi.diffusion.config import ConditionConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gendi.data.cells.check import CellsReport
    from gendi.data.codec import Codec
    from gendi.data.dataset import Data
    from gendi.data.kind import Texts
    from gendi.data.split import Loaded
    from gendi.evaluate.gauge import Gauge
    from gendi.evaluate.result import Evaluation
    from gendi.evaluate.vectors import Privacy


class Cells(Kind):
    """Counts (N, G) of genes, in and out."""

    name = "cells"
    check_command = "cells check"
    title = "cells"
    preset = "cells"
    attacked = True
    separator = ","
    suffixes = (".h5ad",)
    endings = (".h5ad", ".h5", ".mtx")
    objects = "an AnnData"
    source_options = ("layer", "backed", "recover", "transpose", "split-by")
    options = CellsConfig
    evaluation_options = ("tell",)

    def claims(self, spec: object) -> bool:
        if isinstance(spec, list | tuple):
            return bool(spec) and all(hasattr(each, "obs") and hasattr(each, "var_names") for each in spec)
        if isinstance(spec, str):
            from gendi.data.cells.matrix_folder import is_10x_folder

            place = spec.partition("?")[0]
            return super().claims(spec) or place.lower().endswith(".mtx.gz") or is_10x_folder(place)
        return hasattr(spec, "obs") and hasattr(spec, "var_names")

    def open_path(self, place: str, options: Mapping[str, str]) -> "Loaded":
        """Read files of counts or the demo data: see `gendi.data.cells.several.open_places`."""
        from gendi.data.cells.several import open_places

        return open_places(place, options)

    def open_object(self, thing: Any) -> "Loaded":
        """Take an AnnData, or several as one."""
        if isinstance(thing, list | tuple):
            from gendi.data.cells.several import open_objects

            return open_objects(thing)
        from gendi.data.cells.read import open_object

        return open_object(thing)

    def files(self, spec: str) -> tuple[Path, ...]:
        from gendi.data.cells.many_places import places_of

        return tuple(map(Path, places_of(self.place(spec)[0])))

    def check(self, spec: str, **options: Any) -> "CellsReport":
        """Look at files of counts, or at their `layer`, after `recover`: see `gendi.data.cells.check`."""
        from gendi.data.cells.check import check_cells, check_parts
        from gendi.data.cells.many_places import file_names, places_of
        from gendi.data.cells.read import read_cells

        place, given = self.place(spec)
        options = given | {name: value for name, value in options.items() if value}
        places = places_of(place)
        read = [read_cells(each, options) for each in places]
        if len(places) == 1:
            return check_cells(*read[0][:2])
        return check_parts([(name, each[0]) for name, each in zip(file_names(places), read, strict=True)], read[0][1])

    def grouped(
        self,
        data: "Data",
        conditions: Sequence[ConditionConfig],
        seed: int,
        options: CellsConfig,
        before: "Codec | None" = None,
        own: bool = False,
    ) -> "Data":
        """Divide cells without classes into clusters (see `gendi.data.cells.clusters`), and note which are rare."""
        from gendi.data.cells.clusters import grouped, with_note_on_rare

        return with_note_on_rare(grouped(data, conditions, options, seed, before, own), conditions)

    def parts(self, data: "Data") -> Sequence[tuple[str, str, str]]:
        """Return the conditions; of those with classes, how many training cells each class has."""
        from gendi.data.standing import in_words, rows_by_class

        known = rows_by_class(data.conditions, data.train.conditions)
        by_size = {name: dict(sorted(n.items(), key=lambda pair: -pair[1])) for name, n in known.items()}
        return [(s.name, s.kind, in_words(by_size[s.name], 8) if s.name in by_size else "") for s in data.conditions]

    def codecs(self) -> "Mapping[str, type[Codec]]":
        from gendi.data.cells.fit import CODECS

        return CODECS

    def fit(self, data: "Data", conditions: Sequence[ConditionConfig], seed: int, options: CellsConfig) -> "Codec":
        """Fit the codec of `options.model`: see `gendi.data.cells.fit`."""
        from gendi.data.cells.fit import fit

        return fit(data, conditions, seed, options)

    def present(
        self,
        codec: "Codec",
        rows: "NDArray[Any]",
        cond: "Mapping[str, NDArray[Any]]",
        specs: Sequence[ConditionConfig],
        latent: "NDArray[Any]",
        provenance: Mapping[str, Any],
    ) -> Any:
        """Return counts as an AnnData like the training data."""
        from gendi.data.cells.output import present

        return present(codec, rows, cond, specs, latent, provenance)

    def write(self, path: Path, samples: Any, texts: "Texts | None" = None, first: int = 0) -> None:
        """Write an AnnData as an .h5ad."""
        from gendi.data.cells.output import write

        write(path, samples)

    def evaluate(self, samples: Any, data: "Data", **options: Any) -> "Evaluation":
        """Evaluate cells, an AnnData or an .h5ad: see `gendi.data.cells.evaluate`."""
        from gendi.data.cells.evaluate import evaluate

        return evaluate(samples, data, **options)

    def privacy(self, samples: Any, data: "Data", **options: Any) -> "Privacy":
        """Attack cells, an AnnData or an .h5ad: see `gendi.data.cells.evaluate`."""
        from gendi.data.cells.evaluate import privacy

        return privacy(samples, data, **options)

    def gauge(self, data: "Data", seed: int) -> "Gauge":
        """Measure the energy distance and the train-likeness of log counts."""
        from gendi.evaluate.vectors import LogCounts
        from gendi.evaluate.vectors.quick import row_gauge

        return row_gauge(data.train, data.heldout, seed, space=LogCounts.fit)


CELLS = Cells()
