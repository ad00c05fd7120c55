"""The page of a run while it trains: what it shows, how seldom it is written, and when browsers stop reading it."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_run import fake_run
from page_reader import PageReader

from gendi.report import live
from gendi.report.chart import Line, even_marks, line_chart, log_marks, spread
from gendi.report.live import LivePage, Tail
from gendi.train.progress.telling import Silent

HOSTILE = "<script>alert(1)</script>&\"'{x}"


class Heard(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.shares: list[float] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def progress(self, done: float, **fields: Any) -> None:
        self.shares.append(done)


class Clock:
    """The time of the module, which stands still but for what is added."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        patch.setattr(live.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of 400 steps that says that it is running, with two previews."""
    run = fake_run(tmp_path / "run", bundle=False, draw=False)
    status(run, "running")
    return run


def status(run: Path, name: str) -> None:
    (run / "status.json").write_text(json.dumps({"status": name, "pid": 1, "host": "somewhere"}))


def text_of(run: Path) -> str:
    return (run / "report.html").read_text(encoding="utf-8")


FIELDS: dict[str, Any] = {"step": 400, "images": 25_600, "loss": 0.1, "images_per_second": 281.3, "seconds_left": 125.0}


def test_it_shows_losses_speed_and_time_left_and_is_read_again(run: Path, clock: Clock) -> None:
    with LivePage(Heard(), run) as page:
        page.say("step 400: held-out loss 0.1")
        page.progress(0.4, **FIELDS, verdict="improving")
        shown = PageReader(text_of(run))
        assert "step 400, 25,600 images seen" in shown.text and "About 2 min 5 s left" in shown.text
        assert "40 %" in shown.text and "281 images/s" in shown.text and "improving" in shown.text
        for name in ("least noise", "2nd quarter", "3rd quarter", "most noise", "all", "training"):
            assert name in shown.text
        assert "step 400: held-out loss 0.1" in shown.text
        assert 'http-equiv="refresh" content="10"' in text_of(run)
        assert "`" not in shown.text


def test_no_advice_that_fails_before_there_is_a_model(run: Path, clock: Clock) -> None:
    page = LivePage(Heard(), run)
    page.progress(0.1, **FIELDS)
    assert "gendi sample" not in text_of(run)
    (run / "bundle").mkdir()
    clock.now += 11
    page.progress(0.2, **FIELDS)
    assert "gendi sample" in text_of(run) and "gendi report" not in text_of(run)


def test_the_console_hears_everything(run: Path, clock: Clock) -> None:
    heard = Heard()
    page = LivePage(heard, run)
    page.say("one")
    page.progress(0.1, **FIELDS)
    page.progress(0.2, **FIELDS)
    assert heard.lines[0] == "one" and heard.shares == [0.1, 0.2]
    assert [line for line in heard.lines if line.startswith("page: ")] == [heard.lines[1]]
    assert str(run / "report.html") in heard.lines[1]


def test_pages_take_at_most_a_hundredth_of_the_time(run: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    written, real = list[float](), live.atomic_write
    cost = 0.02

    def slow(path: Path, text: str) -> None:
        real(path, text)
        written.append(clock.now)
        clock.now += cost

    monkeypatch.setattr(live, "atomic_write", slow)
    page = LivePage(Heard(), run)

    def train(seconds: float) -> None:
        end = clock.now + seconds
        while clock.now < end:
            clock.now += 0.5
            page.progress(0.1, **FIELDS)

    train(100)
    assert 9 <= len(written) <= 11  # a page of 20 ms each ten seconds
    cost, before = 0.7, len(written)
    train(2000)
    assert 0.7 * (len(written) - before) <= 0.01 * 2000 + 2 * 0.7
    assert 'content="71"' in text_of(run) or 'content="70"' in text_of(run)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("finished", "The training has finished"),
        ("interrupted", "The training was stopped by Ctrl-C"),
        ("preempted", "The training was stopped by the system"),
        ("diverged", "The training has diverged"),
        ("failed", "The training has failed"),
    ],
)
def test_when_the_run_ends_no_browser_reads_it_again(run: Path, clock: Clock, name: str, said: str) -> None:
    def end() -> None:
        with LivePage(Heard(), run) as page:
            page.progress(0.4, **FIELDS)
            status(run, name)
            if name != "finished":
                raise ValueError("Because <b>.")

    if name == "finished":
        end()
    else:
        with pytest.raises(ValueError, match="Because"):
            end()
    shown = PageReader(text_of(run))
    assert "http-equiv" not in text_of(run) and "data-written" not in text_of(run)
    assert said in shown.text and ("100 %" if name == "finished" else "Because <b>.") in shown.text
    assert all(address.startswith(("data:", "#")) for address in shown.addresses)


