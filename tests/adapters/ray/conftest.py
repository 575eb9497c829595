"""Sharded collections to test with, on a Ray of the tests' own."""

import pytest

pytest.importorskip("ray", reason="the Ray adapter needs Ray: pip install 'inlay[ray]'")
