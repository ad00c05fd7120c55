"""The data of a run are found from its own folder too."""

from pathlib import Path

import pytest

from gendi.data.places import from_here


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Data `photos` and `cells.h5ad`, and runs with the names of data, in the first of which we stand."""
    for name in ("photos/a.png", "cells.h5ad", "runs/photos/config.toml", "runs/other/config.toml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path / "runs" / "photos")
    return tmp_path


@pytest.mark.parametrize(
    ("run", "spec", "found"),
    [
        (".", "photos", "{}/photos"),  # and not runs/photos, which is the run
        ("../other", "photos", "{}/photos"),  # nor another run
        ("../other", "./photos", "{}/photos"),
        (".", "cells:cells.h5ad?layer=counts", "cells:{}/cells.h5ad?layer=counts"),
        (".", "../../photos", "../../photos"),
        (".", "config.toml", "config.toml"),  # from here it is there
        (".", "mnist", "mnist"),
        (".", "hf:owner/name", "hf:owner/name"),
        (".", "gone", "gone"),
        (".", "", ""),
        (".", "a\nb", "a\nb"),
        (".", None, None),
    ],
)
def test_a_path_is_searched_from_the_folders_above_the_run(
    world: Path, run: str, spec: str | None, found: str | None
) -> None:
    assert from_here(spec, Path(run)) == (None if found is None else found.format(world))


def test_an_absolute_path_stays(world: Path) -> None:
    assert from_here(str(world / "nowhere"), Path()) == str(world / "nowhere")
