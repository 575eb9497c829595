"""Promises of compat.page: one page that needs nothing else, says who leads, and leaves nobody out."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from compat.curves import MARKS
from compat.page import SYMBOLS, page
from tests.compat.made import ONE, OTHER, SCAN, TWO

VOID = {"meta", "br"}


class Checked(HTMLParser):
    """Refuses what is not closed in order, and keeps ids, addresses, and the text of every table row."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.addresses, self.rows = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids += [given["id"]] if "id" in given else []
        self.addresses += [given[name] for name in ("href", "src", "action") if name in given]
        self.rows += [[]] if tag == "tr" else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "td" in self.open:
            self.rows[-1].append(data)


def test_the_page_is_whole_and_needs_nothing_else():
    text = page(
        [ONE, TWO, OTHER, SCAN, replace(ONE, threads=2), replace(OTHER, fingerprint="1")], [0.9, 0.99]
    )
    checked = Checked(text)
    assert len(set(checked.ids)) == len(checked.ids)
    assert all(address.startswith("#") and address[1:] in checked.ids for address in checked.addresses)
    assert "<script" not in text
    assert "http" not in text
    assert not re.search(r"url\((?!#frame)", text)
    assert "prefers-color-scheme: dark" in text
    assert "width=device-width" in text


def test_everybody_and_every_setting_is_in_the_tables():
    rows = Checked(page([ONE, TWO, OTHER, SCAN], [0.9, 0.95, 0.999])).rows
    matched = {cells[0]: cells for cells in rows if cells and len(cells) > 6}
    assert {"inlay-A", "base", "exact"} <= set(matched)
    settings = [cells[:3] for cells in rows if len(cells) == 6]
    assert ["inlay-A", "ef=16", "0.9000"] in settings
    assert ["inlay-A", "ef=32", "0.9900"] in settings
    assert ["base", "ef=16", "0.9500"] in settings
    assert ["exact", "ef=16", "1.0000"] in settings


@pytest.mark.parametrize(
    ("qps", "ratio", "side"), [(1200.0, "2.0&times;", "ours"), (300.0, "0.5&times;", "theirs")]
)
def test_who_leads_is_said_whoever_it_is(qps, ratio, side):
    text = page([replace(ONE, recall=1.0, qps=qps), OTHER], [0.9])
    assert f"<div class='ratio {side}'>{ratio}</div>" in text


def test_where_nobody_gets_there_nothing_is_made_up():
    text = page([ONE], [0.99])
    assert text.count("nobody gets there") == 2
    assert "&times;</div>" not in text


def test_names_are_text_and_not_markup():
    text = page([replace(ONE, data="<b>&", machine="<script>", contender="<i>")], [0.9])
    assert "<b>&" not in text
    assert "<script>" not in text
    assert "<i>:" not in text
    Checked(text)


def test_every_mark_has_its_symbol():
    assert set(SYMBOLS) == set(MARKS)
