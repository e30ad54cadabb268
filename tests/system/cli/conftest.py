"""The fixtures of the unit tests of this package, for the tests that start processes."""

from __future__ import annotations

from tests.unit.cli.conftest import home as home
from tests.unit.cli.conftest import indexd as indexd
from tests.unit.cli.conftest import library as library
