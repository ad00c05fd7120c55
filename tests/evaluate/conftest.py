import dataclasses

import pytest

from gendi.data import open_data
from gendi.data.dataset import Data
from gendi.data.split import Split


@pytest.fixture(scope="session")
def mnist() -> Data:
    """The real data, from the user's cache folder (fetched at the first use)."""
    return open_data("mnist")


@pytest.fixture(scope="session")
def small_mnist(mnist: Data) -> Data:
    """6000 training images and the test set: nearest neighbours among them cost a tenth."""
    assert mnist.train.labels is not None
    part = Split(mnist.train.rows[:6000], {"class": mnist.train.labels[:6000]})
    return dataclasses.replace(mnist, train=part, fingerprint="the first 6000 of MNIST")
