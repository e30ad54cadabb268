"""Serves verify_model: loads the model of a role, runs it once, and says what it is."""

from __future__ import annotations

import numpy as np

from indexd.errors import ModelUnavailable
from indexd.models.embedding_loaders import EMBEDDING_LOADERS, lease_embedding_model
from indexd.worker.calls import FACES, ModelVerified, VerifyModel
from indexd.worker.session import RenderSession


def verify_model(call: VerifyModel, session: RenderSession) -> ModelVerified:
    """Raises ModelUnavailable with the reason when the model cannot be loaded or gives nothing usable."""
    if call.role == FACES:
        from indexd.models.serve_faces import verify_faces

        return verify_faces(session)
    spec = session.spec(call.role)
    if call.role not in EMBEDDING_LOADERS:
        from indexd.generate.verify_generator import verify_generator

        return verify_generator(session)
    with lease_embedding_model(call.role, session) as model:
        vectors = model.embed_texts(["a picture of a cat"], as_query=False, poll=session.poll)
        if not np.isfinite(vectors).all():
            raise ModelUnavailable(
                call.role, f'{spec.path} gives vectors that are no numbers in {spec.dtype}; try dtype = "float32"'
            )
        return ModelVerified(
            model.identity, f"{model.dim} numbers a vector, {spec.dtype} on {spec.device}, {spec.path}"
        )
