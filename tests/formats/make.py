"""Write the golden files of indexes, one of every form, and `answers.json` with what they must answer.

Run it once for a new format version or a new form:  python tests/formats/make.py
Files that are there already are left as they are: a golden file shows that what was once written can be read.
Data come from integer arithmetic and not from a random generator, whose stream may change.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from core.indexes.forms import FORMS, METRICS, Form, held

import inlay

FOLDER = Path(__file__).parent / f"v{inlay.file.VERSION}"
DIM = 20


def numbers(n: int, dim: int, start: int = 1) -> np.ndarray:
    """Rows that look like noise and are the same everywhere: a multiplicative generator, as -1 .. 1."""
    state, values = start, []
    for _ in range(n * dim):
        state = state * 48271 % 2147483647
        values.append(state / 2147483647 * 2 - 1)
    return np.array(values, np.float32).reshape(n, dim)


def described(index: inlay.Index, made: str) -> dict[str, Any]:
    """What the file of an index must answer."""
    queries = numbers(4, index.dim, start=77)
    distances, ids = index.search(queries, 5)
    return {
        "made": made,
        "spec": index.spec,
        "metric": index.metric,
        "options": index.options,
        "effort": {name: getattr(index, name) for name in type(index).EFFORT},
        "rows": len(index),
        "next_id": int(type(index).from_bytes(index.to_bytes()).add(numbers(16, index.dim))[0]),
        "queries": queries.tolist(),
        "ids": ids.tolist(),
        "distances": distances.tolist(),
        "held": held(index)[:3].tolist(),
    }


def with_history(form: Form, metric: str, number: int) -> inlay.Index:
    """An index of 37 rows; every second one with ids that must be stored, and an effort that is set."""
    index = form.untrained(DIM, metric)
    rows = numbers(40, DIM)
    if number % 2:
        index.add(rows[:39], np.arange(39) * 7 + 5)
        index.remove([5, 19, 26])
        index.add(rows[39:])
        for effort in type(index).EFFORT:
            setattr(index, effort, 12)
    else:
        index.add(rows[:37])
    return index


def with_dead_rows() -> inlay.Index:
    """A graph of 120 rows, 20 of them removed and not yet dropped, that is walked and not scanned.

    The beam is as narrow as that takes; what it finds are the true nearest all the same, so that the answers
    are those of any walk.
    """
    index = inlay.GraphIndex(DIM, degree=8)
    index.add(numbers(120, DIM))
    index.remove(np.arange(3, 120, 6))
    index.ef = 10
    return index


def main() -> None:
    """Add what is missing."""
    path = FOLDER / "answers.json"
    answers = json.loads(path.read_text()) if path.exists() else {}
    made = [
        (f"{form}-{metric}", with_history(form, metric, number))
        for number, (form, metric) in enumerate((form, METRICS[at % 3]) for at, form in enumerate(FORMS))
    ]
    made.append(("Flat-cosine-empty", FORMS[0].untrained(DIM, "cosine")))
    made.append(("LVQ4x8-untrained", inlay.LVQIndex(DIM)))
    made.append(("HNSW8-l2-dead", with_dead_rows()))
    for name, index in made:
        file_name = f"{name.replace('=', '-').replace(',', '-')}.inlay".lower()
        if file_name not in answers:
            index.save(FOLDER / file_name)
            form = next((str(form) for form in FORMS if name.startswith(f"{form}-{index.metric}")), name)
            answers[file_name] = described(index, form)
    lines = (f"{json.dumps(name)}: {json.dumps(answer)}" for name, answer in sorted(answers.items()))
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
