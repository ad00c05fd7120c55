"""`gendi distil`, from the words of a command to a student that samples."""

import json
from pathlib import Path

import pytest

from conftest import Gendi
from gendi.api.request import read_request


def test_from_the_command_line(gendi: Gendi, tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "student"
    done = gendi("distil", str(tiny_run), "--calls", "1", "--steps", "2", "--out", str(out))
    assert done.code == 0, done.err
    assert f"{out}: 2 steps, 8 images" in done.out and f"sample {out} --n 64" in done.err
    again = gendi("distil", str(tiny_run), "--calls", "1", "--steps", "2", "--out", str(out), "--json")
    assert again.code == 0 and json.loads(again.out)["already_finished"] is True
    drawn = gendi("sample", str(out), "--n", "4", "--out", str(tmp_path / "four.png"))
    assert drawn.code == 0, drawn.err
    how = read_request(tmp_path / "four.png").how
    assert (how.sampler, how.steps) == ("consistency", 1)


def test_mean_flows_from_the_command_line(gendi: Gendi, tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "student"
    done = gendi("distil", str(tiny_run), "--method", "mean-flow", "--calls", "1", "--steps", "2", "--out", str(out))
    assert done.code == 0, done.err
    drawn = gendi("sample", str(out), "--n", "4", "--out", str(tmp_path / "four.png"))
    assert drawn.code == 0, drawn.err
    how = read_request(tmp_path / "four.png").how
    assert (how.sampler, how.steps) == ("flow-map", 1)


def test_the_scale_is_asked_for_where_the_student_samples(gendi: Gendi, tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "student"
    done = gendi("distil", str(tiny_run), "--guidance-range", "1", "4", "--steps", "1", "--out", str(out))
    assert done.code == 0, done.err
    for scale, code in (("3", 0), ("7", 2)):
        drawn = gendi("sample", str(out), "--n", "2", "--guidance", scale, "--out", str(tmp_path / "a.png"))
        assert drawn.code == code, drawn.err
    assert "guidance = 7 is out of range: this student learned the scales from 1 to 4" in drawn.err.replace("\n", " ")
    again = gendi("sample", "--again", str(tmp_path / "a.png"), "--out", str(tmp_path / "b.png"))
    assert again.code == 0, again.err
    assert read_request(tmp_path / "b.png").guidance == read_request(tmp_path / "a.png").guidance
    assert read_request(tmp_path / "b.png").guidance.scale == 3


def test_a_dry_run_says_what_it_would_take_and_writes_nothing(gendi: Gendi, tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "student"
    for method in ("ect", "progressive", "mean-flow", "dmd"):
        done = gendi(
            "distil", str(tiny_run), "--method", method, "--dry-run", "--steps", "3", "--out", str(out), "--json"
        )
        assert done.code == 0, done.err
        plan = json.loads(done.out)
        assert plan["run"] == str(out) and plan["budget"] == {"steps": 3}
        assert plan["config"]["objective"]["loss"] == {"ect": "consistency", "dmd": "distribution-matching"}.get(
            method, method
        )
        assert plan["parameters"] > 0 and plan["checkpoint_bytes"] > plan["parameters"] * 4
    shown = gendi("distil", str(tiny_run), "--dry-run", "--out", str(out))
    assert shown.code == 0 and "parameters" in shown.out and "4m" in shown.out
    assert not out.exists()
    assert "cannot be given together" in gendi("distil", str(tiny_run), "--dry-run", "--fresh").err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("distil", "RUN is missing: say which run to distil"),
        ("distil {run} --out {run}", "is the teacher's folder, and the student needs one of its own"),
        ("distil {run} --steps 2 --images 3", "--images and --steps cannot be given together"),
        (
            "distil {run} --calls 11",
            "a student is made for 1 to 10 calls per sample, as the chain of its teacher has 10",
        ),
        ("distil {run} --method progressive --calls 6", "a student is made for 1 to 5 calls"),
        ("distil {run} --calls 0", "--calls"),
        ("distil {run} --method magic", "magic"),
        ("distil nowhere", "There is no folder nowhere"),
    ],
)
def test_what_is_refused(gendi: Gendi, tiny_run: Path, words: str, message: str) -> None:
    done = gendi(*words.format(run=tiny_run).split())
    assert done.code == 2
    assert message in done.err.replace("\n", " ")
