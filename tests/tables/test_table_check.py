"""What `gendi data check` says of a table, what a dry run lists, and the page's section on columns."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gendi.cli import main
from gendi.data import check_data, open_data
from gendi.data.kinds import kind_of
from gendi.data.tables.check import missing_code
from gendi.errors import UsageError
from gendi.report.columns import Beside

TEXT = """\
age,sex,born,dose,empty,note
31,F,1990-05-01,0.50,,a
44,M,1977-01-31,-999,,b
,F,1980-12-24,0.25,,c
44,M,1977-01-31,-999,,b
58,F,1963-02-02,1.00,,e
"""


@pytest.fixture
def spec(tmp_path: Path) -> str:
    (tmp_path / "people.csv").write_text(TEXT)
    return str(tmp_path / "people.csv")


def test_the_report_counts_what_a_person_counts_in_the_table(spec: str) -> None:
    report = check_data(spec)
    found = {column.name: column for column in report.columns}
    assert (report.rows, report.gaps, report.duplicates) == (5, 5, 1)
    age, sex, born = found["age"], found["sex"], found["born"]
    assert (age.kind, age.missing, age.distinct, age.low, age.high) == ("integer", 1, 3, "31", "58")
    assert (sex.kind, dict(sex.counts), sex.condition) == ("category", {"F": 3, "M": 2}, "class")
    assert (born.low, born.high, born.condition) == ("1963-02-02", "1990-05-01", "")
    assert found["empty"].missing == 5
    assert json.loads(json.dumps(report.to_dict()))["columns"][0]["name"] == "age"


def test_the_report_proposes_to_mend_codes_for_missing_cells_and_empty_columns(spec: str) -> None:
    said = "\n".join(check_data(spec).proposals)
    assert "'dose' is -999 in 2 rows" in said
    assert f"{spec}?empty=drop" in said


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ([1, 2, 3, 999, 999], 999.0),
        ([1, 2, 3, 999], None),  # once is an outlier, not a code
        ([-900, -950, -999, -999], None),  # it lies among the others
        ([-1, -1, 5, 5], None),  # there is nothing to be far from
    ],
)
def test_a_code_for_missing_cells_is_repeated_and_far_from_all_other_numbers(
    values: list[float], code: float | None
) -> None:
    assert missing_code(np.array(values, float)) == code


def test_columns_that_are_equal_in_every_row_are_named(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1, 2, 3], "b": [2, 1, 3], "c": [1, 2, 3]}).to_csv(tmp_path / "t.csv", index=False)
    (said,) = [each for each in check_data(str(tmp_path / "t.csv?a=integer&c=integer")).proposals if "equals" in each]
    assert "'c' equals 'a'" in said


def test_the_command_prints_the_columns_and_refuses_a_size(spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", spec]) == 0
    out = capsys.readouterr().out
    assert "F 3, M 2" in out and "1963-02-02 to 1990-05-01" in out
    with pytest.raises(UsageError, match="--size is for pictures"):
        check_data(spec, size=8)


def test_a_dry_run_lists_the_columns_of_a_table(spec: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["train", spec, "--dry-run", "--out", str(tmp_path / "run"), "--batch-size", "4"]) == 0
    out = capsys.readouterr().out
    assert "6 columns" in out and "F 3, M 2" in out and "31 to 58; missing in 1" in out


def test_kinds_without_columns_have_no_parts() -> None:
    data = open_data("toy:moons?n=20")
    assert kind_of(data.kind).parts(data) == ()


def test_pairs_of_the_page_are_the_columns_that_depend_on_each_other() -> None:
    rng = np.random.default_rng(0)
    a, phase = rng.normal(size=300), rng.uniform(0, 2 * np.pi, 300)
    frame = pd.DataFrame(
        {
            "noise": rng.normal(size=300),
            "x": np.cos(phase),
            "a": a,
            "y": np.sin(phase),
            "b": a + 0.1 * rng.normal(size=300),
        }
    )
    data = open_data(frame)
    rows = data.train.batch(range(len(data.train)))
    names = [column.name for column in data.schema.columns]
    pairs = [{names[i], names[j]} for i, j in Beside(data.schema, rows, rows).pairs()]
    assert pairs == [{"a", "b"}, {"x", "y"}]  # a ring has no correlation, and is found by the distances from the middle
