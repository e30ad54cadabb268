"""Everything that reads and judges job files, put together."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from indexd import roles
from indexd.catalogue import ModelCatalogue
from indexd.config import Config
from indexd.jobs.admit import Admission
from indexd.jobs.expand import InputSources, JobLimits, JobPlanner
from indexd.jobs.judging import ScoreValidator
from indexd.jobs.lora_registry import LoraRegistry
from indexd.jobs.masks import MaskResolver
from indexd.jobs.mirror import JobFileSync
from indexd.jobs.own_recipe import ImageRecipeReader
from indexd.jobs.selection import InputSelector
from indexd.jobs.wording import PromptResolver
from indexd.registry import job_kinds
from indexd.store.index import Store


def build_admission(
    config: Config,
    store: Store,
    catalogue: ModelCatalogue,
    file_sync: JobFileSync,
    clock: Callable[[], float],
    random_bits: Callable[[int], int],
) -> Admission:
    """What admits job files by these settings; `draw(bits)` gives random seeds."""
    settings, places = config.settings.generate, config.paths
    limits = JobLimits(settings.max_pictures_per_job, settings.max_megapixels)
    words = PromptResolver(catalogue, LoraRegistry(places.lora_registry), settings.loras)
    selector = InputSelector(store, places.inbox, limits.max_images)
    looks = bool(config.settings.faces.detectors)
    sources = InputSources(
        selector, MaskResolver(store, selector, has_detectors=looks), ImageRecipeReader(store, catalogue)
    )
    judging = ScoreValidator(
        partial(roles.require_role, config), roles.aesthetic_head_path(config), partial(roles.clip_h_dimension, config)
    )
    desk = JobPlanner(catalogue, words, sources, judging, limits, random_bits, roles.control_map_models(config))
    return Admission(store, file_sync, desk, job_kinds.kinds, places.output, clock)
