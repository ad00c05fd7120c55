"""Rules that rows of a table keep: what they say, what breaks them, and that samples keep them all."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from copula_model import copula_model

import gendi
from gendi.cli import main
from gendi.data import open_data
from gendi.data.tables.codec import TableCodec
from gendi.data.tables.rules import broken, read_rule, read_rules
from gendi.errors import BundleError, DataError, UsageError
from gendi.train.kept.bundle import load_bundle, save_bundle

pd = pytest.importorskip("pandas")

RULES = (
    "start <= end",
    "gross = net + tax",
    "wage = exp(logwage)",
    "combinations(city, country)",
    '"last day" = start + 30',
    "0 < net < gross",
)


def people(n: int, seed: int = 0) -> Any:
    """Return a table that keeps `RULES` and depends on chance otherwise."""
    rng = np.random.default_rng(seed)
    start = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), unit="D")
    net, tax = rng.gamma(3, 500, n).round(2) + 1, rng.gamma(2, 200, n).round(2) + 1
    town = rng.integers(0, 6, n)
    logwage = rng.normal(4.5, 0.4, n)
    return pd.DataFrame(
        {
            "start": start,
            "end": start + pd.to_timedelta(rng.integers(0, 60, n), unit="D"),
            "net": net,
            "tax": tax,
            "gross": (net + tax).round(2),
            "logwage": logwage,
            "wage": np.exp(logwage),
            "city": np.array(["Ulm", "Bonn", "Linz", "Graz", "Basel", "Bern"])[town],
            "country": np.array(["DE", "DE", "AT", "AT", "CH", "CH"])[town],
            "last day": start + pd.to_timedelta(30, unit="D"),
        }
    )


@pytest.fixture(scope="module")
def model() -> Any:
    return copula_model(people(1500), rules=RULES)


def by_hand(frame: Any) -> dict[str, Any]:
    """Return which rows keep each of `RULES`, computed by pandas."""
    pairs = set(zip(people(1500)["city"], people(1500)["country"], strict=True))
    found = [pair in pairs for pair in zip(frame["city"], frame["country"], strict=True)]
    return {
        "order": frame["start"] <= frame["end"],
        "sum": (frame["net"] + frame["tax"] - frame["gross"]).abs() < 1e-6,
        "function": np.isclose(frame["wage"], np.exp(frame["logwage"]), rtol=1e-9),
        "pairs": pd.Series(found),
        "days": frame["last day"] - frame["start"] == pd.Timedelta(30, unit="D"),
        "chain": (frame["net"] > 0) & (frame["net"] < frame["gross"]),
    }


def test_no_row_of_many_breaks_a_rule(model: Any) -> None:
    """Without the rules the same copula breaks each of them; the computed columns keep their decimals."""
    free = gendi.sample(copula_model(people(1500)), 2000, steps=8)
    kept = gendi.sample(model, 2000, steps=8)
    assert all(not ok.all() for name, ok in by_hand(free).items() if name != "chain")
    assert all(ok.all() for ok in by_hand(kept).values())
    assert list(kept.columns) == list(free.columns) and (kept.dtypes == free.dtypes).all()
    assert np.allclose(kept["gross"], kept["gross"].round(2))


def test_a_sample_does_not_depend_on_its_neighbours(model: Any) -> None:
    whole = gendi.sample(model, 40, steps=5)
    part = gendi.sample(model, 10, steps=5, first_index=20)
    pd.testing.assert_frame_equal(whole.iloc[20:30].reset_index(drop=True), part, rtol=1e-5)


def test_given_and_filled_cells_keep_the_rules(model: Any) -> None:
    drawn = gendi.sample(model, 60, where={"city": "Linz", "gross": 2000.0, "start": "2021-03-01"}, steps=10)
    assert all(ok.all() for ok in by_hand(drawn).values())
    assert (drawn["gross"] == 2000).all() and (drawn["country"] == "AT").all()
    rows, rng = people(80, seed=3), np.random.default_rng(0)
    holes = rows.mask(rng.random(rows.shape) < 0.3)
    filled = gendi.impute(model, holes, steps=10)[0]
    assert all(ok.all() for ok in by_hand(filled).values())
    for name in rows.columns:
        there = holes[name].notna()
        assert (filled[name][there] == holes[name][there]).all()
    with pytest.raises(UsageError, match="given cells break the rule start <= end"):
        gendi.sample(model, 5, where={"start": "2021-03-01", "end": "2021-02-01"})
    with pytest.raises(UsageError, match=r"break the rule combinations\(city, country\)"):
        gendi.sample(model, 5, where={"city": "Ulm", "country": "CH"})


def test_a_bundle_keeps_its_rules(model: Any, tmp_path: Path) -> None:
    read = load_bundle(save_bundle(tmp_path / "bundle", model))
    assert read.codec == model.codec
    assert isinstance(read.codec, TableCodec) and {rule.text for rule in read.codec.rules} == set(RULES)
    fields = model.codec.to_dict()
    for wrong in ([{"text": "start <"}], [{"text": "a <= b", "combinations": []}], "start <= end"):
        with pytest.raises(BundleError, match="rule"):
            TableCodec.expected({**fields, "rules": wrong})
    old = copula_model(people(50)).codec.to_dict()
    del old["rules"]  # as before there were rules
    TableCodec.expected(old)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("start <= ende", "no column named 'ende'. Perhaps you meant 'end'"),
        ("start <=", "cannot be read"),
        ("net + tax", "neither an order"),
        ("net + tax = gross * 2", "neither an order"),
        ("net != tax", "neither an order"),
        ("city <= country", "whose cells are words"),
        ("gross = sum(net)", "no function named 'sum'"),
        ("gross = net.real", "a part that rules do not have"),
        ("gross = exp(net, tax, 3)", "gives exp 3 arguments"),
        ("gross = __import__('os')", "no function named '__import__'"),
        ("combinations(city)", "names two columns or more"),
    ],
)
def test_texts_that_are_no_rules_are_refused(rule: str, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        read_rule(rule, open_data(people(30)).schema)


def test_rules_that_cannot_go_together_are_refused() -> None:
    schema = open_data(people(30)).schema
    with pytest.raises(UsageError, match="two rules say what gross is"):
        read_rules(["gross = net + tax", "gross = 2 * net"], schema)
    with pytest.raises(UsageError, match="compute columns from one another"):
        read_rules(["gross = net + tax", "net = gross - tax"], schema)
    with pytest.raises(UsageError, match="the network cannot be told it"):
        copula_model(people(60), "gross", rules=("gross = net + tax",))
    assert [rule.computes for rule in read_rules(["gross = 2 * wage", "wage = exp(logwage)"], schema)] == [
        "wage",
        "gross",
    ]


def test_rows_that_break_a_rule_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = people(40)
    frame.loc[[6, 30], "end"] = pd.Timestamp("2019-05-01")
    with pytest.raises(
        DataError, match=r"start <= end is broken in 2 of 40 rows: row 7 \(start = .*end = 2019-05-01\), row 31"
    ):
        copula_model(frame, rules=("start <= end",))
    frame.to_csv(tmp_path / "x.csv", index=False)
    words = ["train", str(tmp_path / "x.csv"), "--rule", "start <= end", "--steps", "1", "--out", str(tmp_path / "run")]
    assert main(words) == 3
    assert "broken in 2 of 40 rows" in " ".join(capsys.readouterr().err.split())
    assert main(["data", "check", str(tmp_path / "x.csv"), "--rule", "start <= end"]) == 0
    assert "row 31" in " ".join(capsys.readouterr().out.split())


def test_a_rule_says_nothing_of_rows_with_gaps() -> None:
    frame = people(30)
    frame.loc[3, "tax"] = np.nan
    frame.loc[4, "gross"] = np.nan
    frame.loc[5, "gross"] = 1.0
    data = open_data(frame)
    rows = np.concatenate([np.asarray(part.batch(range(len(part)))) for part in (data.train, data.heldout)])
    gross = [column.name for column in data.schema.columns].index("gross")
    assert rows[broken(read_rules(["gross = net + tax"], data.schema), rows), gross].tolist() == [1.0]


def test_rows_that_nothing_satisfies_are_said() -> None:
    """A rule that the training rows keep by chance and the model hardly ever does: forty numbers in order."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({f"x{k}": k + rng.random(80) for k in range(3)} | {"y": rng.normal(size=80)})
    made = copula_model(frame, rules=("x0 < x1 < x2",))
    rules = read_rules(["y > 100"], made.codec.schema)
    made = dataclasses.replace(
        made,
        codec=TableCodec(
            made.codec.schema, made.codec.marginals, made.codec.gaps, made.codec.orders, {}, made.codec.axes, rules
        ),
    )
    with pytest.raises(DataError, match="break the rules of the table after"):
        gendi.sample(made, 3, steps=1)


def test_check_proposes_rules_that_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    people(300).to_csv(tmp_path / "x.csv", index=False)
    assert main(["data", "check", str(tmp_path / "x.csv")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for rule in ("start <= end", "gross = net + tax", "wage = exp(logwage)", "combinations(city, country)"):
        assert rule in said, rule
    assert '"last day" = start + 30' in said
    assert "net <= gross" not in said  # follows from the sum, as both are above 0
