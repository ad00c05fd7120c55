"""The end of the page: settings, timings, versions and machine, and the commands that repeat the run."""

import os
import platform
from pathlib import Path

import torch

from gendi.machine.units import duration_in_words
from gendi.machine.version import __version__
from gendi.report.commands import commands, wrapped
from gendi.report.page import Html, fill, section
from gendi.report.run import Run
from gendi.storage.toml import dump_toml

TIMINGS = {
    "train_seconds": "Training",
    "sample_seconds": "Drawing the samples",
    "evaluate_seconds": "Evaluation",
    "report_seconds": "This report",
}


def details_section(run: Run, seconds: float) -> Html:
    """Return the section of settings, timings and versions; `seconds` is the time that the report itself took."""
    body = [
        fill('<div><h3 class="small">Timings</h3>{table}</div>', table=_table(timing_rows(run, seconds))),
        fill('<div><h3 class="small">Versions and machine</h3>{table}</div>', table=_table(version_rows(run))),
    ]
    if run.config is not None:
        text = dump_toml(run.config.concerning(run.kind))
        body.append(
            fill("<details><summary>All settings</summary><pre>{text}</pre></details>", text=text),
        )
    return section(
        "details",
        "Settings and machine",
        ["How long the run took, and on which machine. These are all settings of the trained model."],
        body,
    )


def reproduce_section(run: Run) -> Html:
    """Return the section with the commands that repeat the run."""
    text = [
        "The same seed gives the same model and the same samples on the same machine with the same versions, however "
        "often the run is interrupted. With a budget in minutes, the training goes as far as the machine gets in that "
        "time.",
    ]
    return section(
        "reproduce", "Do it again", text, [fill("<pre>{text}</pre>", text="\n".join(map(wrapped, commands(run))))]
    )


def timing_rows(run: Run, seconds: float) -> list[tuple[str, str]]:
    """Return rows (activity, duration) for everything that was timed."""
    timed = {k: v for k, v in run.timings.items() if isinstance(v, int | float) and k in TIMINGS}
    trained = run.number("seconds")
    if trained is not None:
        timed["train_seconds"] = trained
    timed["report_seconds"] = seconds
    rows = []
    for key, name in TIMINGS.items():
        if key in timed:
            rows.append((name, duration_in_words(timed[key])))
        if key == "evaluate_seconds" and run.evaluation is not None:
            rows += [(f"Evaluation: {part}", duration_in_words(s)) for part, s in run.evaluation.seconds.items()]
    return rows


def version_rows(run: Run) -> list[tuple[str, str]]:
    """Return rows (name, value) on the versions behind the model, and on the machine that makes the report."""
    meta = run.meta
    rows = [(f"Trained with {name}", str(meta[name])) for name in ("gendi", "torch", "python") if meta.get(name)]
    for key, name in (("precision", "Precision"), ("layout", "Memory layout"), ("seed", "Seed")):
        if meta.get(key) is not None:
            rows.append((name, str(meta[key])))
    if meta.get("fingerprint"):
        rows.append(("Data fingerprint (SHA-256)", str(meta["fingerprint"])))
    versions = f"gendi {__version__}, torch {torch.__version__}, Python {platform.python_version()}"
    rows.append(("Report made with", versions))
    rows.append(("Report made on", f"{processor()}, {os.cpu_count()} logical CPUs, {platform.system()}"))
    return rows


def processor() -> str:
    """Return the processor's name as the system knows it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except (OSError, ValueError):
        pass
    return platform.processor() or platform.machine()


def _table(rows: list[tuple[str, str]]) -> Html:
    return fill(
        '<div class="scroll"><table class="plain"><tbody>{rows}</tbody></table></div>',
        rows=[fill('<tr><th scope="row">{a}</th><td>{b}</td></tr>', a=a, b=b) for a, b in rows],
    )
