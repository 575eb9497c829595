"""Damage files of every form of index and open them: nothing may crash, hang, take memory or answer wrongly.

    python tests/formats/fuzz.py --files 100000 --seed 1

An *accident* happens to bytes: they are cut off, flipped, overwritten, moved or added. Opened with all its
checksums, such a file must be refused. Mapped, it must be refused or be found out: by `inlay.file.verify`,
and when the index is saved. A *lie* is a file that was damaged and sealed again, with right checksums: sizes
and other numbers of its header, the contents of its arrays. It must be refused, or be an index that can be
searched, changed and saved; what it then answers is what its author wrote.

Files are opened in a process of their own, which is started again after one that killed it. Number and seed
make the file: `--only NUMBER` opens that one here, with its traceback. Memory is what Python and NumPy take
while a file is opened, at most twice its size, and beyond that the address space of the process.
"""

import argparse
import contextlib
import copy
import json
import multiprocessing
import resource
import signal
import struct
import sys
import time
import traceback
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))

from core.indexes.forms import FORMS, METRICS, gaussian
from formats.make import DIM, numbers, with_dead_rows, with_history

import inlay
from inlay import FormatError, file

CPU_SECONDS = 10.0  # a file that keeps a processor busy for longer hangs; others take some 10 ms
SPACE = 512 << 20  # of address space beyond what the process had: a size that lies asks for more
OWN_BYTES = 100_000  # of an error, a parsed header and a few empty objects, whatever the file's size
REPORTED = 10  # bad files that are told in full

PREFIX = struct.Struct("<8sIIQ")  # magic, version, checksum and length of the header
SIZES = (0, 1, 2, -1, 31, 32, 33, 255, 256, 1 << 16, (1 << 31) - 1, 1 << 31, 1 << 32, 1 << 62, (1 << 64) - 1)

Rng = np.random.Generator


@cache
def originals() -> tuple[bytes, ...]:
    """Files of every form: by each metric, with removed rows, with none, untrained, with too many to scan."""
    made = [with_history(form, metric, number) for form in FORMS for number, metric in enumerate(METRICS)]
    made += [form.filled(gaussian(1000, DIM)) for form in FORMS if form.walks or form.listed]
    made += [with_dead_rows(), inlay.FlatIndex(DIM), inlay.LVQIndex(DIM), inlay.SymphonyQGIndex(DIM)]
    return tuple(index.to_bytes() for index in made)


# Accidents


def cut(data: bytearray, rng: Rng) -> bytearray:
    """Lose the end."""
    return data[: rng.integers(len(data))]


def flip(data: bytearray, rng: Rng) -> bytearray:
    """Flip some bits."""
    for place in rng.integers(len(data), size=rng.choice([1, 1, 2, 8])):
        data[place] ^= 1 << int(rng.integers(8))
    return data


def overwrite(data: bytearray, rng: Rng) -> bytearray:
    """Lose a stretch to zeros or to anything, as a bad sector does."""
    start, length = rng.integers(len(data)), int(rng.choice([1, 8, 64, 512, 4096]))
    length = min(length, len(data) - start)
    data[start : start + length] = bytes(length) if rng.random() < 0.5 else rng.bytes(length)
    return data


def move(data: bytearray, rng: Rng) -> bytearray:
    """Lose a stretch within, or have it twice."""
    start, length = rng.integers(len(data)), int(rng.choice([1, 8, 64, 512]))
    return (
        data[:start] + data[start + length :] if rng.random() < 0.5 else data[: start + length] + data[start:]
    )


def extend(data: bytearray, rng: Rng) -> bytearray:
    """Have bytes after the end: zeros, anything, or the file once more."""
    length = int(rng.choice([1, 63, 64, 4096]))
    return data + [bytes(length), rng.bytes(length), bytes(data)][rng.integers(3)]


# Lies: damage that is sealed again


def sealed(document: Any, arrays: bytes) -> bytearray:
    """A file with this header, whose checksum is right."""
    text = document if isinstance(document, bytes) else json.dumps(document, separators=(",", ":")).encode()
    version = struct.pack("<IQ", file.VERSION, len(text))
    head = PREFIX.pack(file.MAGIC, file.VERSION, zlib.crc32(text, zlib.crc32(version)), len(text)) + text
    return bytearray(head + bytes(-len(head) % file.ALIGNMENT) + arrays)


