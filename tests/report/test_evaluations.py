"""The curves of the evaluations that a run made while it trained."""

import json
from pathlib import Path

import numpy as np
import pytest
from fake_run import fake_run
from page_reader import PageReader

from gendi.report import write_report
from gendi.report.evaluations import curve, distance_name, evaluation_figure, verdict_text

NAMES = ("kid-pixels", "train-likeness")


def lines(verdict: str | None = "level") -> list[dict]:
    def metric(value: float, floor: float) -> dict[str, float]:
        return {"value": value, "error": 0.1 * value, "floor": floor, "floor_error": 0.02}

    out: list[dict] = [{"step": 10, "images": 640, "loss": 1.0}]
    for i in (1, 2, 4):
        metrics = {"kid-pixels": metric(1 / i, 0.01), "train-likeness": metric(0.4, 0.5)}
        evaluation = {"n": 256, "heldout": 0.5, "metrics": metrics, "verdict": verdict}
        out.append({"step": 100 * i, "images": 6400 * i, "evaluation": evaluation})
    return out


def test_the_figure_shows_values_with_95_percent_intervals_and_the_floor() -> None:
    found = lines()
    assert distance_name(found) == "kid-pixels" and distance_name(found[:1]) is None
    np.testing.assert_allclose(curve(found, "kid-pixels")[:, :2], [[6400, 1], [12800, 0.5], [25600, 0.25]])
    (axes,) = evaluation_figure(found, "kid-pixels").axes
    bars = np.array(axes.collections[-1].get_segments())
    np.testing.assert_allclose(bars[:, 1, 1] - bars[:, 0, 1], 2 * 1.96 * np.array([0.1, 0.05, 0.025]))
    assert any(np.allclose(line.get_ydata(), 0.01) for line in axes.lines)


@pytest.mark.parametrize("damaged", [{"evaluation": 3}, {"evaluation": {"metrics": []}}, {"evaluation": {}}])
def test_lines_that_are_no_evaluations_are_left_out(damaged: dict) -> None:
    found = [*lines(), {"step": 500, "images": 1, **damaged}]
    assert len(curve(found, "kid-pixels")) == 3 and verdict_text(found, "cells") is not None


def test_a_verdict_is_a_sentence_and_none_is_none() -> None:
    assert "no longer" in (verdict_text(lines("level"), "cells") or "")
    assert "training cells" in (verdict_text(lines("copying"), "cells") or "")
    assert verdict_text(lines(None), "cells") is None and verdict_text([], "cells") is None


def test_the_page_has_the_curves_and_the_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gendi.report.style.DPI", 40)
    run = fake_run(tmp_path / "run")
    with (run / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines("copying"))
    write_report(run)
    text = (run / "report.html").read_text(encoding="utf-8")
    page = PageReader(text)
    assert {f"{name} during training" for name in NAMES} <= set(page.alts)
    assert "the model copies" in text and "kept in bundle-best" in text


def test_the_page_says_where_the_distance_decides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gendi.report.style.DPI", 40)
    run, found = fake_run(tmp_path / "run", draw=False), lines(None)
    for line in found[1:]:
        line["evaluation"]["missed"] = ["blurred", "means"]
    with (run / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in found)
    text = PageReader(write_report(run).read_text(encoding="utf-8")).text
    assert "it takes blurred images, means of images for real images, so it is no grade" in text
    assert "bundle-best is the last model" in text and "smallest distance" not in text
