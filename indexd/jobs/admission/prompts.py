"""Resolves the prompts of a job: LoRA tags, trigger words and embeddings.

`<lora:…>` is taken out of the prompt and becomes a use like those under `loras`; trigger words are put before the prompt;
names of embeddings are found and the files' hashes kept, so that the image can be made again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from indexd.errors import SettingsError, is_transient_os_error
from indexd.jobs.admission.stages import stage_prompts
from indexd.jobs.loras.registry import LoraRegistry
from indexd.jobs.loras.rules import ResolvedLora, check_lora_rules
from indexd.jobs.parsing.validation import FieldError, did_you_mean, format_path
from indexd.jobs.parsing.yaml_guard import FieldPath
from indexd.model_files import EMBEDDING_PICKLE_SUFFIXES, ModelCatalogue, ModelFile, UnknownModel
from indexd.prompts.comfyui_emphasis import parse_comfyui_weights
from indexd.prompts.composition import split_at_and
from indexd.prompts.emphasis import largest_weight
from indexd.prompts.lora_tags import LoraTagError, extract_lora_tags, find_lora_tag
from indexd.prompts.word_matching import NameMatcher, prepend_missing_triggers
from indexd_schemas.jobs.job import Job
from indexd_schemas.jobs.job_values import JobLora
from indexd_schemas.recipe import EmbeddingRef, LoraRef
from indexd_schemas.settings import LoraRuleSettings
from indexd_schemas.validation_messages import quote_value

MAX_ATTENTION_WEIGHT = 100.0
MAX_AND_PARTS = 16
EMBEDDING_HASH_DIGITS = 10
_ESCAPE = re.compile(r"\\(?=[()\[\]])")


@dataclass(frozen=True, slots=True)
class ResolvedPrompt:
    """The prompt without tags and with trigger words, and the LoRAs and embeddings that it uses."""

    prompt: str
    loras: tuple[LoraRef, ...]
    embeddings: tuple[EmbeddingRef, ...]
    notes: tuple[str, ...] = ()


class PromptResolver:
    """Resolves the prompts of jobs."""

    def __init__(self, catalogue: ModelCatalogue, registry: LoraRegistry, rules: LoraRuleSettings) -> None:
        self._catalogue = catalogue
        self._registry = registry
        self._rules = rules

    def resolve(self, job: Job) -> ResolvedPrompt:
        """Resolve the prompts of a job. Raises FieldError."""
        prompt, tags = _split_lora_tags(job)
        uses = self._resolve_loras(job, tags)
        check_lora_rules(uses, self._rules, job.themes)
        a1111 = job.prompt_syntax == "a1111"
        if job.lora_triggers:
            words = [word for use in uses if use.entry and use.lora.weight for word in use.entry.triggers]
            prompt = prepend_missing_triggers(prompt, words, escaped=job.prompt_syntax != "plain")
        texts: list[tuple[FieldPath, str]] = [(("prompt",), prompt), (("negative_prompt",), job.negative_prompt)]
        texts += stage_prompts(job)
        if a1111:
            for place, text in texts:
                _check_weights(place, text, 1 if place[-1] == "negative_prompt" else len(split_at_and(text)))
        elif job.prompt_syntax == "comfyui":
            for place, text in texts:
                _check_largest(place, max((abs(piece.weight) for piece in parse_comfyui_weights(text)), default=1.0))
        notes: dict[str, None] = {}
        embeddings = {
            ref.name: ref
            for place, text in texts
            for ref in self._find_embeddings(place, _ESCAPE.sub("", text) if a1111 else text, notes)
        }
        return ResolvedPrompt(prompt, tuple(use.lora for use in uses), tuple(embeddings.values()), tuple(notes))

    def _resolve_loras(self, job: Job, tags: list[JobLora]) -> list[ResolvedLora]:
        uses: list[ResolvedLora] = []
        for index, lora in enumerate(job.loras):
            uses.append(self._resolve_lora(lora, ("loras", index), uses))
        for tag in tags:
            uses.append(self._resolve_lora(tag, ("prompt",), uses))
        return uses

    def _resolve_lora(self, lora: JobLora, place: FieldPath, before: list[ResolvedLora]) -> ResolvedLora:
        where = format_path(place)
        try:
            name = self._catalogue.find_usable("lora", lora.name).name
            entry = self._registry.find(name)
        except UnknownModel as error:
            raise FieldError(place, f"{where}: {error}{did_you_mean(lora.name, error)}") from None
        except SettingsError as error:
            raise FieldError(place, f"{where}: {error}") from None
        same = next((use for use in before if use.lora.name == name), None)
        if same is not None:
            both = "is named twice" if same.path[0] == place[0] else "is also named under `loras`"
            raise FieldError(place, f"{where}: {quote_value(name)} {both}; keep one")
        weight = lora.weight
        if "weight" not in lora.model_fields_set and entry is not None and entry.weight is not None:
            weight = entry.weight
        resolved = LoraRef(name=name, weight=weight, text_weight=lora.text_weight, blocks=lora.blocks)
        return ResolvedLora(resolved, entry, place)

    def _find_embeddings(self, place: FieldPath, text: str, notes: dict[str, None]) -> Iterator[EmbeddingRef]:
        """The embeddings that the text names.

        A word may be called like a file by chance, so one that cannot be used is a note and no refusal, except a pickle.
        """
        files = _by_short_name(self._catalogue.embeddings.list_files())
        for word in NameMatcher(files).find_names(text):
            file = files[word]
            if file.path.suffix.lower() in EMBEDDING_PICKLE_SUFFIXES:
                if not self._catalogue.allows_pickles:
                    raise FieldError(
                        place,
                        f"{format_path(place)}: {quote_value(word)} names the embedding {file.path}, a file that can carry code; convert it to "
                        ".safetensors, or set pickle_checkpoints under [generate]",
                    )
            else:
                [(found, reason)] = self._catalogue.verdicts("embedding", [file])
                if found.kind not in ("embedding", "unknown"):
                    continue
                if reason is None and not found.family:
                    reason = "has not the vectors of SDXL's two text encoders"
                if reason is not None:
                    notes[f"{quote_value(word)} stays a word: the embedding {file.name} {reason}"] = None
                    continue
            try:
                digest = hashlib.sha256(file.path.read_bytes()).hexdigest()
            except OSError as error:
                if is_transient_os_error(error):
                    raise
                raise FieldError(
                    place, f"{format_path(place)}: the embedding {file.path} cannot be read: {error.strerror or error}"
                ) from None
            yield EmbeddingRef(name=file.name, hash=digest[:EMBEDDING_HASH_DIGITS])


def _split_lora_tags(job: Job) -> tuple[str, list[JobLora]]:
    elsewhere = "a LoRA works on the whole image; write it into `prompt`"
    unread: list[tuple[FieldPath, str, str]] = [(("negative_prompt",), job.negative_prompt, elsewhere)]
    unread += [(place, text, elsewhere) for place, text in stage_prompts(job)]
    names_no_loras = job.prompt_syntax in ("plain", "comfyui")
    if names_no_loras:
        unread.append(
            (("prompt",), job.prompt, f"a {job.prompt_syntax} prompt names no LoRAs; write them under `loras`")
        )
    for place, text, advice in unread:
        if (tag := find_lora_tag(text)) is not None:
            raise FieldError(place, f"{format_path(place)}: contains {quote_value(tag)}; {advice}")
    if names_no_loras:
        return job.prompt, []
    try:
        return extract_lora_tags(job.prompt)
    except LoraTagError as error:
        raise FieldError(("prompt",), f"prompt: {error}") from None


def _check_weights(place: FieldPath, text: str, parts: int) -> None:
    where = format_path(place)
    if parts > MAX_AND_PARTS:
        raise FieldError(place, f"{where}: AND joins {parts} texts; at most {MAX_AND_PARTS} are possible")
    largest = max([largest_weight(text), *(abs(part.weight) for part in (split_at_and(text) if parts > 1 else ()))])
    _check_largest(place, largest)


def _check_largest(place: FieldPath, largest: float) -> None:
    if not largest <= MAX_ATTENTION_WEIGHT:
        raise FieldError(
            place,
            f"{format_path(place)}: brackets give a weight of {largest:g}; at most {MAX_ATTENTION_WEIGHT:g} are possible",
        )


def _by_short_name(files: list[ModelFile]) -> Mapping[str, ModelFile]:
    """An embedding is called by the last part of its name, as A1111 does; of several the first counts."""
    found: dict[str, ModelFile] = {}
    seen: set[str] = set()
    for file in files:
        word = file.name.rpartition("/")[2]
        if word.casefold() not in seen:
            seen.add(word.casefold())
            found[word] = file
    return found