def test_a_run_that_does_not_train_leaves_the_page_alone(run: Path) -> None:
    (run / "report.html").write_text("the full one")
    with LivePage(Heard(), run) as page:
        page.say("finished already")
    assert text_of(run) == "the full one"


def test_what_gendi_did_not_write_stays(run: Path, clock: Clock) -> None:
    (run / "report.html").write_text("<h1>mine</h1>")
    heard = Heard()
    with LivePage(heard, run) as page:
        page.progress(0.1, **FIELDS)
        clock.now += 60
        page.progress(0.2, **FIELDS)
    assert text_of(run) == "<h1>mine</h1>"
    assert len([line for line in heard.lines if "gendi did not write it" in line]) == 1


def test_a_full_report_that_is_written_meanwhile_stays(run: Path, clock: Clock) -> None:
    heard = Heard()
    with LivePage(heard, run) as page:
        page.progress(0.1, **FIELDS)
        live.atomic_write(run / "report.html", "the full one")
        clock.now += 60
        page.progress(0.2, **FIELDS)
        clock.now += 60
        page.progress(0.3, **FIELDS)
    assert text_of(run) == "the full one"
    assert len([line for line in heard.lines if "another command" in line]) == 1


def test_hostile_names_and_lines_are_text(tmp_path: Path, clock: Clock) -> None:
    run = fake_run(tmp_path / HOSTILE.replace("/", "_"), spec=None, bundle=False, draw=False)
    page = LivePage(Heard(), run, HOSTILE)
    page.say(HOSTILE)
    page.progress(0.1, **FIELDS)
    shown = PageReader(text_of(run))
    assert shown.tags.count("script") == 2 and HOSTILE in shown.text


def test_the_tail_reads_each_line_once_and_only_whole_ones(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tail = Tail(path)
    assert tail.read() == []
    path.write_bytes(b'{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    assert [line["step"] for line in tail.read()] == [1]
    with path.open("ab") as file:
        file.write(b'ss": 1.0}\nno json\n[1]\n{"step": 3}\n')
    assert [line["step"] for line in tail.read()] == [1, 2, 3]
    path.write_bytes(b'{"step": 1}\n')  # the run went back to a checkpoint
    assert [line["step"] for line in tail.read()] == [1]


def points(markup: str) -> list[tuple[float, float]]:
    """The points of the first line of a chart, in the coordinates of the picture."""
    found = re.search(r'class="line [^"]*" d="M([^"]*)"', markup)
    assert found is not None
    return [(float(x), float(y)) for x, y in (pair.split() for pair in found[1].split("L"))]


def test_equal_ratios_are_equal_distances_in_a_chart() -> None:
    x = np.array([0.0, 1000.0, 2000.0, 4000.0])
    drawn = points(line_chart([Line(x, np.array([8.0, 4.0, 2.0, 1.0]), "loss", "s0")], "Loss", "images"))
    down = np.diff([y for _, y in drawn])
    across = np.diff([x for x, _ in drawn])
    np.testing.assert_allclose(down, down[0], atol=0.11)
    np.testing.assert_allclose(across, across[0] * np.array([1, 1, 2]), atol=0.11)


def test_a_long_line_is_thinned_to_means() -> None:
    x = np.arange(1.0, 90_001.0)  # 300 to each point
    line = Line(x, np.where(x % 2 == 0, 1.0, 3.0), "loss", "s0")
    drawn = points(line_chart([line], "Loss", "images"))
    assert len(drawn) == 300 and len({round(y) for _, y in drawn}) == 1


def test_values_that_have_no_logarithm_are_left_out() -> None:
    y = np.array([np.nan, 0.0, -1.0, np.inf, 2.0])
    assert len(points(line_chart([Line(np.arange(5.0), y, "loss", "s0")], "Loss", "images"))) == 1
    assert line_chart([Line(np.arange(1.0), np.zeros(1), "loss", "s0")], "Loss", "images") == ""


@pytest.mark.parametrize("marks", [lambda top: log_marks(top / 1.2, top), lambda top: log_marks(top / 5000, top)])
def test_marks_lie_within_the_axis(marks: Callable[[float], list[float]]) -> None:
    for top in (0.37, 1.0, 2.4, 98.0):
        found = marks(top)
        assert 2 <= len(found) <= 8 and found == sorted(found) and max(found) <= top
        even = even_marks(top)
        assert 3 <= len(even) <= 7 and even[0] == 0 and even[-1] <= top


def test_names_are_apart_and_in_order() -> None:
    heights = spread([50.0, 51.0, 10.0, 52.0, 240.0], 16.0, 220.0)
    assert all(abs(a - b) >= 15 - 1e-9 for i, a in enumerate(heights) for b in heights[:i])
    assert heights[2] < heights[0] < heights[1] < heights[3] < heights[4] <= 220
