"""The README of a bundle, for people who find the folder."""

from collections.abc import Mapping
from typing import Any

from gendi.data.codec import Codec
from gendi.data.kinds import kind_of
from gendi.diffusion.config import ConditionConfig
from gendi.machine.version import __version__
from gendi.train.config import RunConfig
from gendi.train.kept.shipped import META
from gendi.train.weights.families import family_of


def model_card(config: RunConfig, codec: Codec, meta: Mapping[str, Any], parameters: int) -> str:
    """Return the README of a bundle: what it is, what it was trained on, its metrics, and code that loads it."""
    about: dict[str, object] = {
        kind_of(codec.kind).noun.capitalize(): codec.description,
        "Conditions": "; ".join(map(_condition, config.conditions)) or "none: unconditional",
        "Preset": config.preset,
        "Parameters": f"{parameters:,} ({_average(meta)})",
        "Schedule": family_of(config).in_words(config),
        "T": family_of(config).steps(config) or "continuous",
    }
    known = {
        "data": "Data",
        "fingerprint": "Fingerprint",
        "images": "Images seen",
        "step": "Steps",
        "seconds": "Seconds",
    }
    about |= {label: meta[key] for key, label in known.items() if meta.get(key) is not None}
    metrics = meta.get("metrics")
    scores = _table(("Metric", "Value"), metrics) if isinstance(metrics, Mapping) and metrics else "Not evaluated.\n"
    return f"""# A denoising diffusion model

Made with gendi {__version__}.

{_table(("", ""), about)}
## How good it is

{scores}
{_shipped(meta)}## Use it

```python
{kind_of(codec.kind).usage(codec, config.sample)}
```

The weights are safetensors and the rest is JSON: nothing in this folder is code. `MANIFEST.json` holds the SHA-256 of
every file, so that a changed one is refused.
"""


def _condition(spec: ConditionConfig) -> str:
    return f"{spec.name} ({spec.kind}: {', '.join(spec.names) or spec.size})"


def _average(meta: Mapping[str, Any]) -> str:
    """Return which average the weights are; see `gendi.train.kept.snapshots`."""
    if not isinstance(length := meta.get("posthoc_ema"), Mapping):
        return "exponential moving average"
    width, images = length.get("sigma_rel"), length.get("images")
    return f"power-function average, sigma_rel = {width} of {images} images"


def _table(head: tuple[str, str], rows: Mapping[str, object]) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "|---|---|"]
    return "\n".join(lines + [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items()]) + "\n"


def _cell(value: object) -> str:
    if isinstance(value, Mapping) and "value" in value:  # a metric with its floor, as evaluate writes it
        floor = value.get("floor")
        return _cell(value["value"]) + ("" if floor is None else f" (real images: {_cell(floor)})")
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(text.replace("|", "\\|").split())


def _shipped(meta: Mapping[str, Any]) -> str:
    """Return the section on a model that comes with gendi; nothing for others."""
    facts = meta.get(META)
    if not isinstance(facts, Mapping):
        return ""
    rounding = facts.get("rounding")
    errors = rounding if isinstance(rounding, Mapping) else {}
    evaluated = facts.get("evaluated")
    measured = evaluated if isinstance(evaluated, Mapping) else {}
    about = {
        "What": facts.get("about"),
        **({"Measured with": f"{measured.get('n')} samples, weights as stored here"} if measured else {}),
        "Made by": f"`{facts.get('command')}`",
        "Licence of the data": facts.get("license"),
    }
    return f"""## Where it comes from

{_table(("", ""), about)}
The weights are stored as float16 and computed with as float32. Rounding changed the answers of the denoiser on held-out
rows by so much (root mean squares):

{_table(("sigma / alpha", "relative error of x0_hat"), errors)}
"""
