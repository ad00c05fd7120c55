"""Names of data are data: classes, folders, categories and columns may have any names, and none of them breaks a call.

Each test goes the whole way: train, sample, draw again, evaluate, report, and look at the run.
"""

import io
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from names_world import PICTURES, World, cells, pictures, table, whole_way

from gendi.api.conditions import words_of
from gendi.cli import main
from gendi.data import open_data
from gendi.evaluate.vectors import metrics
from gendi.storage.toml import dump_toml, read_toml, write_toml

WORDS = (
    *("none", "None", "null", "true", "nan", "inf", "-1", "1.5", "1e3", "three"),  # TOML's, JSON's and numbers
    *("self", "args", "kwargs", "class", "lambda", "__class__", "_"),  # Python's
    *("x", "t", "cond", "dim", "requires_grad", "module", "forward"),  # arguments of torch
    *("-dash", "--help", "--", "-x=y", "a,b", "a", "a=b", "a|b", "two words", "*", "%s", "{0}"),  # a shell's
    *("[table]", "key = 1", "'''", '"', "\\", "#", "$x$", "$\\bad$", "<b>&amp;<"),  # TOML, LaTeX and HTML
    *("é", "日本", "🙂", "\u202e", "\ufeff1", "con", "nul.txt", "..."),  # beyond latin-1, and reserved on Windows
)
"""Names that have a meaning somewhere on the way."""
PATHS = ("/", "../x", "a/b", "</script>", ".hidden", "line\nbreak")
"""Names of classes that no folder can have, or that begin with the dot of hidden folders."""

Make = Callable[..., World]


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENDI_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True)
def _quick_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "JUDGES", metrics.JUDGES[1:])
    monkeypatch.setattr("gendi.evaluate.vectors.rows.SPLITS", 3)


