"""The kind of data `image`: pictures. Data that no other kind claims are pictures. See `gendi.data.kind.Kind`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendi.data.images.sources import HUB, MIX, SHARDS, files_of, is_there, names_pictures
from gendi.data.kind import Kind
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.config import SampleConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from gendi.data.codec import Codec
    from gendi.data.dataset import Data
    from gendi.data.images.check import DataReport
    from gendi.data.images.class_rows import Asked
    from gendi.data.images.codec import ImageCodec
    from gendi.data.kind import Texts
    from gendi.data.split import Loaded
    from gendi.evaluate.gauge import Gauge, GaugeChoice
    from gendi.evaluate.result import Evaluation
    from gendi.machine.stopping import Poll


class Images(Kind):
    """Pictures of one size, bytes (N, H, W, C)."""

    name = "image"
    title = "pictures"
    preset = "mnist"
    suffixes = (".png", ".npz", "")
    prefixes = (SHARDS[:-1], HUB[:-1], MIX[:-1])
    noun = "images"
    pictures = True
    previews = True
    derived_names = ("low-res:F",)
    without_conditions = (
        "(except low-res:F): sort the images into subfolders, one for each class, or put a table conditions.csv "
        "beside them"
    )
    evaluation_options = ("extractor", "batch_size", "device", "mirrored", "fid_infinity", "asked", "free", "restore")
    evaluates_together = True
    keeps_settings = True

    def claims(self, spec: object) -> bool:
        return isinstance(spec, str) and names_pictures(spec)

    def files(self, spec: str) -> tuple[Path, ...]:
        return files_of(spec)

    def preset_for(self, spec: Any, size: tuple[int, int] | None) -> tuple[str, str]:
        """Return the preset that suits the size of pictures in a folder or a file, and whether they have colours."""
        if not isinstance(spec, str) or not is_there(spec):
            return self.preset, ""
        from gendi.data.images.first_look import look_at

        found = look_at(spec, size)
        if found is None or found.preset == self.preset:
            return self.preset, ""
        return found.preset, f"the pictures are {found.in_words()}"

    def open(self, spec: Any, size: tuple[int, int] | None = None, max_bad: int | None = None) -> "Loaded":
        from gendi.data.images.open import open_images

        return open_images(spec, size, max_bad)

    def check(self, spec: str, **options: Any) -> "DataReport":
        """Report on every image; options are `size` and `max_bad` of `gendi.data.open_data`."""
        from gendi.data.images.check import check_images

        return check_images(spec, **options)

    def codecs(self) -> "Mapping[str, type[Codec]]":
        from gendi.data.images.codec import ImageCodec
        from gendi.data.images.latents import LatentCodec

        return {ImageCodec.kind: ImageCodec, LatentCodec.kind: LatentCodec}

    def augment(
        self,
        rows: "Tensor",
        cond: "Mapping[str, Tensor]",
        *,
        seed: int,
        step: int,
        batch_size: int,
        part: slice,
        **options: Any,
    ) -> "tuple[Tensor, dict[str, Tensor]]":
        """Mirror pictures and cut parts out of them; `flip` and `crop` are options of `gendi.data.images.augment`."""
        from gendi.data.images.augment import augment

        return augment(rows, cond, seed=seed, step=step, batch_size=batch_size, part=part, **options)

    def variants(self, rows: "Tensor", *, flip: bool, crop: float) -> "list[Tensor]":
        """Return pictures and, with `flip`, their mirror images. Raises `UsageError` for a `crop` above 1."""
        from gendi.data.images.augment import variants

        return variants(rows, flip=flip, crop=crop)

    def derived_condition(self, name: str, codec: "Codec | None") -> ConditionConfig | None:
        from gendi.data.images.low_resolution import derived_condition

        return derived_condition(name, codec)

    def derived(self, specs: Sequence[ConditionConfig], x_0: "Tensor") -> "dict[str, Tensor]":
        from gendi.data.images.low_resolution import derived

        return derived(specs, x_0)

    def write(
        self, path: Path, samples: Any, texts: "Texts | None" = None, first: int = 0, asked: "Asked | None" = None
    ) -> None:
        """Write a grid, an archive or a folder: see `gendi.data.images.sample_files`."""
        from gendi.data.images.sample_files import write_samples

        write_samples(path, samples, texts, first, asked)

    def check_destination(self, path: Path, n: int, codec: "Codec") -> None:
        from gendi.data.images.sample_files import check_destination

        check_destination(path, n, _pixels(codec).channels)

    def read_samples(self, path: Path) -> "NDArray[Any]":
        from gendi.data.images.sample_files import read_samples

        return read_samples(path)

    def evaluated_file(self, run: Path) -> Path:
        return run / "samples.npz"

    def evaluate(self, samples: Any, data: "Data", **options: Any) -> "Evaluation":
        """Evaluate bytes (N, H, W, C): see `gendi.data.images.evaluation.evaluate`."""
        from gendi.data.images.evaluation import evaluate

        return evaluate(samples, data, **options)

    def choose_gauge(self, data: "Data", seed: int, spare: float, poll: "Poll | None" = None) -> "GaugeChoice":
        """Ask which fakes the usual features miss, and learn others where that is needed and affordable."""
        from gendi.data.images.gauge import choose_gauge

        return choose_gauge(data, seed, spare, poll)

    def gauge(self, data: "Data", seed: int, features: str = "", poll: "Poll | None" = None) -> "Gauge":
        """Measure the kernel distance of features, and the train-likeness: see `gendi.data.images.gauge`."""
        from gendi.data.images.gauge import picture_gauge

        return picture_gauge(data, seed, features, poll)

    def preview(self, rows: "NDArray[Any]") -> bytes:
        from gendi.data.images.pictures import grid_image, png_bytes

        return png_bytes(grid_image(rows))

    def preview_bytes(self, codec: "Codec", n: int) -> int:
        from gendi.data.images.pictures import grid_bytes

        return grid_bytes(_pixels(codec).shape, n)

    def usage(self, codec: "Codec", own: SampleConfig) -> str:
        _, height, width = _pixels(codec).shape
        return f"""from gendi.train.kept.bundle import load_bundle
from gendi.diffusion.gaussian.samplers import sample
bundle = load_bundle("path/to/this/folder")
denoiser = bundle.denoiser(clip={1.0 if own.clip else None})
x = sample(denoiser, bundle.codec.shape, n=16, steps={own.steps}, sampler="{own.sampler}", seed=0)
images = bundle.codec.decode(x)  # uint8 tensor (16, {height}, {width}, {_pixels(codec).channels})"""


def _pixels(codec: "Codec") -> "ImageCodec":
    """Return the codec of the pictures behind a codec of pixels or latents."""
    from gendi.data.images.latents import pictures_of

    found = pictures_of(codec)
    assert found is not None
    return found


IMAGES = Images()
