"""Filling gaps and drawing rows with given cells, in Gaussian tables, where the law given some cells is a formula."""

import csv
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from copula_model import copula_model, normal_table
from scipy.stats import chisquare, norm, truncnorm

import gendi
from gendi.cli import main
from gendi.data.tables.cells import split_where
from gendi.data.tables.example import mixed_table
from gendi.errors import DataError, UsageError
from gendi.train.kept.bundle import Bundle, save_bundle

pd = pytest.importorskip("pandas")

R = np.array([[1, 0.8, 0.3], [0.8, 1, 0.5], [0.3, 0.5, 1]])


@pytest.fixture(scope="module")
def gaussian() -> Bundle:
    return copula_model(normal_table(4000, R))


@pytest.fixture(scope="module")
def mixed() -> Bundle:
    return copula_model(mixed_table(1000))


@pytest.mark.statistical
@pytest.mark.filterwarnings("ignore:.*lies outside the training data")
def test_filled_cells_have_the_conditional_law_of_a_gaussian(gaussian: Bundle) -> None:
    """Mean, and the coverage of 90% intervals, over 400 rows with one, two or all cells missing."""
    rows, rng = normal_table(400, R, seed=1), np.random.default_rng(2)
    gone = rng.random(rows.shape) < 0.4
    drawn = np.stack([each.to_numpy() for each in gendi.impute(gaussian, rows.mask(gone), draws=60, steps=30)])
    z, means = rows.to_numpy() - [10, 20, 30], np.zeros(rows.shape)
    stds = np.zeros(rows.shape)
    for i, missing in enumerate(gone):
        known = ~missing
        gain = R[np.ix_(missing, known)] @ np.linalg.inv(R[np.ix_(known, known)])
        means[i, missing] = gain @ z[i, known]
        stds[i, missing] = np.sqrt(np.diag(R[np.ix_(missing, missing)] - gain @ R[np.ix_(known, missing)]))
    away = (drawn - [10, 20, 30] - means)[:, gone] / stds[gone]
    # 60 draws of n cells; the copula of 4000 rows errs by about 1 / sqrt(4000) of the scores
    assert abs(away.mean()) < 5 / np.sqrt(away.size) + 0.05
    assert abs(away.std() - 1) < 0.05
    ends = np.quantile(drawn[:, gone], (0.05, 0.95), axis=0)
    covered = ((rows.to_numpy()[gone] >= ends[0]) & (rows.to_numpy()[gone] <= ends[1])).mean()
    # the 5% and 95% points of 60 draws cover 88.6% of a normal law on average; three errors of the share beside
    assert abs(covered - 0.886) < 3 * np.sqrt(0.1 / gone.sum()) + 0.02


@pytest.mark.statistical
def test_rows_with_given_cells_have_the_conditional_law(gaussian: Bundle) -> None:
    drawn = gendi.sample(gaussian, 1500, where={"a": 11.5}, steps=30)
    assert (drawn["a"] == 11.5).all()
    std = np.sqrt(1 - 0.8**2)
    assert abs(drawn["b"].mean() - 20 - 0.8 * 1.5) < 5 * std / np.sqrt(1500) + 0.05
    assert abs(drawn["b"].std() / std - 1) < 5 / np.sqrt(3000) + 0.05
    again = gendi.sample(gaussian, 3, where={"a": 11.5}, steps=30, first_index=5)
    pd.testing.assert_frame_equal(drawn.iloc[5:8].reset_index(drop=True), again, rtol=1e-5)


@pytest.mark.statistical
def test_a_given_category_shifts_the_number_that_depends_on_it() -> None:
    """Where a word is an interval of a normal score, given the upper half the mean of the other is r sqrt(2 / pi)."""
    z = normal_table(4000, R[:2, :2])
    frame = pd.DataFrame({"high": np.where(z["a"] > 10, "yes", "no"), "b": z["b"]})
    drawn = gendi.sample(copula_model(frame, points=False), 1500, where={"high": "yes"}, steps=30)
    assert (drawn["high"] == "yes").all()
    # the codec estimates the correlation of scores that are uniform within a word; it is less than 0.8
    codec = copula_model(frame, points=False).codec
    r = (codec.axes.T @ codec.axes)[0, 1]
    mean = abs(r) * norm.expect(lambda x: x, lb=0) * 2
    assert abs(drawn["b"].mean() - 20 - mean) < 5 / np.sqrt(1500) + 0.05


