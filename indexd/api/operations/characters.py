"""Operations on characters: lists, corrections, clustering."""

from __future__ import annotations

from indexd.api.context import OperationContext
from indexd.api.operations.registry import operation
from indexd_schemas.api.characters import (
    CharacterList,
    CharacterListRequest,
    CharacterRequest,
    ClusteringState,
    ClusterRequest,
    CorrectionLog,
    CorrectionLogRequest,
    CorrectionRequest,
    CorrectionResult,
    ShownCharacter,
    Suggestions,
)
from indexd_schemas.api.requests import NoParameters


@operation("POST", "/v1/characters/list")
def list_characters(context: OperationContext, request: CharacterListRequest) -> CharacterList:
    """List the characters, the one with most faces first."""
    from indexd.characters import operations

    return operations.list_characters(context.store, request)


@operation("POST", "/v1/characters/show")
def show_character(context: OperationContext, request: CharacterRequest) -> ShownCharacter:
    """Show one character with some of its faces."""
    from indexd.characters import operations

    return operations.show_character(context.store, request)


@operation("POST", "/v1/characters/correct")
def correct(context: OperationContext, request: CorrectionRequest) -> CorrectionResult:
    """Correct characters, or undo a correction; no clustering undoes it."""
    from indexd.characters.operations import apply_correction

    return apply_correction(context.store, request)


@operation("GET", "/v1/characters/corrections")
def list_corrections(context: OperationContext, request: CorrectionLogRequest) -> CorrectionLog:
    """List corrections, the newest first."""
    from indexd.api.cursors import decode_cursor, encode_cursor
    from indexd.characters.operations import correction_log

    before = None if request.cursor is None else decode_cursor("corrections", request.cursor)[0]
    log = correction_log(context.store, request.limit, before)
    if len(log.corrections) < request.limit:
        return log
    return log.model_copy(update={"next": encode_cursor("corrections", log.corrections[-1].number)})


@operation("POST", "/v1/characters/suggest")
def suggest(context: OperationContext, _: NoParameters) -> Suggestions:
    """Suggest characters to split and pairs to merge. Changes nothing."""
    from indexd.characters.operations import suggest_corrections

    return suggest_corrections(context.store)


@operation("POST", "/v1/characters/cluster")
def cluster(context: OperationContext, request: ClusterRequest) -> ClusteringState:
    """Start clustering all faces in the background, show its progress, or cancel it."""
    clusterer = context.clusterer()
    if request.action == "start":
        clusterer.begin()
    elif request.action == "cancel":
        clusterer.cancel()
    return clusterer.progress()
