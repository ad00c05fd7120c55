"""What a run that starts from the weights of another one takes from the configuration of that one.

This module does not import torch.
"""

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from gendi.data.kinds import default_preset
from gendi.diffusion.config import ConditionConfig
from gendi.errors import BundleError, UsageError
from gendi.storage.edited import read_table
from gendi.train.config import RunConfig
from gendi.train.kept.folders import CONFIG, bundle_folder
from gendi.train.kept.stored import stored_config, stored_start
from gendi.train.presets import PRESETS


def source_config(source: str | Path) -> RunConfig:
    """Return the configuration of the run or bundle at `source`, without reading its weights.

    Raises:
        UsageError: there is neither a run nor a bundle.
        BundleError: its configuration is damaged.
    """
    where = bundle_folder(Path(source)) / CONFIG
    if not where.is_file():
        raise BundleError(f"{where} is missing: the bundle was copied only in part.")
    data = read_table(where)
    try:
        return RunConfig.from_dict(data.get("config"))
    except UsageError as error:
        raise BundleError(f"{where}: {error}") from None


def inherited(config: RunConfig, source: RunConfig) -> RunConfig:
    """Return the configuration `config` of a preset, with all that decides the meaning of weights taken from `source`.

    That is the network, the process, the prediction, the loss, the options of the codec, and the conditions. The
    conditions of the source come first, and are filled in anew from the data; other conditions of the preset follow
    them.
    """
    names = {spec.name for spec in source.conditions}
    own = (_unresolved(spec) for spec in source.conditions)
    others = (spec for spec in config.conditions if spec.name not in names)
    return replace(
        config,
        network=source.network,
        process=source.process,
        objective=source.objective,
        cells=source.cells,
        tokens=source.tokens,
        table=source.table,
        sample=source.sample,
        conditions=(*own, *others),
    )


def _unresolved(spec: ConditionConfig) -> ConditionConfig:
    """Return a condition whose details are to be filled in from the data."""
    return ConditionConfig(spec.name, dropout=spec.dropout, via=spec.via, required=spec.required)


def usual_preset(
    data: Any, size: int | tuple[int, int] | None, run: Path, fresh: bool, otherwise: str | None = None
) -> str:
    """Return the preset of a run for which none was named: the one that it began with, or else the one for its data.

    A run that has not begun takes `otherwise` if that is given. Raises `UsageError` for an object that is no data.
    """
    if not fresh and (run / "config.toml").is_file():
        with contextlib.suppress(BundleError):  # others report it
            begun = stored_config(run).preset
            if begun in PRESETS:
                return begun
    return otherwise or default_preset(data, size)


def starting_config(config: RunConfig, source: str | Path | RunConfig | None, run: Path, fresh: bool) -> RunConfig:
    """Return the configuration of a run that begins or is resumed with a preset, and that may start from weights.

    Args:
        config: the configuration of the preset.
        source: the run or bundle to start from, or its configuration; None if the weights are new.
        run: the folder of the run. If the run in it began from weights and is resumed, its own configuration is used in
            the place of the source, which is not read again.
        fresh: whether the folder is started over.
    """
    if not fresh and stored_start(run) is not None:
        return inherited(config, stored_config(run))
    if source is None:
        return config
    return inherited(config, source if isinstance(source, RunConfig) else source_config(source))
