"""Recall, speed, build time and bytes of Inlay, faiss and hnswlib on the same rows, in the same run.

    python -m compat.run                                           small made-up data, to see what comes out
    python -m compat.run --base X.npy --queries Q.npy --metric ip --threads 1 2
    python -m compat.run --base glove-100-angular.hdf5             a set of ann-benchmarks
    python -m compat.run --data DIR --name minilm384_100k --metric ip --only inlay faiss-SQ8
    python -m compat.run --only HNSW hnswlib --out graphs          graphs only, into a folder of their own

Every contender lives in a process of its own. For each way of asking (threads, one query per call or batches)
the contenders take turns, round after round, and each setting keeps its best round. Tables are printed; the
folder of ``--out`` gets the same as a page to look at (``report.html``) and its curves as pictures. It also
keeps every round that is over (``figures.jsonl``): a run that was stopped goes on where it was when the
command is given again, and one that is done only measures what is new.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from tqdm import tqdm

from compat import data as sets
from compat.contenders import CONTENDERS, present, select
from compat.data import Source
from compat.figures import MODES
from compat.matched import TARGETS
from compat.race import Plan, Race
from compat.report import report, write

SYNTHETIC = {"rows": 20_000, "dim": 64, "queries": 500, "seed": 20_240_611}
FIGURES = "figures.jsonl"
QUICK = {"rows": 10_000, "queries": 200}


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    made = argparse.ArgumentParser(
        prog="python -m compat.run",
        description=__doc__,
        epilog="contenders: " + ", ".join(contender.name for contender in CONTENDERS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = made.add_argument_group("data (made up when nothing is given)")
    what.add_argument(
        "--base",
        type=Path,
        help="rows: .npy; or a .npz with base, query and perhaps gt, or a .hdf5 of ann-benchmarks",
    )
    what.add_argument("--queries", type=Path, help="queries: .npy")
    what.add_argument("--truth", type=Path, help="ids of the exact answers: .npy (computed when left out)")
    what.add_argument(
        "--data", type=Path, metavar="DIR", help="holds NAME_{base,query,gt}.npy, NAME.npz or NAME.hdf5"
    )
    what.add_argument("--name", help="the NAME in that folder")
    what.add_argument("--metric", choices=sets.METRICS, help="default: what the file says, or l2 (squared)")
    what.add_argument("--limit", type=int, default=0, metavar="N", help="use the first N rows only")
    how = made.add_argument_group("how")
    how.add_argument("--k", type=int, default=10, help="neighbours per query (default 10)")
    how.add_argument("--threads", type=int, nargs="+", default=[1], help="thread counts (default 1)")
    how.add_argument(
        "--single-threads",
        type=int,
        nargs="+",
        metavar="T",
        help="for one query per call (default: --threads)",
    )
    how.add_argument("--build-threads", type=int, help="default: the most that is measured")
    how.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES), help="default: both")
    how.add_argument("--batch", type=int, default=1000, help="queries per call in batch mode (default 1000)")
    how.add_argument("--rounds", type=int, default=3, help="rounds per figure, the best counts (default 3)")
    how.add_argument("--seconds", type=float, default=3.0, help="longest pass (default 3)")
    how.add_argument("--only", nargs="+", default=[], metavar="NAME", help="parts of names, or '*LVQ4x*'")
    how.add_argument(
        "--one-by-one", action="store_true", help="one index in memory at a time; no turns taken"
    )
    how.add_argument(
        "--quick", action="store_true", help="10,000 rows, 200 queries, 1 round, 3 settings each"
    )
    output = made.add_argument_group("output")
    output.add_argument(
        "--out",
        type=Path,
        default=Path("comparison"),
        metavar="DIR",
        help="figures, page and pictures; continued if there (default: comparison)",
    )
    output.add_argument(
        "--at", type=float, nargs="+", default=list(TARGETS), metavar="R", help="recalls to match"
    )
    return made


def check(given: argparse.Namespace) -> None:
    """Refuse combinations that cannot be meant.

    Raises
    ------
    ValueError
        With what was given and what to give instead.
    """
    if (given.data is None) != (given.name is None):
        raise ValueError("--data and --name belong together: a folder, and the name of a set in it")
    if given.data is not None and given.base is not None:
        raise ValueError("give either --base or --data, not both")
    if given.base is None and (given.queries is not None or given.truth is not None):
        raise ValueError("--queries and --truth need --base")
    for name in ("k", "batch", "rounds"):
        if getattr(given, name) < 1:
            raise ValueError(f"--{name} must be at least 1 but is {getattr(given, name)}")
    counts = [*given.threads, *(given.single_threads or [])]
    if min(counts) < 1 or (given.build_threads is not None and given.build_threads < 1):
        raise ValueError("thread counts must be at least 1")
    if given.limit < 0 or given.seconds <= 0:
        raise ValueError("--limit cannot be negative and --seconds must be positive")


def chosen_source(given: argparse.Namespace) -> Source:
    """Return the data that the command line names, or the made-up set."""
    if given.base is not None:
        return sets.from_files(given.base, given.queries, given.truth)
    if given.data is not None:
        return sets.from_folder(given.data, given.name)
    return sets.clustered(**SYNTHETIC)


def chosen_plan(given: argparse.Namespace) -> Plan:
    """Return how the command line wants everybody measured."""
    counts = {"single": given.single_threads or given.threads, "batch": given.threads}
    threads = {mode: tuple(dict.fromkeys(counts[mode])) for mode in given.modes}
    plan = Plan(
        k=given.k,
        threads=threads,
        batch=given.batch,
        rounds=given.rounds,
        seconds=given.seconds,
        build_threads=given.build_threads or max(max(counts) for counts in threads.values()),
        quick=given.quick,
    )
    return replace(plan, rounds=1) if given.quick else plan


def race(given: argparse.Namespace) -> Race:
    """Prepare the data, measure, and return what was found."""
    contenders = list(present(select(given.only)))
    plan, source = chosen_plan(given), chosen_source(given)
    limit = min(given.limit or QUICK["rows"], QUICK["rows"]) if given.quick else given.limit
    with TemporaryDirectory(prefix="inlay-compat-") as scratch:
        folder = Path(scratch)
        n_queries = QUICK["queries"] if given.quick else 0
        metric = given.metric or source.metric or "l2"
        data = sets.prepare(source, metric, plan.k, folder, limit=limit, n_queries=n_queries)
        made = Race(data, folder, plan, given.out / FIGURES)
        teams = [[contender] for contender in contenders] if given.one_by_one else [contenders]
        with tqdm(
            total=sum(made.steps(contender) for contender in contenders), unit="step", mininterval=0.5
        ) as bar:
            for team in teams:
                made.measure(team, bar)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when every contender was measured, 1 when one failed, 2 for a bad command line."""
    grammar = parser()
    given = grammar.parse_args(arguments)
    try:
        check(given)
        made = race(given)
    except (ValueError, TypeError, ImportError, OSError) as error:
        grammar.error(str(error))
    print(report(made.figures, given.at))
    if made.figures:
        print("\n".join(["", *(str(path) for path in write(made.figures, given.at, given.out))]))
    for failure in made.failures:
        print(f"\nFAILED {failure}", file=sys.stderr)
    return 1 if made.failures else 0


if __name__ == "__main__":
    sys.exit(main())