@pytest.mark.statistical
def test_words_that_are_independent_of_given_cells_keep_their_shares() -> None:
    """Without training words are independent of all else, so what is given does not change their law."""
    words = np.repeat(["a", "b", "c"], [2000, 1400, 600])
    frame = pd.DataFrame({"word": words, "b": normal_table(4000, R[:1, :1])["a"], "yes": np.arange(4000) % 5 == 0})
    drawn = gendi.sample(copula_model(frame), 2000, where={"b": 11.0, "yes": True})
    assert (drawn["b"] == 11.0).all() and drawn["yes"].all()
    found = drawn["word"].value_counts().reindex(["a", "b", "c"]).to_numpy()
    assert chisquare(found, 2000 * np.array([0.5, 0.35, 0.15])).pvalue > 1e-3


def test_given_cells_of_every_kind_come_back_and_gaps_are_filled(mixed: Bundle) -> None:
    rng, frame = np.random.default_rng(1), mixed_table(60, seed=5)
    frame.index = pd.Index(rng.permutation(60) + 100)
    frame["note"] = "kept"
    gone = pd.DataFrame(rng.random(frame.shape) < 0.3, frame.index, frame.columns).assign(note=False)
    holes = frame.mask(gone)
    filled = gendi.impute(mixed, holes, draws=2, steps=3)
    assert len(filled) == 2
    for each in filled:
        assert not each.isna().any().any()
        assert list(each.columns) == list(frame.columns) and each.index.equals(frame.index)
        kept = holes.notna()
        for name in frame.columns:
            assert (each[name][kept[name]] == holes[name][kept[name]]).all(), name
            assert each[name].dtype == holes[name].dtype or holes[name].dtype == object, name
        words = each["region"].isin(["north", "south", "east", "west", "islands"])
        assert words.all()
    assert not filled[0].equals(filled[1])
    one = gendi.impute(mixed, holes, draws=1, steps=3)[0]
    pd.testing.assert_frame_equal(one, filled[0])


def test_cells_of_every_kind_can_be_given(mixed: Bundle) -> None:
    cells = {"region": "islands", "age": 40, "born": "1984-05-01", "female": True, "grade": "A", "score": None}
    drawn = gendi.sample(mixed, 20, where=cells, steps=3)
    assert (drawn["region"] == "islands").all() and (drawn["age"] == 40).all() and drawn["female"].all()
    assert (drawn["born"] == pd.Timestamp("1984-05-01")).all() and (drawn["grade"] == "A").all()
    assert drawn["score"].isna().all()
    assert drawn["income"].notna().all() and drawn["income"].nunique() > 10


@pytest.mark.statistical
@pytest.mark.filterwarnings("ignore:.*lies outside the training data")
@pytest.mark.parametrize("cell", [(10.5, 11.5), "10.5..11.5"])
def test_a_range_leaves_the_law_of_rows_within_it(gaussian: Bundle, cell: Any) -> None:
    """a ~ N(10, 1) in [10.5, 11.5] is a truncated normal, and E[b | a] = 20 + 0.8 (a - 10)."""
    drawn = gendi.sample(gaussian, 3000, where={"a": cell}, steps=30)
    z, law = drawn["a"] - 10, truncnorm(0.5, 1.5)
    assert z.between(0.5, 1.5).all()
    assert abs(z.mean() - law.mean()) < 4 * law.std() / np.sqrt(3000) + 0.02
    assert abs(z.std() - law.std()) < 0.02
    rest = drawn["b"] - 20 - 0.8 * z
    assert abs(rest.mean()) < 4 * 0.6 / np.sqrt(3000) + 0.03
    assert abs(rest.std() - 0.6) < 0.04


