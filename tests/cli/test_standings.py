"""`gendi runs` says which run is best and which are ties with it; only evaluations on one scale are compared."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gendi.evaluate import Evaluation, Metric

Gendi = Callable[..., Any]


def _write(run: Path, value: float, error: float | None, n: int = 100) -> None:
    metric = Metric("fid-digits", value, 0.1, "lower", standard_error=error)
    evaluation = Evaluation(n, 0, "toy", "f", "train", n, "heldout", n, (), (metric,))
    (run / "evaluation.json").write_text(json.dumps(evaluation.to_dict()))


def test_runs_within_their_errors_are_ties_with_the_best(gendi: Gendi, tiny_run: Path, tmp_path: Path) -> None:
    """Errors of 0.05 are 0.07 for a difference: 0.14 is a tie's most, so 0.3 and 0.4 are one, 0.3 and 0.6 are not."""
    values = {"best": (0.3, 100), "tie": (0.4, 100), "worse": (0.6, 100), "other-n": (0.2, 50)}
    for name, (value, n) in values.items():
        shutil.copytree(tiny_run, tmp_path / name)
        _write(tmp_path / name, value, 0.05, n)
    (found,) = json.loads(gendi("runs", str(tmp_path), "--json").out)["standings"]
    assert (Path(found["best"]).name, found["value"], found["name"]) == ("best", 0.3, "fid-digits")
    ties, worse = ([Path(run).name for run in found[which]] for which in ("ties", "worse"))
    assert (ties, worse) == (["tie"], ["worse"])
    shown = gendi("runs", str(tmp_path)).out
    assert f"fid-digits: {tmp_path}/best is best (0.3); a tie with it: {tmp_path}/tie" in shown


def test_runs_on_other_scales_or_damaged_have_no_standing(gendi: Gendi, tiny_run: Path, tmp_path: Path) -> None:
    for name, n in (("a", 100), ("b", 50), ("c", 100)):
        shutil.copytree(tiny_run, tmp_path / name)
        _write(tmp_path / name, 0.3, 0.05, n)
    (tmp_path / "c" / "evaluation.json").write_text('{"metrics": {"fid-digits": {"value": 1.0}}}')
    outcome = gendi("runs", str(tmp_path), "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["standings"] == []
