"""The fixtures of the unit tests of this package, for the tests that start processes."""

from __future__ import annotations

from tests.unit.jobs.conftest import home as home
from tests.unit.jobs.conftest import open_setup as open_setup
from tests.unit.jobs.conftest import setup as setup
