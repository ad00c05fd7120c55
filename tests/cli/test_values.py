"""Durations, counts and sizes: what they mean, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gendi.cli.values import (
    LONGEST,
    MOST,
    format_count,
    format_duration,
    parse_count,
    parse_duration,
    parse_seed,
    parse_size,
)
from gendi.machine.units import format_bytes


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("8m", 480), ("1h30m", 5400), ("0.5h", 1800), ("1d1s", 86401), ("365d", LONGEST)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@given(st.integers(1, LONGEST))
def test_a_duration_comes_back(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "m", "8 m", "m8", "-8m", "1m1h", "8M", "1e3s", "nan", "infs", "0s", "366d", "٣s"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match=r"8m or 1h30m|out of range|no duration"):
        parse_duration(text)


def test_a_duration_without_unit_is_asked_for_one() -> None:
    with pytest.raises(ValueError, match="write 8s for seconds or 8m for minutes"):
        parse_duration("8")


@given(st.text())
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    try:
        assert 0 < parse_duration(text) <= LONGEST
    except ValueError as error:
        assert repr(text) in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("text", "count"), [("128", 128), ("60_000", 60000), ("500k", 500_000), ("1.5M", 1_500_000), ("2G", 2_000_000_000)]
)
def test_counts(text: str, count: int) -> None:
    assert parse_count(text) == count


@given(st.integers(1, MOST))
def test_a_count_comes_back(count: int) -> None:
    assert parse_count(format_count(count)) == count


@pytest.mark.parametrize("text", ["", "k", "-1", "0", "1.5", "2m", "1e6", "0x10", "nan", "1.0005k", "2000000G"])
def test_no_counts(text: str) -> None:
    with pytest.raises(ValueError, match=r"no whole number|out of range"):
        parse_count(text)


def test_a_count_out_of_range_is_told_the_range() -> None:
    with pytest.raises(ValueError, match="between 1 and 100"):
        parse_count("101", most=100)


def test_sizes_are_height_by_width() -> None:
    assert parse_size("28") == (28, 28)
    assert parse_size("96x64") == (96, 64)
    for text in ("", "x", "28x", "-1", "1x2x3", "28.5"):
        with pytest.raises(ValueError, match="no size"):
            parse_size(text)


def test_seeds() -> None:
    assert parse_seed(str(2**63 - 1)) == 2**63 - 1
    for text in ("-1", str(2**63), "1.0", "", "9" * 30):
        with pytest.raises(ValueError, match="from 0 to 9223372036854775807"):
            parse_seed(text)


def test_bytes_are_said_in_the_unit_that_suits_them() -> None:
    assert [format_bytes(n) for n in (512, 3_200_000, 1.5e9, 2e15)] == ["512 B", "3.2 MB", "1.5 GB", "2000.0 TB"]
