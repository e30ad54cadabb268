"""What a person reads about a wrong request: no words of the validation library, no Python objects."""

from __future__ import annotations

import pytest

from indexd.api.operations.registry import validated_request
from indexd.errors import UsageError
from indexd_schemas.api.annotations import ExportRequest
from indexd_schemas.api.requests import ApiRequest, RateRequest, ScanRequest, SearchRequest


@pytest.mark.parametrize(
    ("model", "given", "message"),
    [
        (SearchRequest, {"limit": 0}, "limit: must be at least 1 (got 0)"),
        (SearchRequest, {"limit": "x"}, "limit: must be a whole number (got 'x')"),
        (SearchRequest, {"colour": 1}, "colour: is not known here"),
        (SearchRequest, {"terms": 5}, "terms: must be a list (got 5)"),
        (SearchRequest, {"min_score": float("nan")}, "min_score: must be a number (got nan)"),
        (SearchRequest, {"terms": [{"kind": "text", "value": ""}]}, "terms.0.value: must not be empty (got '')"),
        (SearchRequest, {"terms": [[]]}, "terms.0: must be a name or a mapping of `key: value` (got a list)"),
        (RateRequest, {"targets": ["id:1"]}, "rating: is missing"),
        (RateRequest, {"targets": [], "rating": 5}, "targets: must have at least 1 entry (got a list)"),
        (RateRequest, {"targets": [7], "rating": 5}, "targets.0: must be text (got 7); put it in quotes"),
        (ScanRequest, {"wait": "maybe"}, "wait: must be true or false (got 'maybe')"),
        (ExportRequest, {"cursor": "x"}, "cursor: does not have the expected form (got 'x')"),
    ],
)
def test_a_wrong_field_is_named_with_what_it_must_be(
    model: type[ApiRequest], given: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        validated_request(model, given)
    assert str(caught.value) == message