def taken_apart(data: bytearray) -> tuple[bytes, bytearray]:
    """The JSON of a file and its arrays."""
    length = PREFIX.unpack_from(data)[3]
    return bytes(data[PREFIX.size : PREFIX.size + length]), data[
        -(-(PREFIX.size + length) // file.ALIGNMENT) * file.ALIGNMENT :
    ]


def numbers_of(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place in a parsed header, as a container and a key, at which a number stands."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(inner, dict | list):
            yield from numbers_of(inner)
        elif isinstance(inner, int | float):
            yield value, key


def lie_about_sizes(data: bytearray, rng: Rng) -> bytearray:
    """Have other numbers in the header: shapes, offsets, counts, options."""
    text, arrays = taken_apart(data)
    document = json.loads(text)
    places = list(numbers_of(document))
    for place in rng.integers(len(places), size=rng.choice([1, 1, 2])):
        container, key = places[place]
        near = [container[key] + 1, container[key] - 1, container[key] * 2, container[key] // 2]
        container[key] = ([*near, *near, *SIZES])[rng.integers(2 * len(near) + len(SIZES))]
    return sealed(document, arrays)


def lie_about_shapes(data: bytearray, rng: Rng) -> bytearray:
    """Have an array of another length or of another dtype, and all offsets and checksums right."""
    header, sections = file.read(data)
    arrays = dict(sections)
    name = list(arrays)[rng.integers(len(arrays))] if arrays else None
    if name is not None:
        array = arrays[name]
        changes: list[Callable[[], Any]] = [
            lambda: array[:-1],
            lambda: np.concatenate([array, array[:1]]),
            lambda: array[:0],
            lambda: array.ravel().view(np.uint8),
            lambda: np.repeat(array, 3, axis=-1),
            lambda: array.astype(rng.choice(file.DTYPES)),
        ]
        with np.errstate(all="ignore"):
            arrays[name] = changes[rng.integers(len(changes))]()
    for field in header.keys() & {"rows", "dim"} if rng.random() < 0.5 else ():
        header[field] = max(0, header[field] + int(rng.integers(-1, 2)))
    return bytearray(file.to_bytes(header, arrays))


def lie_about_contents(data: bytearray, rng: Rng) -> bytearray:
    """Have other bytes in an array."""
    header, sections = file.read(data)
    arrays = {name: np.array(array) for name, array in sections.items()}
    filled = [name for name, array in arrays.items() if array.size]
    if filled:
        array = arrays[filled[rng.integers(len(filled))]]
        flat = array.reshape(-1).view(np.uint8)
        damage = bytearray(flat.tobytes())
        flat[:] = np.frombuffer(bytes((flip if rng.random() < 0.5 else overwrite)(damage, rng)), np.uint8)
        if array.dtype.kind in "iu" and rng.random() < 0.3:
            array.reshape(-1)[rng.integers(array.size)] = rng.choice(
                [np.iinfo(array.dtype).min, np.iinfo(array.dtype).max]
            )
    return bytearray(file.to_bytes(header, arrays))


def lie_in_json(data: bytearray, rng: Rng) -> bytearray:
    """Have other bytes in the header."""
    text, arrays = taken_apart(data)
    damage = (flip, overwrite, move, cut)[rng.integers(4)]
    return sealed(bytes(damage(bytearray(text), rng)), arrays)


ACCIDENTS = (cut, flip, overwrite, move, extend)
LIES = (lie_about_sizes, lie_about_shapes, lie_about_contents, lie_in_json)


def damaged(
    seed: int, number: int, originals: Callable[[], Sequence[bytes]] = originals
) -> tuple[bytes, bytes, Callable[[bytearray, Rng], bytearray]]:
    """The file of that number, the one it was made from, and what was done to it."""
    rng = np.random.default_rng([seed, number])
    original = originals()[number % len(originals())]
    damages = (*ACCIDENTS, *LIES)
    while True:
        damage = damages[rng.integers(len(damages))]
        data = bytes(damage(bytearray(original), rng))
        if data != original:  # an index without rows has no array whose contents could lie
            return data, original, damage


# What must come of it


def opened(
    path: Path,
    mmap: bool,
    load: Callable[[Path, bool], Any] = lambda path, mmap: inlay.load(path, mmap=mmap),
    refusal: type[Exception] = FormatError,
) -> Any:
    """Open a file, None when it is refused; it takes no more memory than twice its size."""
    tracemalloc.start()
    try:
        return load(path, mmap)
    except refusal:
        return None
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        allowed = 2 * path.stat().st_size + OWN_BYTES
        assert peak <= allowed, f"opening took {peak} bytes of memory, at most {allowed} are allowed"


def use(index: inlay.Index) -> None:
    """Search, look, and save."""
    n = len(index)
    queries = (
        numbers(3, index.dim, start=77) if index.dim <= 4 * DIM else np.zeros((3, index.dim), np.float32)
    )
    for effort in ({}, {name: 1000 for name in type(index).EFFORT}):
        distances, ids = index.search(queries, 5, **effort)
        assert distances.shape == ids.shape == (3, 5)
        assert not np.isnan(distances).any()
    index.search(queries, 5, allowed=np.arange(n) % 2 == 0)
    limits, _, _ = index.range_search(queries, 1.0)
    assert (np.diff(limits) >= 0).all()
    ids = index.ids
    assert ids.shape == (n,)
    if len(np.unique(ids)) == n:
        assert index.reconstruct(ids[:50]).shape == (min(n, 50), index.dim)


def change(index: inlay.Index) -> None:
    """Remove and add rows, then save and open."""
    n = len(index)
    index.remove(index.ids[: n // 3])
    index.remove(np.arange(len(index)) % 5 == 1)
    if index.is_trained and index.dim <= 4 * DIM:
        index.add(numbers(5, index.dim), 3 * 2**50 + np.arange(5))
        index.search(numbers(1, index.dim), 3)
    index.compact()
    assert len(type(index).from_bytes(index.to_bytes())) == len(index)


def answers(index: inlay.Index) -> tuple[bytes, ...]:
    """What an index says to a few queries."""
    return tuple(part.tobytes() for part in index.search(numbers(3, index.dim, start=77), 5))


def refused(call: Callable[..., Any], *arguments: Any) -> bool:
    """Whether a call raises `FormatError`."""
    try:
        call(*arguments)
    except FormatError:
        return True
    return False


def tried(seed: int, number: int, path: Path) -> str:
    """Open the file of that number in every way; return what came of it, or raise."""
    data, original, damage = damaged(seed, number)
    path.write_bytes(data)
    kind = damage.__name__.replace("_", " ")
    whole = opened(path, mmap=False)
    mapped = opened(path, mmap=True)
    if damage in ACCIDENTS:
        assert whole is None, "the file was opened although its bytes are not those that were written"
    if mapped is None:
        assert whole is None, "a file that is read is judged otherwise than one that is mapped"
        return f"{kind}: refused"
    use(mapped)
    if whole is None:
        assert refused(file.verify, path), "verification passed a damaged file"
        if mapped._unverified is not None and refused(mapped._unverified.verify):
            assert refused(mapped.to_bytes), "damage was sealed into another file"
        else:  # what is damaged is padding
            same = answers(mapped) == answers(inlay.load(_original(path, original)))
            assert same, "a mapped file answers otherwise, and nothing says so"
        return f"{kind}: mapped, found by verification"
    use(whole)
    change(copy.copy(mapped))
    change(whole)
    return f"{kind}: an index of its own"


def _original(path: Path, data: bytes) -> Path:
    beside = path.with_suffix(".original")
    beside.write_bytes(data)
    return beside


# The processes


Trial = Callable[[int, int, Path], str]


def serve(pipe: Connection, trial: Trial, seed: int, first: int, end: int, folder: Path) -> None:
    """Try files one after another and tell what came of each."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    originals()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + SPACE, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    inlay.set_num_threads(1)
    for number in range(first, end):
        # Its signal ends the process. Seconds of a processor: a stopped or crowded machine is no hang.
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        try:
            pipe.send((number, True, trial(seed, number, folder / "damaged.inlay")))
        except Exception:
            pipe.send((number, False, traceback.format_exc()))


def run(seed: int, n_files: int, first: int = 0, trial: Trial = tried) -> tuple[Counter[str], dict[int, str]]:
    """Try so many files; return how often each thing came of them, and what went wrong by number."""
    context = multiprocessing.get_context("spawn")
    came_of_it: Counter[str] = Counter()
    bad: dict[int, str] = {}
    number, end = first, first + n_files
    with TemporaryDirectory(prefix="inlay-fuzz-") as folder, tqdm(total=n_files, unit="file") as bar:
        while number < end:
            pipe, theirs = context.Pipe(duplex=False)
            process = context.Process(
                target=serve, args=(theirs, trial, seed, number, end, Path(folder)), daemon=True
            )
            process.start()
            theirs.close()
            with contextlib.closing(pipe):
                try:
                    while number < end:
                        number, well, said = pipe.recv()
                        if well:
                            came_of_it[said] += 1
                        else:
                            bad[number] = said
                        number += 1
                        bar.update()
                except EOFError:
                    process.join()
                    code = process.exitcode or 0
                    hung = code == -signal.SIGPROF
                    bad[number] = "it hangs" if hung else f"the process ended with exit code {code}"
                    number += 1
                    bar.update()
            process.join(timeout=5)
            process.terminate()
            bar.set_postfix(bad=len(bad))
    return came_of_it, bad


def main(
    arguments: Sequence[str] | None = None, trial: Trial = tried, description: str | None = __doc__
) -> int:
    """Run the command; 1 when a file did what none may do."""
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--files", type=int, default=10_000, help="how many (default 10,000)")
    parser.add_argument(
        "--seed", type=int, default=int(time.time()), help="of the damage (default: the time)"
    )
    parser.add_argument("--first", type=int, default=0, help="number of the first (default 0)")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="open this one, in this process")
    given = parser.parse_args(arguments)
    if given.only is not None:
        with TemporaryDirectory(prefix="inlay-fuzz-") as folder:
            print(trial(given.seed, given.only, Path(folder) / "damaged.inlay"))
        return 0
    came_of_it, bad = run(given.seed, given.files, given.first, trial)
    for said, count in sorted(came_of_it.items()):
        print(f"{count:>9,}  {said}")
    print(f"{len(bad):>9,}  bad, of {given.files:,} files, seed {given.seed}")
    for number, said in list(bad.items())[:REPORTED]:
        print(f"\n--seed {given.seed} --only {number}\n{said}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
