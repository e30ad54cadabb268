"""The table of worker calls: the lane and the serving function of each call class.

Adding a call = a dataclass in calls.py and a row here. The serving functions are named by text because their modules
import torch; only the child resolves them, when the first such call arrives.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

from indexd.worker.calls import (
    CLIP_H,
    FACES,
    GENERATOR,
    READ_LANES,
    READ_ON_DEMAND_LANE,
    AnalyseImages,
    AnyCall,
    ClusterFaces,
    CompareCopies,
    CompareImages,
    DescribeModels,
    EmbedImages,
    EmbedText,
    FindFaces,
    MakeControlMap,
    MakeThumbnails,
    ParseTexts,
    ReadImages,
    Render,
    RunFunction,
    SelfTest,
    VerifyModel,
    WorkerSettings,
)
from indexd.worker.session import CallSession, RenderSession
from indexd_schemas.control_types import CONTROL_TYPES

GPU = "gpu"
CPU = "cpu"
DECODE = "decode"
CLUSTER = "cluster"
TORCH_FREE_LANES = (DECODE, CLUSTER, *READ_LANES, READ_ON_DEMAND_LANE)


def lane_of_device(device: str) -> str:
    """The lane of a device: one process per device. `auto` is the GPU's, which may turn out to have none."""
    if device == "cpu":
        return CPU
    return GPU if device in ("", "auto", "cuda", "cuda:0") else device


@dataclass(frozen=True, slots=True)
class Route:
    """`lane` chooses the lane from call and settings; `function` is "module:function", called as function(call, session).

    If `takes_session` is false, the function takes only the call: it is short and cannot be interrupted.
    """

    lane: Callable[[Any, WorkerSettings], str]
    function: str
    takes_session: bool = True


def _lane_by_text_device(call: EmbedText, settings: WorkerSettings) -> str:
    spec = settings.models.get(call.role)
    if spec is None:
        return GPU
    return lane_of_device(spec.query_device if call.as_query and spec.query_device else spec.device)


def _lane_by_device(call: EmbedImages | AnalyseImages | VerifyModel, settings: WorkerSettings) -> str:
    return lane_of_role(call.role, settings)


def lane_of_role(role: str, settings: WorkerSettings) -> str:
    """The lane of the model of a role; faces are found where clip_h is, which embeds them."""
    spec = settings.models.get(CLIP_H if role == FACES else role)
    return GPU if spec is None else lane_of_device(spec.device)


def _lane_of_generator(_call: Render, settings: WorkerSettings) -> str:
    return lane_of_role(GENERATOR, settings)


def _lane_by_map_type(call: MakeControlMap, settings: WorkerSettings) -> str:
    """What OpenCV makes alone need not wait behind a render."""
    made_by_model = call.type in CONTROL_TYPES and CONTROL_TYPES[call.type].preprocessor not in ("", "opencv", None)
    return lane_of_role(GENERATOR, settings) if made_by_model else DECODE


ROUTES: Mapping[type, Route] = MappingProxyType(
    {
        EmbedText: Route(_lane_by_text_device, "indexd.models.serve_embed:embed_text"),
        EmbedImages: Route(_lane_by_device, "indexd.models.serve_embed:embed_images"),
        FindFaces: Route(lambda _call, settings: lane_of_role(FACES, settings), "indexd.models.serve_faces:find_faces"),
        AnalyseImages: Route(_lane_by_device, "indexd.worker.routing:serve_named_function"),
        VerifyModel: Route(_lane_by_device, "indexd.models.serve_verify:verify_model"),
        RunFunction: Route(lambda call, _settings: call.lane, "indexd.worker.routing:serve_named_function"),
        Render: Route(_lane_of_generator, "indexd.generate.render:begin_render"),
        MakeControlMap: Route(_lane_by_map_type, "indexd.control_maps.control_map:make_map"),
        MakeThumbnails: Route(
            lambda _call, _settings: DECODE, "indexd.images.decode:make_thumbnails", takes_session=False
        ),
        ReadImages: Route(lambda call, _settings: call.lane, "indexd.images.read_images:read_images"),
        ParseTexts: Route(lambda call, _settings: call.lane, "indexd.images.read_images:parse_texts"),
        DescribeModels: Route(
            lambda call, _settings: call.lane, "indexd.model_inspection.describe_models:describe_models"
        ),
        CompareImages: Route(
            lambda _call, _settings: DECODE, "indexd.images.same_image:compare_images", takes_session=False
        ),
        CompareCopies: Route(
            lambda _call, _settings: DECODE, "indexd.images.copy_comparison:compare_copies", takes_session=False
        ),
        ClusterFaces: Route(
            lambda _call, _settings: CLUSTER, "indexd.characters.clustering.cluster_worker:cluster_faces"
        ),
        SelfTest: Route(lambda call, _settings: call.lane, "indexd.worker.self_test:run_self_test"),
    }
)


def lane_of_call(call: AnyCall, settings: WorkerSettings) -> str:
    """The lane on which `call` is served."""
    return ROUTES[type(call)].lane(call, settings)


def serve(call: AnyCall, session: RenderSession) -> Any:
    """Serve `call` here; the first call of a kind imports its module. Called in a worker's child only."""
    route = ROUTES[type(call)]
    function = _load_function(route.function)
    return function(call, session) if route.takes_session else function(call)


def serve_named_function(call: AnalyseImages | RunFunction, session: CallSession) -> Any:
    """Serve a call with the function that it names."""
    return _load_function(call.function)(call, session)


def _load_function(reference: str) -> Callable[..., Any]:
    module, _, name = reference.partition(":")
    return cast("Callable[..., Any]", getattr(importlib.import_module(module), name))
