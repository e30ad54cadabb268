"""The fixtures of the unit tests of this package, for the tests that start processes."""

from __future__ import annotations

from tests.unit.characters.conftest import clusterer as clusterer
from tests.unit.characters.conftest import grown as grown
from tests.unit.characters.conftest import keeper as keeper
from tests.unit.characters.conftest import store as store
from tests.unit.characters.conftest import workers as workers