def goes_the_whole_way(make: Make, names: Sequence[str], asked: Sequence[str], *column: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for command, code in whole_way(make(Path(folder), names, *column), Path(folder), asked):
            assert code == 0, (command, names, column)


def test_names_of_folders_are_classes() -> None:
    goes_the_whole_way(pictures, WORDS, ("none", "-dash", "a,b"))


def test_names_of_categories_and_columns_of_a_table() -> None:
    pytest.importorskip("pandas")
    goes_the_whole_way(table, WORDS + PATHS, ("none", "-dash"), "none")


def test_names_of_categories_and_columns_of_cells() -> None:
    pytest.importorskip("anndata")
    goes_the_whole_way(cells, WORDS + PATHS, ("none", "-dash"), "self")


def test_a_column_of_cells_called_source_keeps_its_values(tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata")
    for command, code in whole_way(cells(tmp_path, ["lab", "field"], "source"), tmp_path, ("lab",), measured=False):
        assert code == 0, command
    obs = anndata.read_h5ad(tmp_path / "0.h5ad").obs
    assert set(obs["source"]) == {"lab"} and set(obs["gendi_source"]) == {"gendi"}


def test_a_column_of_cells_called_depth_may_be_something_else(tmp_path: Path) -> None:
    """A category called depth asks for no depth: its codes are no sums of counts."""
    anndata = pytest.importorskip("anndata")
    for command, code in whole_way(cells(tmp_path, ["deep", "flat"], "depth"), tmp_path, ("deep",), measured=False):
        assert code == 0, command
    drawn = anndata.read_h5ad(tmp_path / "0.h5ad")
    assert set(drawn.obs["depth"]) == {"deep"} and drawn.layers["counts"].sum() > 2 * len(drawn)


def test_arguments_of_torch_are_names_of_arrays_beside_pictures(tmp_path: Path) -> None:
    rng, names = np.random.default_rng(0), ("self", "x", "t", "cond", "args", "module", "input", "none")
    arrays = {name: rng.integers(0, 2, 16) for name in names if name != "self"}
    np.savez(tmp_path / "shapes.npz", images=rng.integers(0, 256, (16, 8, 8), dtype=np.uint8), **arrays)
    with zipfile.ZipFile(tmp_path / "shapes.npz", "a") as archive:  # `np.savez` has an argument self too
        buffer = io.BytesIO()
        np.save(buffer, arrays["x"])
        archive.writestr("self.npy", buffer.getvalue())
    world = World(str(tmp_path / "shapes.npz"), (*PICTURES, "--condition", *names), "self", ".png")
    for command, code in whole_way(world, tmp_path, ("0",), measured=False):
        assert code == 0, command


def test_a_name_that_begins_with_a_dash_is_asked_for(tmp_path: Path) -> None:
    run = tmp_path / "run"
    world = pictures(tmp_path, ["-dash", "--n", "plain"])
    assert main(["train", world.spec, *world.flags, "--steps", "1", "--batch-size", "4", "--out", str(run)]) == 0
    short = ("--n", "1", "--steps", "2", "--sampler", "ddim", "--out")
    for i, words in enumerate((("--class", "-dash"), ("--class=-dash",), ("--class=--n",), ("--class=plain,-dash",))):
        assert main(["sample", str(run), *words, *short, str(tmp_path / f"{i}.png")]) == 0, words
    found = [(tmp_path / f"{i}.png").read_bytes() for i in range(2)]
    assert found[0] == found[1]
    assert main(["sample", str(run), "--class", "--n", "1"]) == 2  # a flag of the command stays a flag


def test_folders_that_differ_in_bytes_that_are_no_utf8_are_two_classes(tmp_path: Path) -> None:
    world = pictures(tmp_path, ["a\udcff", "a\udcfe", "b\udcff"])
    assert open_data(world.spec).conditions[0].names == ("a\\xfe", "a\\xff", "b\ufffd")


def test_words_with_commas_stay_together_where_only_they_are_a_name() -> None:
    names = ("a", "b", "a,b", "c,d", "e")
    assert words_of("a,b", names) == ["a,b"]
    assert words_of("b,a", names) == ["b", "a"]
    assert words_of("e,c,d,a", names) == ["e", "c,d", "a"]
    assert words_of("c,e", names) == ["c", "e"]


@given(st.lists(st.one_of(st.sampled_from([*WORDS, *PATHS, "a\udcff%"]), st.text(max_size=9)), max_size=6))
@example(["none"])
def test_toml_keeps_every_text(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    path, data = tmp_path_factory.getbasetemp() / "names.toml", {"names": names, "none": None, "deep": [{"a": names}]}
    write_toml(path, data)
    assert read_toml(path) == data
    path.read_bytes().decode()  # the file is UTF-8 whatever the names


def test_toml_of_version_0_1_0_is_read_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "old.toml").write_text('a = "none"\nb = "None"\nc = ["none", "x"]\n')
    assert read_toml(tmp_path / "old.toml") == {"a": None, "b": "None", "c": [None, "x"]}
    assert dump_toml({"a": None, "b": "None"}) == 'a = "none"\nb = "None"\n'


LETTERS = st.characters(codec="utf-8", exclude_characters="\0")
FOLDERS = st.text(LETTERS, min_size=1, max_size=12).filter(lambda name: not name.startswith(".") and "/" not in name)
CELLS = st.text(LETTERS, min_size=1, max_size=12)


def several(texts: "st.SearchStrategy[str]", known: Sequence[str]) -> "st.SearchStrategy[list[str]]":
    some = st.one_of(st.sampled_from(known), texts)
    return st.lists(some, min_size=2, max_size=5, unique_by=lambda name: name.strip())


SLOW = settings(max_examples=12, suppress_health_check=list(HealthCheck))


@pytest.mark.slow
@pytest.mark.timeout(1800)  # twelve data sets, and as many more where one fails
@SLOW
@given(several(FOLDERS, WORDS))
def test_fuzzed_names_of_folders(names: list[str]) -> None:
    goes_the_whole_way(pictures, names, names[:1])


@pytest.mark.slow
@pytest.mark.timeout(1800)  # twelve data sets, and as many more where one fails
@SLOW
@given(several(CELLS.filter(str.strip), WORDS + PATHS))
def test_fuzzed_names_in_tables(names: list[str]) -> None:
    pytest.importorskip("pandas")
    goes_the_whole_way(table, names, [names[0].strip()])  # cells lose the spaces around them


@pytest.mark.slow
@pytest.mark.timeout(1800)  # twelve data sets, and as many more where one fails
@SLOW
@given(several(CELLS, WORDS + PATHS))
def test_fuzzed_names_in_cells(names: list[str]) -> None:
    pytest.importorskip("anndata")
    goes_the_whole_way(cells, names, names[:1])
