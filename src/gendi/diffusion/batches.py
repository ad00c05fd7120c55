"""Going through samples in batches that fit in memory."""

from collections.abc import Callable, Iterator

from gendi.errors import UsageError, is_out_of_memory


def in_batches(n: int, batch_size: int, work: Callable[[slice], None]) -> int:
    """Call `work` on slices that cover 0, ..., n - 1, and return the batch size that fitted into memory.

    A batch that does not fit is halved, down to one row. `work` then runs again on rows that it had begun, so it must
    write its results at its end. Raises `UsageError` for a batch size below 1.
    """
    if batch_size < 1:
        raise UsageError(f"the batch size must be at least 1; got {batch_size}.")
    start = 0
    while start < n:
        rows = slice(start, min(start + batch_size, n))
        try:
            work(rows)
        except (RuntimeError, MemoryError) as error:
            if batch_size == 1 or not is_out_of_memory(error):
                raise
            batch_size //= 2
            continue
        start = rows.stop
    return batch_size


def indices(rows: slice, first_index: int) -> Iterator[int]:
    """Yield the sample index of each row, which is the key of the row's random stream."""
    yield from range(first_index + rows.start, first_index + rows.stop)
