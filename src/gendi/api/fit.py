"""Train a model from Python, and load one."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gendi.data.codec import Codec
from gendi.data.tables.config import TableConfig
from gendi.diffusion.config import ConditionConfig
from gendi.train.budget import Budget
from gendi.train.config import RunConfig
from gendi.train.kept.bundle import Bundle, load_bundle
from gendi.train.kept.inherit import starting_config, usual_preset
from gendi.train.presets import get_preset
from gendi.train.progress.console import make_console
from gendi.train.progress.telling import Silent
from gendi.train.run.loop import train


def fit(
    data: Any,
    *,
    out: str | Path,
    preset: str | None = None,
    config: RunConfig | None = None,
    seconds: float | None = None,
    images: int | None = None,
    steps: int | None = None,
    quiet: bool = False,
    init: str | Path | Bundle | None = None,
    evaluate_every: int | None = None,
    stop_when_level: bool | None = None,
    autoencoder: str | Path | Codec | None = None,
    condition: str | Sequence[str] | None = None,
    rule: str | Sequence[str] | None = None,
    split_by: str | None = None,
    **options: Any,
) -> Bundle:
    """Train on `data` until the budget is spent, or go on where an earlier call stopped; return the bundle.

    Args:
        data: `mnist`, `fashion-mnist`, a path, an AnnData or a DataFrame; several paths or AnnData of cells as a list:
            see `gendi.data.open_data`.
        out: the run's folder.
        preset: a preset's name, by default the one for such data, for pictures by their size and colours; `config`
            overrides it altogether.
        seconds, images, steps: the budget, at most one of them; 8 minutes by default.
        quiet: say nothing.
        init: a run, a bundle or a model whose weights to start from. What decides their meaning (the network, the
            process, what is predicted, the conditions) is taken from it unless `config` says otherwise; new classes and
            new conditions start anew. See `gendi.train.kept.start`.
        evaluate_every: images between evaluations of some samples, from which the best model is kept in the run's
            folder `bundle-best`; 0 for none, and by default as the configuration says. See
            `gendi.train.progress.evaluating`.
        stop_when_level: whether to end before the budget when two evaluations in a row find no more improvement.
        autoencoder: the folder of an autoencoder (`gendi.fit_autoencoder`), or one that was read, in whose latents the
            model works.
        condition: the conditions of the data that the network is told, by name, such as a column of `obs`; none for an
            empty sequence, and by default those of the configuration.
        rule: for tables, what every row keeps, "start <= end" or several such texts; see `gendi.data.tables.rules`.
        split_by: for cells and tables, the column whose groups, such as donors, are held out whole; see
            `gendi.data.groups`.
        options: `size`, `max_bad`, `fresh`, `allow_data_change` of `gendi.train.run.loop.train`.

    Raises:
        GendiError: what its subclasses say.
    """
    if seconds is None and images is None and steps is None:
        seconds = 480.0
    budget = Budget(seconds=seconds, images=images, steps=steps)
    if config is None:
        source = init.config if isinstance(init, Bundle) else init
        otherwise = None if autoencoder is None else "latents"
        usual = usual_preset(data, options.get("size"), Path(out), bool(options.get("fresh")), otherwise)
        chosen = get_preset(preset or usual).config
        config = starting_config(chosen, source, Path(out), bool(options.get("fresh")))
    given = {"evaluate_every": evaluate_every, "stop_when_level": stop_when_level}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    config = replace(config, train=replace(config.train, **changes))
    if condition is not None:
        names = [condition] if isinstance(condition, str) else condition
        config = replace(config, conditions=tuple(ConditionConfig(name) for name in names))
    if rule is not None:
        config = replace(config, table=TableConfig((rule,) if isinstance(rule, str) else tuple(rule)))
    options |= {"init": init, "autoencoder": autoencoder, "split_by": split_by}
    if quiet:
        train(data, config, Path(out), budget, console=Silent(), **options)
    else:
        with make_console() as console:
            train(data, config, Path(out), budget, console=console, **options)
    return load_bundle(out)


def load(path: str | Path) -> Bundle:
    """Return the bundle of a run's folder or of a bundle's folder, checked byte by byte. Raises `BundleError`."""
    return load_bundle(path)
