"""The fixtures of the unit tests of this package, for the tests that start processes."""

from __future__ import annotations

from tests.unit.jobs.conftest import home as home
from tests.unit.jobs.conftest import open_room as open_room
from tests.unit.jobs.conftest import room as room
