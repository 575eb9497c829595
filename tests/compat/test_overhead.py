"""Promises of compat.overhead: one table, every contender in it, ratios against the fastest baseline."""

import pytest

from compat.overhead import main


def test_every_contender_has_a_row_and_the_fastest_baseline_is_one(capsys):
    pytest.importorskip("faiss", reason="the baseline is faiss")
    arguments = ["--dims", "8", "16", "--rows", "200", "--rounds", "2", "--calls", "5"]
    assert main([*arguments, "--only", "inlay-Flat", "faiss-Flat", "faiss-SQ8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[-3:]]
    assert [row[0] for row in rows] == ["inlay-Flat", "faiss-Flat", "faiss-SQ8"]
    for column in (1, 2):
        assert any("(1.00x)" in row[column] for row in rows[1:])


@pytest.mark.parametrize("arguments", [["--calls", "0"], ["--rows", "3"], ["--only", "nobody"]])
def test_a_bad_command_line_is_refused(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "error" in capsys.readouterr().err
