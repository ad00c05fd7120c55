import dataclasses
from collections.abc import Iterator
from pathlib import Path

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


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, small_mnist: Data) -> Iterator[Path]:  # the data are open by now
    """A cache folder of a module's own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENDI_CACHE", str(folder))
        yield folder
