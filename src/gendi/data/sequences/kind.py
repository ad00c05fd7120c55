"""The kind of data `sequence`: letters of an alphabet, which a model of tokens learns. See `gendi.data.kind.Kind`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendi.data.kind import Kind
from gendi.diffusion.config import ConditionConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gendi.data.codec import Codec
    from gendi.data.dataset import Data
    from gendi.data.kind import Texts
    from gendi.data.sequences.check import SequenceReport
    from gendi.data.split import Loaded
    from gendi.diffusion.gaussian.config import SampleConfig
    from gendi.evaluate.gauge import Gauge
    from gendi.evaluate.result import Evaluation


class Sequences(Kind):
    """Sequences of letters. Users give files of them, and get arrays of texts, or files."""

    name = "sequence"
    title = "sequences"
    preset = "sequence"
    prefixes = ("sequences", "sequence")
    suffixes = (".fasta", ".txt", ".csv")
    endings = (".fasta", ".fa", ".faa", ".fna", ".ffn", ".fas", ".txt", ".seq", ".smi", ".smiles")
    noun = "sequences"
    previews = True
    evaluation_options = ("bits",)
    source_options = ("alphabet", "letters", "longest", "window", "column")
    without_conditions = "(words NAME=VALUE behind the name in a FASTA file, or further columns of a CSV)"

    def claims(self, spec: object) -> bool:
        return super().claims(spec) or (
            isinstance(spec, str) and spec.partition("?")[0].lower().endswith(tuple(f"{e}.gz" for e in self.endings))
        )

    def open(self, spec: Any, size: tuple[int, int] | None = None, max_bad: int | None = None) -> "Loaded":
        """Read a file of sequences; at most `max_bad` bad ones are passed over. See `gendi.data.sequences.read`."""
        from dataclasses import replace

        from gendi.data.sequences.read import read_sequences

        if not isinstance(spec, str):
            return self.open_object(spec)
        place, options = self.place(spec)
        return replace(read_sequences(place, options, max_bad), name=Path(place).name.partition(".")[0])

    def check(self, spec: str, **options: Any) -> "SequenceReport":
        """Report on every sequence; the option is `max_bad` of `gendi.data.open_data`."""
        from gendi.data.open import open_data
        from gendi.data.sequences.check import report_on

        return report_on(open_data(spec, max_bad=options.get("max_bad")))

    def codecs(self) -> "Mapping[str, type[Codec]]":
        from gendi.data.sequences.codec import SequenceCodec

        return {SequenceCodec.kind: SequenceCodec}

    def present(
        self,
        codec: "Codec",
        rows: "NDArray[Any]",
        cond: "Mapping[str, NDArray[Any]]",
        specs: Sequence[ConditionConfig],
        latent: "NDArray[Any]",
        provenance: Mapping[str, Any],
    ) -> Any:
        """Return rows of tokens as an array (n,) of texts."""
        import numpy as np

        from gendi.data.sequences.codec import SequenceCodec

        assert isinstance(codec, SequenceCodec)
        return np.array([codec.text(row) for row in rows], dtype=np.str_)

    def usual_suffix(self, codec: "Codec") -> str:
        from gendi.data.sequences.codec import SequenceCodec

        assert isinstance(codec, SequenceCodec)
        if codec.alphabet.name == "smiles":
            return ".txt"
        spaced = codec.alphabet.name == "bytes" or any(letter.isspace() for letter in codec.alphabet.letters)
        return ".csv" if spaced else ".fasta"

    def write(self, path: Path, samples: Any, texts: "Texts | None" = None, first: int = 0) -> None:
        """Write texts; see `gendi.data.sequences.output.write_sequences`."""
        from gendi.data.sequences.output import write_sequences

        write_sequences(path, samples, first)

    def read_samples(self, path: Path) -> "NDArray[Any]":
        from gendi.data.sequences.output import read_texts

        return read_texts(path)

    def evaluated_file(self, run: Path) -> Path:
        return run / "evaluated.csv"

    def evaluate(self, samples: Any, data: "Data", **options: Any) -> "Evaluation":
        """Evaluate texts (n,), or a file of them, against raw data; see `gendi.data.sequences.evaluate`."""
        from gendi.data.sequences.evaluate import evaluate

        return evaluate(samples, data, **options)

    def gauge(self, data: "Data", seed: int) -> "Gauge":
        """Measure the energy distance and the train-likeness of letters by place and of pairs of neighbours."""
        from gendi.data.sequences.evaluate import gauge

        return gauge(data, seed)

    def preview(self, rows: "NDArray[Any]") -> bytes:
        from gendi.data.sequences.picture import letters_png

        return letters_png(rows)

    def usage(self, codec: "Codec", own: "SampleConfig") -> str:
        return (
            'import gendi\ntexts = gendi.sample("path/to/this/folder", n=500)  # an array of texts\n'
            'filled = gendi.sample("path/to/this/folder", n=10, infill="??*")  # ? and * are drawn, the rest is given'
        )


SEQUENCES = Sequences()
