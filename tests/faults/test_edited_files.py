"""Files of a run that a person edited, or that another program wrote: exit 4 naming the file, or the command goes on.

Every file that is not under a manifest is given every kind of wrong content, and every command that reads it is run.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
from names_world import PICTURES

from gendi.cli import main
from gendi.errors import BundleError
from gendi.storage.edited import read_table
from gendi.storage.plain import DEEPEST
from gendi.storage.toml import read_toml
from gendi.train.kept.status import METRICS, read_lines, read_status

FLAGS = (*PICTURES, "--condition", "class", "--batch-size", "4")
DEEP = 10_000
WRONG = {
    "a list": "[1, 2]",
    "a number": "5",
    "a text": '"x"',
    "nothing": "",
    "no text": b"\xff\xfe\x00",
    "deep lists": "[" * DEEP + "]" * DEEP,
    "deep tables": '{"step":' * DEEP + "1" + "}" * DEEP,
    "less deep": '{"a":' * 500 + "1" + "}" * 500,
    "wrong types": '{"status": 3, "step": "x", "images": [], "seconds": {}, "progress": "half", "metrics": [1]}',
    "other types": '{"status": "finished", "step": true, "metrics": {"fid": 3}, "train_seconds": "long"}',
    "huge numbers": '{"status": "finished", "step": 1e999, "seconds": 1' + "0" * 400 + "}",
}
LINES = (
    '5\n[1]\n{"step": "x"}\n{"step": 1, "loss": "low", "images": 4}\n{"step": 1, "heldout": 1, "heldout_q": 3}\n'
    + '{"step": 2, "heldout": {}, "images": []}\n{"step": true}\n{"step": 1'
    + "[" * DEEP
    + "\n\xff\n"
)
TOML = {
    "no TOML": "a = ",
    "a list for a table": "config = [1]\ndata = 3\nbudget = 'x'\n",
    "deep lists": "a = " + "[" * DEEP + "]" * DEEP,
    "deep tables": ".".join(["a"] * DEEP) + " = 1",
    "less deep": "[config]\nconditions = " + "[" * 200 + "]" * 200,
    "an unknown field": "[config]\nnix = 1\n",
    "wrong types": "[config]\npreset = 3\n[data]\nspec = 5\nfingerprint = []\n[start]\nfrom = 3\n",
}
READERS = ("info", "runs", "report", "verify", "train")
FOLDERS = ("checkpoints", "previews", "bundle", "codec", "ema", "pictures")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The data and the folder of a small run with an evaluation; tests change copies of the folder."""
    folder = tmp_path_factory.mktemp("edited")
    rng, data, run = np.random.default_rng(0), folder / "data.npz", folder / "run"
    np.savez(data, images=rng.integers(0, 256, (24, 8, 8), dtype=np.uint8), labels=np.arange(24) % 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENDI_CACHE", str(folder / "cache"))
        assert main(["train", str(data), *FLAGS, "--steps", "2", "--out", str(run)]) == 0
        assert main(["evaluate", str(run), "--n", "4", "--steps", "2", "--sampler", "ddim"]) == 0
    return str(data), run


def outcomes(data: str, run: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[int, str]]:
    """Return the exit code and standard error of each command that reads a run's files."""
    out = {}
    for name in READERS:
        words = {"train": ["train", data, *FLAGS, "--steps", "3", "--out"]}.get(name, [name])
        out[name] = main([*words, str(run)]), capsys.readouterr().err
    return out


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG.keys())
@pytest.mark.parametrize("name", ["status.json", "timings.json", "evaluation.json"])
def test_hand_edited_json_ends_with_4_and_its_name(
    finished: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str | bytes
) -> None:
    data, run = finished[0], shutil.copytree(finished[1], tmp_path / "run")
    (run / name).write_bytes(content.encode() if isinstance(content, str) else content)
    for command, (code, err) in outcomes(data, run, capsys).items():
        assert code == 0 or (code == 4 and name in err), (command, err)
        assert command not in ("runs", "report", "verify", "train") or code == 0, err
        assert "bug" not in err and "Traceback" not in err


