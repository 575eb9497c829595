import numpy as np
import pytest

from compat import stores
from compat.data import clustered


@pytest.fixture(scope="module")
def source():
    return clustered(400, 16, 8, seed=1)


def test_recall_counts_what_is_as_near_as_the_last(source):
    base, queries = np.tile(source.base[:200], (2, 1)), source.queries
    cosines = queries @ base.T / np.linalg.norm(base, axis=1)
    best = np.argsort(-cosines, axis=1, kind="stable")[:, : stores.K].tolist()
    assert stores.recall(base, queries, best, filtered=False) == 1
    twins = [[(row + 200) % 400 for row in rows] for rows in best]
    assert stores.recall(base, queries, twins, filtered=False) == 1
    assert stores.recall(base, queries, [rows[:5] for rows in best], filtered=False) == 0.5
    assert stores.recall(base, queries, best, filtered=True) < 0.2


def test_a_store_is_filled_opened_again_and_asked(source, tmp_path, capsys):
    (inlay,) = (store for store in stores.STORES if store.name == "inlay")
    rows = stores.measure([inlay], source.base, source.queries, None, tmp_path, rounds=2)
    assert [row.name for row in rows] == ["inlay", "inlay ef=640"]
    assert all(row.recall == {False: 1.0, True: 1.0} for row in rows)
    assert all(row.disk > source.base.nbytes and row.reopened > 0 for row in rows)
    head, _, *lines = stores.report(rows).splitlines()
    assert head.count("|") == len(stores.HEAD) + 1
    assert len(lines) == 2
    assert "400 documents" in capsys.readouterr().err


def test_arguments_that_do_not_fit_are_refused(tmp_path, capsys):
    for given in (["--base", "x.npy"], ["--only", "nobody"]):
        with pytest.raises(SystemExit):
            stores.main(given)
    (tmp_path / "texts").write_text("one\n")
    with pytest.raises(SystemExit):
        stores.main(["--limit", "5", "--texts", str(tmp_path / "texts")])
    assert "1 texts for 5 rows" in capsys.readouterr().err
