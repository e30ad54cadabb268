"""Operations that run a model."""

from __future__ import annotations

from indexd.api.context import OperationContext
from indexd.api.operations.registry import operation
from indexd.errors import UsageError
from indexd_schemas.api.requests import ControlMapRequest, VerifyModelRequest
from indexd_schemas.api.responses import MadeControlMap, VerifiedModel


@operation("POST", "/v1/models/{role}/verify")
def verify_model(context: OperationContext, request: VerifyModelRequest) -> VerifiedModel:
    """Load the model of a role and run it once."""
    from indexd.api import model_checks
    from indexd.model_roles import ALL_ROLES

    if request.role not in ALL_ROLES:
        raise UsageError(f"there is no role {request.role!r}; roles are {', '.join(ALL_ROLES)}")
    verified = model_checks.verify_model(context.config, context.workers(), request.role)
    if context.daemon is not None:
        context.daemon.on_model_verified(request.role)
    return verified


@operation("POST", "/v1/control-maps")
def control_map(context: OperationContext, request: ControlMapRequest) -> MadeControlMap:
    """Make the control map of an image, or find it in the cache."""
    from indexd.api import model_checks

    return model_checks.control_map(context.workers(), request)