@pytest.mark.parametrize("content", TOML.values(), ids=TOML.keys())
def test_hand_edited_toml_ends_with_4_and_its_name(
    finished: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    data, run = finished[0], shutil.copytree(finished[1], tmp_path / "run")
    (run / "config.toml").write_text(content)
    for command, (code, err) in outcomes(data, run, capsys).items():
        assert code == 0 or (code == 4 and "config.toml" in err), (command, err)
        assert command in ("report", "runs", "info") or code == 4
        assert command != "runs" or code == 0


@pytest.mark.parametrize("name", ["metrics.jsonl", "timings.jsonl"])
def test_lines_of_metrics_that_gendi_did_not_write_are_left_out(
    finished: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    data, run = finished[0], shutil.copytree(finished[1], tmp_path / "run")
    before = read_lines(run / name)
    with (run / name).open("a", encoding="latin-1") as file:
        file.write(LINES)
    assert read_lines(run / name) == before
    assert {code for code, _ in outcomes(data, run, capsys).values()} == {0}
    assert b"low" not in (run / name).read_bytes()  # the run that went on has repaired it


@pytest.mark.parametrize("name", FOLDERS)
def test_a_file_where_a_folder_should_be(
    finished: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    data, run = finished[0], shutil.copytree(finished[1], tmp_path / "run")
    shutil.rmtree(run / name, ignore_errors=True)
    (run / name).write_text("mine")
    for command, (code, err) in outcomes(data, run, capsys).items():
        if command in ("train", "report", "verify"):
            assert code == 4 and f"{run / name} is a file, and a folder of the run belongs there" in err, (command, err)
        assert code in (0, 4) and (run / name).read_text() == "mine", (command, err)


@pytest.mark.parametrize("name", ["status.json", "timings.json", "evaluation.json", "metrics.jsonl", "timings.jsonl"])
def test_a_folder_where_a_file_should_be(
    finished: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    data, run = finished[0], shutil.copytree(finished[1], tmp_path / "run")
    (run / name).unlink()
    (run / name).mkdir()
    for command, (code, err) in outcomes(data, run, capsys).items():
        assert code == 0 or (code in (4, 5) and name in err), (command, err)
        assert command != "runs" or code == 0


def test_runs_lists_the_others_beside_a_bad_neighbour(
    finished: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("bad", "good"):
        shutil.copytree(finished[1], tmp_path / name)
    for name in ("config.toml", "status.json", "evaluation.json", "metrics.jsonl"):
        (tmp_path / "bad" / name).write_bytes(b"\xff[[[")
    (tmp_path / "folder" / "config.toml").mkdir(parents=True)
    assert main(["runs", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert ["unreadable" in line for line in lines if "bad" in line] == [True]
    assert ["finished" in line for line in lines if "good" in line] == [True] and len(lines) == 3


@pytest.mark.parametrize("deep", [DEEPEST, DEEPEST + 1])
def test_depth_has_a_limit_at_which_nothing_recurses(tmp_path: Path, deep: int) -> None:
    (tmp_path / "a.json").write_text('{"a":' * deep + "1" + "}" * deep)
    (tmp_path / "a.toml").write_text("a" + ".a" * (deep - 1) + " = 1")
    if deep == DEEPEST:
        assert str(read_table(tmp_path / "a.json")) == str(read_toml(tmp_path / "a.toml"))
        return
    for read in (read_table, read_toml):
        with pytest.raises(BundleError, match=r"a\.(json|toml) has tables or lists that are nested more than 64 deep"):
            read(tmp_path / ("a.json" if read is read_table else "a.toml"))


def test_status_is_typed(tmp_path: Path) -> None:
    assert read_status(tmp_path) is None and read_lines(tmp_path / METRICS) == []
    (tmp_path / "status.json").write_text('{"status": "finished", "step": 3, "new_field": [1]}')
    assert read_status(tmp_path) == {"status": "finished", "step": 3, "new_field": [1]}
    (tmp_path / "status.json").write_text('{"status": "finished", "step": 3.5}')
    with pytest.raises(BundleError, match=r"status\.json has step = '3\.5'"):
        read_status(tmp_path)
