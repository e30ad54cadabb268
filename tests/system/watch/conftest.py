"""The fixtures of the unit tests of this package, for the tests that start processes."""

from __future__ import annotations

from tests.unit.watch.conftest import eventually as eventually
from tests.unit.watch.conftest import folder as folder
from tests.unit.watch.conftest import manual_root as manual_root
