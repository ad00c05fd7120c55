"""Every test runs with gendi's annotations checked at every call, shapes and dtypes included."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

install_import_hook("gendi", "typecheck.check")  # before anything imports gendi

import torch  # noqa: E402

if "PYTEST_XDIST_WORKER" in os.environ:  # the workers are the parallelism; threads on top of them only fight
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start
    torch.set_num_threads(1)

# the same examples everywhere, however slow the machine
settings.register_profile(
    "gendi",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("gendi")


@pytest.fixture(autouse=True)
def as_many_threads_as_before() -> Iterator[None]:
    """numba, which scanpy and umap-learn bring, sets the number of threads of the whole process; sums depend on it."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
