"""Fixtures that run a test of the contract on every form of every family, and by every metric."""

import pytest
from core.indexes.forms import FORMS, METRICS, Form


@pytest.fixture(params=[form for form in FORMS if not form.covered], ids=str)
def form(request: pytest.FixtureRequest) -> Form:
    return request.param


@pytest.fixture(params=METRICS)
def metric(request: pytest.FixtureRequest) -> str:
    return request.param