def test_ranges_of_every_kind_and_without_an_end(mixed: Bundle) -> None:
    cells = {"age": (30, 40), "born": "1980-01-01..", "children": "..1", "income": (1.0, None)}
    drawn = gendi.sample(mixed, 60, where=cells, steps=3)
    assert drawn["age"].between(30, 40).all() and drawn["age"].nunique() > 3
    assert (drawn["born"] >= pd.Timestamp("1980-01-01")).all()
    assert set(drawn["children"]) == {0, 1}
    assert (drawn["income"] >= 1).all()


@pytest.mark.filterwarnings("ignore:.*lies outside the training data")
def test_a_told_condition_can_be_given_or_left_open() -> None:
    model = copula_model(mixed_table(300), "region", "income")
    drawn = gendi.sample(model, 10, where={"region": "west", "kind": "a"}, steps=3)
    assert (drawn["region"] == "west").all() and (drawn["kind"] == "a").all() and drawn["income"].nunique() > 1
    told = gendi.sample(model, 10, where={"kind": "a"}, condition={"region": "west"}, steps=3)
    assert (told["region"] == "west").all() and (told["kind"] == "a").all()
    with pytest.raises(UsageError, match="given twice"):
        gendi.sample(model, 10, where={"region": "west"}, condition={"region": "west"}, steps=3)
    holes = mixed_table(20, seed=2)
    holes.loc[3:, "region"] = None
    assert gendi.impute(model, holes, steps=3)[0]["region"].notna().all()
    always = copula_model(mixed_table(300), "region", dropout=0.0)
    with pytest.raises(DataError, match="row 4 does not say its region"):
        gendi.impute(always, holes, steps=3)


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"Age": 40}, "no column named 'Age'. Perhaps you meant 'age'"),
        ({"region": "nort"}, "perhaps 'north'"),
        ({"age": "old"}, "age = 'old' is no number"),
        ({"age": 40.5}, "no whole number"),
        ({"female": "perhaps"}, "neither false nor true"),
        ({"born": "yesterday"}, "is no date"),
        ({"age": None}, "age was never missing in training"),
        ({"pressure": None, "rhythm": "odd"}, "always missing together"),
        ({"age": (40, 30)}, "first end lies behind its second"),
        ({"age": "200..300"}, "no training row has such a value; they have"),
        ({"children": (0.2, 0.8)}, "no whole number"),
        ({"region": ("north", "south")}, "a range, and its column has words"),
        ({"age": ".."}, "a range without ends"),
        ({"age": "30..old"}, "age = '30..old' is no number"),
    ],
)
def test_cells_that_cannot_be_are_refused(mixed: Bundle, cells: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        gendi.sample(mixed, 4, where=cells, steps=2)


def test_numbers_outside_and_cells_that_are_never_together_are_warned_of(gaussian: Bundle) -> None:
    with pytest.warns(UserWarning, match="a = 99 lies outside the training data"):
        gendi.sample(gaussian, 4, where={"a": 99.0}, steps=3)
    rows = normal_table(3, R)
    rows.loc[0, "b"] = np.nan
    rows.loc[2, "a"] = -5.0
    with pytest.warns(UserWarning, match="a = -5 lies outside"):
        gendi.impute(gaussian, rows, steps=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gendi.sample(gaussian, 4, where={"a": 11.0}, steps=3)


def test_tables_that_do_not_fit_are_refused(gaussian: Bundle) -> None:
    rows = normal_table(3, R)
    with pytest.raises(DataError, match="no column 'b', which the model's training table had. 'B' is nearest"):
        gendi.impute(gaussian, rows.rename(columns={"b": "B"}))
    with pytest.raises(DataError, match="column 'c' has 'x' in row 2, which is no number"):
        gendi.impute(gaussian, rows.astype({"c": object}).assign(c=[1.0, "x", 2.0]))
    with pytest.raises(UsageError, match="draws and steps"):
        gendi.impute(gaussian, rows, draws=0)
    with pytest.raises(UsageError, match="leave sampler and options out"):
        gendi.sample(gaussian, 2, where={"a": 10}, sampler="heun")


def test_words_of_where_may_hold_commas_and_equals_signs() -> None:
    names = ["city", "a=b", "a", "sex"]
    assert split_where(("city=Ulm, Bern,sex=F", "a=b=3"), names) == {"city": "Ulm, Bern", "sex": "F", "a=b": "3"}
    assert split_where(("a=,sex=M",), names) == {"a": "", "sex": "M"}
    with pytest.raises(UsageError, match="Perhaps you meant 'city'"):
        split_where(("citi=Ulm",), names)
    with pytest.raises(UsageError, match="written NAME=VALUE"):
        split_where(("F",), names)
    with pytest.raises(UsageError, match="twice"):
        split_where(("sex=F,sex=M",), names)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table and the bundle of a model of it."""
    home = tmp_path_factory.mktemp("people")
    rng = np.random.default_rng(0)
    lines = ["size;smokes;type;n"]
    for i in rng.integers(0, 50, 200).tolist():
        smokes, kind = ("yes", "no")[rng.integers(2)], ('"x; y"', "z")[rng.integers(2)]
        lines.append(f"{rng.normal(5, 1):.2f};{smokes};{kind};{i}")
    text = "\n".join(lines) + "\n"
    (home / "people.csv").write_text(text)
    save_bundle(home / "bundle", copula_model(str(home / "people.csv")))
    return home


def test_a_csv_is_filled_and_given_cells_are_the_same_bytes(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "new.csv").write_text('id;n;size;smokes;type\n7;;+5.5;yes;"x; y"\n8;03;NA;no;\n9;4;5.000;;z\n')
    out = tmp_path / "whole.csv"
    words = ["impute", str(people / "bundle"), str(tmp_path / "new.csv"), "--draws", "2", "--steps", "3"]
    assert main([*words, "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert captured.out.split() == [str(tmp_path / "whole-1.csv"), str(tmp_path / "whole-2.csv")]
    assert "the model does not know id" in captured.err
    rows = list(csv.reader((tmp_path / "whole-1.csv").read_text().splitlines(), delimiter=";"))
    assert rows[0] == ["id", "n", "size", "smokes", "type"]
    assert rows[1][2:] == ["+5.5", "yes", "x; y"] and rows[1][0] == "7" and rows[1][1].isdecimal()
    assert rows[2][1] == "03" and rows[2][3] == "no" and rows[2][4] in ("x; y", "z")
    assert len(rows[2][2].partition(".")[2]) == 2  # written with the digits of the training table
    assert rows[3][2] == "5.000" and rows[3][3] in ("yes", "no")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["impute", "{bundle}", "{home}/none.csv"], 3, "There is no file"),
        (["impute", "{bundle}", "{home}/people.txt"], 2, "NAME.csv or NAME.parquet"),
        (["impute", "{bundle}", "{home}/people.csv", "--out", "{tmp}/x.parquet"], 2, "filled into a .csv"),
        (["sample", "{bundle}", "--where", "smoke=yes"], 2, "Perhaps you meant 'smokes'"),
        (["sample", "{bundle}", "--where", "smokes=maybe"], 2, "is none of its words"),
        (["sample", "{bundle}", "--where", "n=3", "--sampler", "heun"], 2, "a way of their own"),
        (["impute", "digits", "{home}/people.csv"], 2, "is for tables"),
        (["sample", "digits", "--where", "a=3"], 2, "is for tables"),
    ],
)
def test_commands_refuse_in_one_paragraph(
    people: Path, tmp_path: Path, words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"bundle": people / "bundle", "home": people, "tmp": tmp_path}
    assert main([word.format(**places) for word in words]) == code
    assert said in " ".join(capsys.readouterr().err.split())


def test_samples_with_given_cells_are_written(people: Path, tmp_path: Path) -> None:
    out = tmp_path / "fake.csv"
    words = ["--where", "smokes=yes,type=x; y", "--where", "n=12", "--n", "5", "--steps", "3", "--out", str(out)]
    assert main(["sample", str(people / "bundle"), *words]) == 0
    rows = list(csv.reader(out.read_text().splitlines(), delimiter=";"))[1:]
    assert len(rows) == 5 and {tuple(row[1:]) for row in rows} == {("yes", "x; y", "12")}
