"""The fixtures of the unit tests of this package, for the tests that start processes."""

from __future__ import annotations

from tests.unit.characters.conftest import assigner as assigner
from tests.unit.characters.conftest import clusterer as clusterer
from tests.unit.characters.conftest import face_library as face_library
from tests.unit.characters.conftest import store as store
from tests.unit.characters.conftest import workers as workers
