"""REST without a client: parameters, JSON forms, and refusals in Google's words."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from ml_platform.localcloud import LocalCloud
from ml_platform.tests.localcloud.conftest import PARENT


def get(cloud: LocalCloud, path: str, **query: Any) -> Any:
    """The status and the answer of a plain GET."""
    answer = requests.get(f"{cloud.http_url}{path}", params=query, timeout=5)
    return answer.status_code, answer.json()


def test_enums_are_names_or_numbers_as_asked(cloud: LocalCloud) -> None:
    assert get(cloud, "/v3/projects/demo-project")[1]["state"] == "ACTIVE"
    query = {"$alt": "json;enum-encoding=int"}
    assert get(cloud, "/v3/projects/demo-project", **query)[1]["state"] == 1


def test_query_parameters_go_by_either_name_and_as_json(cloud: LocalCloud) -> None:
    for name in ("a", "b"):
        cloud.models.seed(name, display_name=name, labels={"x": "y"})
    models = f"/v1/{PARENT}/models"
    for size in ("pageSize", "page_size"):
        status, found = get(cloud, models, **{size: 1, "readMask": "name,displayName"})
        assert (status, len(found["models"])) == (200, 1)
        status, found = get(cloud, models, **{size: 1, "pageToken": found["nextPageToken"]})
        assert (status, len(found["models"])) == (200, 1)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            {"nope": "1"},
            'Invalid JSON payload received. Unknown name "nope": Cannot bind query parameter. '
            "Field 'nope' could not be found in request message.",
        ),
        ({"pageSize": "x"}, "Invalid value at 'page_size' (TYPE_INT32), \"x\""),
        (
            {"pageSize": ["1", "2"]},
            'Invalid JSON payload received. Unknown name "pageSize": Proto field is not '
            "repeating, cannot start list.",
        ),
        ({"fields": "models(nmae)"}, "Invalid field selection nmae"),
        ({"fields": "models("}, "Invalid field selection models("),
    ],
)
def test_a_query_that_does_not_fit_is_refused_in_googles_words(
    cloud: LocalCloud, query: dict[str, Any], message: str
) -> None:
    status, answer = get(cloud, f"/v1/{PARENT}/models", **query)
    assert (status, answer["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert answer["error"]["message"] == message
    assert cloud.effects.calls() == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"model": {"x": 1}}', "Unknown name \"x\" at 'model': Cannot find field."),
        ('{"x": 1}', 'Unknown name "x": Cannot find field.'),
        ("[]", 'Unknown name "": Root element must be a message.'),
        ("null", 'Unknown name "": Root element must be a message.'),
        ('{"model": []}', "Invalid value at 'model' (type.googleapis.com/google.cloud.aiplatform"),
        ('{"model": {"displayName": 5}}', "Invalid value at 'model.display_name' (TYPE_STRING), 5"),
        (
            '{"model": {"labels": {"a": "b", "c": 1}}}',
            "Invalid value at 'model.labels[1].value' (TYPE_STRING), 1",
        ),
        (
            '{"model": {"versionAliases": ["a", 1]}}',
            "Invalid value at 'model.version_aliases[1]' (TYPE_STRING), 1",
        ),
        ('{"modelId": "\\ud800"}', "Invalid value at 'model_id' (TYPE_STRING)"),
        ("{", "Unexpected token"),
        ('{"model": NaN}', "Unexpected token: NaN"),
        (b"\xff", "'utf-8' codec can't decode"),
        ('{"model": {"metadata": ' + "[" * 200 + "]" * 200 + "}}", "Message too deep"),
        ('{"model": {"metadata": ' + "[" * 9999 + "]" * 9999 + "}}", "Message too deep"),
    ],
)
def test_a_body_that_does_not_fit_is_refused_in_googles_words(
    cloud: LocalCloud, body: str | bytes, message: str
) -> None:
    answer = requests.post(f"{cloud.http_url}/v1/{PARENT}/models:upload", data=body, timeout=5)
    error = answer.json()["error"]
    assert (answer.status_code, error["status"]) == (400, "INVALID_ARGUMENT")
    assert message in error["message"]
    assert error["details"][0]["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    assert cloud.effects.calls() == []


def test_a_name_keeps_its_percent_escapes_where_http_proto_says_so(cloud: LocalCloud) -> None:
    cloud.models.seed("ranker", display_name="ranker")
    assert get(cloud, f"/v1/{PARENT}/models/r%61nker%401")[0] == 200
    get(cloud, f"/v1/{PARENT}/models/a%2Fb")
    assert cloud.effects.calls()[-1].resource == f"{PARENT}/models/a%2Fb"


def test_what_is_not_served_says_so(cloud: LocalCloud) -> None:
    upload = f"{cloud.http_url}/v1/{PARENT}/models"
    for query in ({"alt": "proto"}, {"callback": "f"}):
        status, answer = get(cloud, f"/v1/{PARENT}/models", **query)
        assert (status, answer["error"]["status"]) == (501, "UNIMPLEMENTED")
    assert get(cloud, f"/v1/{PARENT}/models/ranker:nope")[0] == 404
    assert get(cloud, "/v1/nope")[0] == 404
    assert requests.delete(upload, timeout=5).status_code == 404
    assert requests.delete(f"{upload}/ranker", json={"name": "x"}, timeout=5).status_code == 400
    assert requests.post(f"{upload}:upload?modelId=x", json={}, timeout=5).status_code == 400
    assert requests.head(upload, timeout=5).content == b""
