"""Hypothesis strategies for what metadata can hold."""

import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

from hypothesis import strategies as st

unicode_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
offsets = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def without_fold(moment: datetime) -> datetime:
    """Drop what no comparison of datetimes without a zone of their own sees."""
    return moment.replace(fold=0)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.integers(),
    st.sampled_from([2**53, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 10**15, 10**16, 10**30]),
    st.floats(),
    st.sampled_from([0.1 + 0.2, 0.3, math.nextafter(0.3, 1), -0.0, 1e16, 1e22, 1e300, 5e-324, 2.0**63]),
    unicode_text,
    st.sampled_from(["a", "ab", "a\0", "a\0b", "", '"', "\\", "é", "$", "%", "'; DROP TABLE doc; --"]),
    st.dates(),
    st.datetimes().map(without_fold),
    st.datetimes(timezones=offsets).map(without_fold),
    st.sampled_from([date(2024, 5, 1), datetime(2024, 5, 1), datetime(2024, 5, 1, tzinfo=UTC)]),
    st.uuids(),
    st.sampled_from([UUID(int=0)]),
    st.decimals(allow_nan=False),
    st.sampled_from([Decimal("1.0"), Decimal("1.00"), Decimal(3), Decimal("0.3")]),
    st.binary(max_size=4),
)
hashables = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=4)
keys = st.one_of(
    st.sampled_from(
        ["a", "b", "a.b", "b.a", "$a", "$$a", "$date", 'q"', "b\\", "é", "", "n\0", "a b", "[0]", "x'y"]
    ),
    unicode_text,
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.sets(hashables, max_size=3),
        st.dictionaries(keys, inner, max_size=3),
    ),
    max_leaves=6,
)
metadata = st.dictionaries(keys, values, max_size=4)
