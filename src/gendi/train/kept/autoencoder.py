"""The autoencoder in whose latents a run works: read from the folder where it was trained, or from the run's own.

When a run begins, its autoencoder is copied into the folder `codec` of the run, and from there into every bundle. So
the folder where the autoencoder was trained is not needed any more when the run is resumed or its model is used.
"""

import dataclasses
from pathlib import Path

from gendi.data import Data
from gendi.data.codec import Codec
from gendi.data.codec_files import read_codec
from gendi.data.images.latents import LatentCodec, pictures_of
from gendi.data.kinds import kind_of
from gendi.errors import BundleError, DataError, Mend, UsageError
from gendi.storage.folders import current_folder
from gendi.train.config import RunConfig
from gendi.train.kept.folders import elsewhere
from gendi.train.kept.start import Start

ABOUT, CODEC = "autoencoder.json", "codec"
"""The file with the options of an autoencoder, and the folder with the autoencoder itself, in the folder where it was
trained. A run has its codec in a folder of the same name."""


def read_autoencoder(folder: str | Path) -> LatentCodec:
    """Return the autoencoder in the folder where it was trained, or in that of a run that works in it.

    Raises:
        UsageError: there is none.
        BundleError: it is damaged.
    """
    folder = Path(folder)
    inside = current_folder(folder / CODEC)
    if not inside.is_dir():
        if (folder / ABOUT).is_file():
            raise UsageError(
                f"{folder} holds an autoencoder that is not finished: run gendi train-autoencoder with the same "
                "arguments again."
            )
        raise UsageError(
            f"{folder} holds no autoencoder: train one by gendi train-autoencoder DATA, and give the folder that it "
            "names."
        )
    codec = read_codec(inside)
    if not isinstance(codec, LatentCodec):
        raise UsageError(f"{folder} is a run with a codec of the kind {codec.kind!r}, which is no autoencoder.")
    return codec


def refuse_among_autoencoders(run: Path) -> None:
    """Raise `UsageError` if the folder of a run is one where an autoencoder was trained."""
    if (run / ABOUT).is_file():
        raise UsageError(
            f"{run} holds an autoencoder. A run that works in its latents needs a folder of its own (--out), and "
            f"--autoencoder {run}."
        ).mended_by(elsewhere(run))


def in_latents(
    data: Data,
    source: str | Path | Codec | None,
    run: Path,
    *,
    going_on: bool,
    start: Start | None = None,
    allow_data_change: bool = False,
) -> Data:
    """Return data with the codec of the run's autoencoder; data of a run that works in no latents as they are.

    Args:
        data: as they were opened.
        source: the autoencoder that was asked for, or its folder; None for that of the run or of `start`, if any.
        run: the folder of the run.
        going_on: whether the folder holds a run that is resumed.
        start: where the weights of the run come from.
        allow_data_change: whether an autoencoder of other pictures may be used.

    Raises:
        UsageError: data that are no pictures, or pictures of another size or other channels; an autoencoder other than
            that of the run, or than that in whose latents the weights of `start` work.
        DataError: the autoencoder was trained on other pictures.
        BundleError: it is damaged.
    """
    if source is None and not kind_of(data.kind).pictures:
        return data
    own = _own(run) if going_on else _started(start)
    codec = read_autoencoder(source) if isinstance(source, str | Path) else source
    if codec is not None and not isinstance(codec, LatentCodec):
        raise UsageError(f"a codec of the kind {codec.kind!r} is no autoencoder.")
    if codec is not None and (going_on or (start is not None and start.bundle is not None)):
        _refuse_another(codec, own, run, going_on, start)
    codec = codec or own
    if codec is None:
        return data
    _check_fit(codec, data)
    learned = codec.about.get("fingerprint")
    if source is not None and not going_on and learned != data.fingerprint and not allow_data_change:
        raise DataError(
            f"The autoencoder learned from other pictures ({codec.about.get('data', 'unknown')}, fingerprint "
            f"{str(learned)[:12]}) than {data.name} ({data.fingerprint[:12]}), and may reconstruct these less well "
            "than its own. Train one on these by gendi train-autoencoder, or give --allow-data-change to use it all "
            "the same."
        ).mended_by(Mend(add=("--allow-data-change",)))
    return dataclasses.replace(data, codec=codec)


def check_latents(config: RunConfig, data: Data) -> None:
    """Raise `UsageError` for options of a run that have no meaning in latents."""
    if not isinstance(data.codec, LatentCodec):
        return
    if config.sample.clip:
        raise UsageError("sample.clip bounds pixels to their range, and latents have no such bounds: leave it out.")
    if config.network.output == "bytes":
        raise UsageError(
            "network.output = 'bytes' is for pixels; latents are no bytes: take network.output = 'linear'."
        )
    if config.train.crop != 1:
        raise UsageError(
            "train.crop cannot be done in latents, which are computed once for each picture: leave it out, or train on "
            "pixels. train.flip can."
        )


def _own(run: Path) -> LatentCodec | None:
    """Return the autoencoder of a run that is resumed; None if it works on pixels."""
    folder = current_folder(run / CODEC)
    codec = read_codec(folder) if folder.is_dir() else None
    return codec if isinstance(codec, LatentCodec) else None


def _started(start: Start | None) -> LatentCodec | None:
    codec = None if start is None or start.bundle is None else start.bundle.codec
    return codec if isinstance(codec, LatentCodec) else None


def _refuse_another(
    codec: LatentCodec, own: LatentCodec | None, run: Path, going_on: bool, start: Start | None
) -> None:
    """Raise `UsageError` if a run is resumed, or starts from weights, that work in other latents or in none."""
    if own is not None and own.digest == codec.digest:
        return
    what = "works on pixels" if own is None else "works in the latents of another autoencoder"
    if going_on:
        raise UsageError(
            f"{run} holds a run that {what}. Leave --autoencoder out to go on, choose another folder (--out) to begin "
            "a second run, or give --fresh to start this one over."
        ).mended_by(Mend(drop=("--autoencoder",)), elsewhere(run))
    assert start is not None
    raise UsageError(
        f"The model in {start.place} {what}, and its weights mean nothing in these latents. Leave --autoencoder out, "
        "or train without --from."
    ).mended_by(Mend(drop=("--autoencoder",)))


def _check_fit(codec: LatentCodec, data: Data) -> None:
    """Raise `UsageError` if data are not such as the autoencoder encodes."""
    if not kind_of(data.kind).pictures:
        raise UsageError(f"an autoencoder is for pictures; {data.name} is data of the kind {data.kind}.")
    theirs = pictures_of(data.codec)
    if theirs is None:
        raise BundleError(f"{data.name} are pictures without a codec of pixels.")
    if theirs != codec.pixels:
        height, width = codec.pixels.size
        raise UsageError(
            f"The autoencoder is for pictures of {codec.pixels.description}, and those of {data.name} are "
            f"{theirs.description}. Bring the pictures to its size (--size {height}x{width}), or train an autoencoder "
            "on these by gendi train-autoencoder."
        )
