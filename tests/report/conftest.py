"""What several tests look at: one complete report, built once."""

from pathlib import Path

import pytest
from fake_run import evaluation, fake_run

from gendi.report import write_report


@pytest.fixture(scope="session")
def measured_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run with everything in it, and its report."""
    measured = evaluation(
        data="drawings",
        n=80,
        extractors=["digits", "inception"],
        names=["disc", "bar"],
        histogram=[37, 43],
        frequencies=[60, 60],
    )
    run = fake_run(tmp_path_factory.mktemp("report") / "complete", measured=measured)
    write_report(run)
    return run
