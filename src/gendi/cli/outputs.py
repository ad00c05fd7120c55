"""Where commands write: a place that holds no data, and nothing that gendi did not write."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gendi.errors import Mend, UsageError

if TYPE_CHECKING:
    from gendi.storage.record import RunRecord


@dataclass(frozen=True)
class Output:
    """A file or folder that a command will write.

    Args:
        named: the place that the user named with --out, or None.
        usual: the place if the user named none.
        run: the folder in which results about the model are kept, the `home` of `gendi.train.kept.folders.Place`;
            None for a bundle alone, or for none.
        data: the specs of data in which nothing is written.
        read: files and folders that the command reads.
    """

    named: str | None
    usual: Path
    run: Path | None
    data: Sequence[object] = ()
    read: Sequence[str | None] = ()

    @classmethod
    def checked(
        cls, named: str | None, usual: Path | None, run: Path | None, data: Sequence[object], read: Sequence[str] = ()
    ) -> "Output | None":
        """Return an output that has been checked; None if there is neither a named place nor a usual one."""
        if named is None and usual is None:
            return None
        output = cls(named, usual or Path(), run, data, read)
        output.check()
        return output

    @property
    def path(self) -> Path:
        """The place. Raises `UsageError` if it has the ending of a file and the slash of a folder, or no such user."""
        if self.named is None:
            return self.usual
        path = Path(self.named)
        if self.named.endswith("/") and path.suffix:
            raise UsageError(
                f"--out {self.named} ends in a slash, as a folder does, and has the ending of a file. Write {path} for "
                "the file, or a name without an ending for a folder."
            ).mended_by(Mend(put={self.named: str(path)}))
        return path

    def check(self) -> None:
        """Raise `UsageError` if the place is, holds or lies in what is read, or holds what gendi did not write."""
        self.check_apart()
        self._record().check(self.path)

    def check_apart(self) -> None:
        """Raise `UsageError` if the place is, holds or lies in what is read."""
        from gendi.data.places import refuse_among, refuse_among_data

        if self.named is not None:
            refuse_among_data(self.path, *self.data)
        refuse_among(self.path, [Path(name) for name in self.read if name is not None])

    def claim(self) -> Path:
        """Record the place right before it is written, and return it. Raises `UsageError` and `ResourceError`."""
        self._begin()
        self._record().claim(self.path)
        return self.path

    def note(self) -> Path:
        """Record the place, what it holds having been checked before, and return it. Raises `ResourceError`."""
        self._begin()
        self._record().add(self.path)
        return self.path

    def _begin(self) -> None:
        """Make the folder of results about a shipped model, if the output goes there."""
        from gendi.train.kept.shipped import begin_results

        if self.run is not None and self.run in self.path.parents:
            begin_results(self.run)

    def _record(self) -> "RunRecord":
        from gendi.storage.record import RunRecord

        return RunRecord(self.path.parent if self.run is None else self.run)
