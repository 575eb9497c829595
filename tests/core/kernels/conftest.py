"""Kernels are called at a level by its name, so nothing has to be set and set back between two examples."""

import pytest

from inlay.kernels import table


@pytest.fixture(params=table.levels(), scope="session")
def level(request: pytest.FixtureRequest) -> str:
    """Run a test once at every level this CPU has."""
    name: str = request.param
    return name
