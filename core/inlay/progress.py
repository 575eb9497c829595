"""What every `progress=` argument means, in one place.

True draws a bar, False is silent, a callable is told how much is done, and None draws a bar when the work is
long and somebody is there to see it.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = bool | Callable[[int, int], object] | None


@contextmanager
def track(
    progress: Progress, total: int, description: str, *, unit: str = "rows", long: bool = False
) -> Iterator[Callable[[int], None]]:
    """Report the progress of the work done in a `with` block.

    Parameters
    ----------
    progress : bool, callable or None
        True draws a bar on stderr (tqdm), False is silent. A callable receives (done, total) as ints after
        every step, and (total, total) last when the block ends well, even if it had fewer steps than
        announced; its exceptions end the block. None draws a bar if `long` and stderr is a terminal.
    total : int
        How much there is to do.
    description, unit : str
        What the bar says that is being done, and to what.
    long : bool
        Whether the work takes long enough (seconds) to show a bar that nobody asked for.

    Yields
    ------
    step : callable
        `step(n)` says that n more are done. For one thread at a time.

    Raises
    ------
    TypeError
        On entry, when `progress` is none of these.
    """
    if not (progress is None or isinstance(progress, bool) or callable(progress)):
        given = f"{type(progress).__name__} {progress!r:.80}"
        raise TypeError(f"progress must be True, False, None or a callable of (done, total), got {given}")
    if callable(progress):
        with _calls(progress, total) as step:
            yield step
    elif progress or (progress is None and long and _stderr_is_a_terminal()):
        with _bar(total, description, unit) as step:
            yield step
    else:
        yield lambda n: None


@contextmanager
def _calls(report: Callable[[int, int], object], total: int) -> Iterator[Callable[[int], None]]:
    done, told = 0, -1

    def tell() -> None:
        nonlocal told
        told = min(done, total)
        report(told, total)

    def step(n: int) -> None:
        nonlocal done
        done += int(n)
        tell()

    yield step
    done = total
    if told != total:
        tell()


@contextmanager
def _bar(total: int, description: str, unit: str) -> Iterator[Callable[[int], None]]:
    from tqdm import tqdm  # takes 30 ms to import, which most users of the package never need

    with tqdm(total=total, desc=description, unit=f" {unit}", unit_scale=True) as bar:

        def step(n: int) -> None:
            bar.update(n)

        yield step
        bar.update(total - bar.n)


def _stderr_is_a_terminal() -> bool:
    return sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty()
