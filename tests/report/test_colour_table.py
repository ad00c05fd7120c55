"""Colours in the terminal and on the page: a table of their own, with gates and verdicts, beside the other metrics."""

import dataclasses

from fake_run import evaluation

from gendi.cli.metrics_table import metrics_table
from gendi.evaluate.result import Evaluation, Metric
from gendi.report.colours import colour_table, colours_in_words
from gendi.report.metrics import metric_table

COLOURS = (
    Metric("mean-red", 120.0, 118.0, "closest", ideal=118.0, interval=(119.0, 121.0), gate=(115.0, 121.0)),
    Metric("grey-balance-red", 2.5, 0.1, "closest", ideal=0.1, interval=(2.4, 2.6), gate=(-0.3, 0.5)),
    Metric("blacks", 0.25, 0.02, "closest", ideal=0.02, interval=(0.24, 0.26), gate=(0.01, 0.03)),
    Metric("grey-balance-blue", None, 0.1, "closest", ideal=0.1, gate=(-0.3, 0.5)),
)


def tinted() -> Evaluation:
    plain = evaluation(data="photos", n=100, extractors=["pixels"])
    return dataclasses.replace(plain, metrics=plain.metrics + COLOURS)


def test_the_terminal_shows_colours_in_a_table_of_their_own() -> None:
    above, below = metrics_table(tinted()).split("colours, in bytes")
    assert "fid-pixels" in above
    assert "mean-red" not in above
    lines = {words[0]: words for words in map(str.split, below.splitlines()) if words}
    assert lines["mean-red"] == ["mean-red", "120", "119", "to", "121", "118", "-", "115", "to", "121", "pass"]
    assert lines["blacks"][-1] == "FAIL"
    assert lines["grey-balance-blue"][-1] == "-"
    assert "1 of 3 gates passed; failed: grey-balance-red, blacks" in below


def test_an_evaluation_without_gates_is_shown_as_before() -> None:
    plain = evaluation(data="photos", n=100, extractors=["pixels"])
    assert "colours" not in metrics_table(plain)
    assert str(colour_table(plain)) == ""
    assert colours_in_words(plain) == []


def test_the_page_shows_colours_in_a_table_of_their_own() -> None:
    page = str(colour_table(tinted()))
    for text in ("Mean, red", "119.0 to 121.0", "115.0 to 121.0", "Grey balance, red", "Blacks", "25.0 %", "FAIL"):
        assert text in page
    assert "mean-red" not in str(metric_table(tinted()))
    (note,) = map(str, colours_in_words(tinted()))
    assert "1 of 3 gates of colour passed (failed: Grey balance, red, Blacks)" in note
