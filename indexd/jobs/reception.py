"""Everything that reads and judges job files, put together."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from indexd import roles
from indexd.catalogue import Catalogue
from indexd.config import Config
from indexd.jobs.admit import Admission
from indexd.jobs.expand import Desk, Limits, Sources
from indexd.jobs.judging import Judging
from indexd.jobs.lora_registry import Registry
from indexd.jobs.masks import Masks
from indexd.jobs.mirror import Mirror
from indexd.jobs.own_recipe import OwnRecipes
from indexd.jobs.selection import Selector
from indexd.jobs.wording import Wordings
from indexd.registry import job_kinds
from indexd.store.index import Store


def reception(
    config: Config,
    store: Store,
    catalogue: Catalogue,
    mirror: Mirror,
    clock: Callable[[], float],
    draw: Callable[[int], int],
) -> Admission:
    """What admits job files by these settings; `draw(bits)` gives random seeds."""
    settings, places = config.settings.generate, config.places
    limits = Limits(settings.max_pictures_per_job, settings.max_megapixels)
    words = Wordings(catalogue, Registry(places.lora_registry), settings.loras)
    selector = Selector(store, places.inbox, limits.pictures)
    looks = bool(config.settings.faces.detectors)
    sources = Sources(selector, Masks(store, selector, looks=looks), OwnRecipes(store, catalogue))
    judging = Judging(partial(roles.need, config), roles.aesthetic_head(config), partial(roles.picture_width, config))
    desk = Desk(catalogue, words, sources, judging, limits, draw, roles.makers_of(config))
    return Admission(store, mirror, desk, job_kinds.kinds, places.output, clock)
