import numpy as np
import pytest
from scipy.stats import chisquare

from gendi.errors import UsageError
from gendi.evaluate.classes import class_balance, entropy


def one_hot(labels: list[int], k: int, sure: float = 0.7) -> np.ndarray:
    return np.where(np.eye(k)[labels] == 1, sure, (1 - sure) / (k - 1))


def test_balance_of_a_known_histogram() -> None:
    labels = [0] * 5 + [1] * 3 + [2] * 2
    found = class_balance(one_hot(labels, 3), np.array([30.0, 50.0, 20.0]))
    expected = chisquare([5, 3, 2], [3, 5, 2])
    assert found.histogram == (5, 3, 2)
    assert found.confidence == pytest.approx(0.7)
    assert found.chi_square == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.entropy == pytest.approx(-(0.5 * np.log(0.5) + 0.3 * np.log(0.3) + 0.2 * np.log(0.2)))
    assert found.entropy_maximum == pytest.approx(np.log(3))


def test_entropy_is_ln_k_when_even_and_0_when_collapsed() -> None:
    assert entropy(np.full(10, 7)) == pytest.approx(np.log(10))
    assert entropy(np.array([0, 9, 0])) == 0


def test_no_images_and_impossible_classes_are_refused() -> None:
    with pytest.raises(UsageError, match="at least one image"):
        class_balance(np.empty((0, 3)), np.ones(3))
    with pytest.raises(UsageError, match="Class 1"):
        class_balance(one_hot([0], 3), np.array([1.0, 0.0, 1.0]))
