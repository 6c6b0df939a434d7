"""Names are what was parsed, and nothing else passes for one."""

from __future__ import annotations

import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_platform.cloud.names import (
    JobName,
    ModelName,
    ObjectPath,
    OperationName,
    PipelineJobName,
    ServiceName,
    check_alias,
    label_filter,
    model_id,
    parse_resource,
    same_resource,
)
from ml_platform.errors import Invalid

WHERE = "projects/demo-project/locations/europe-central2"

projects = st.from_regex(r"[a-z][a-z0-9-]{4,28}[a-z0-9]|[1-9][0-9]{5,14}", fullmatch=True)
locations = st.from_regex(r"[a-z]{2,9}-[a-z]{4,9}[1-9]", fullmatch=True)
model_ids = st.from_regex(r"[a-z0-9_-]{1,63}", fullmatch=True)
versions = st.from_regex(r"|[1-9][0-9]{0,5}|[a-z][a-z0-9-]{0,20}[a-z0-9]", fullmatch=True)
names = st.one_of(
    st.builds(ModelName, projects, locations, model_ids, versions),
    st.builds(
        PipelineJobName, projects, locations, st.from_regex(r"[a-z0-9-]{1,128}", fullmatch=True)
    ),
    st.builds(
        ServiceName,
        projects,
        locations,
        st.from_regex(r"[a-z]([a-z0-9-]{0,40}[a-z0-9])?", fullmatch=True),
    ),
    st.builds(JobName, projects, locations, st.from_regex(r"[A-Za-z0-9_-]{1,80}", fullmatch=True)),
    st.builds(
        OperationName,
        projects,
        locations,
        st.from_regex(r"[A-Za-z0-9_-]{1,40}", fullmatch=True),
        st.from_regex(r"|models/[a-z0-9_-]{1,63}(@[0-9]{1,3})?", fullmatch=True),
    ),
)


@given(names)
def test_what_was_built_is_parsed_again(name):
    assert parse_resource(str(name)) == name
    assert type(name).parse(str(name)) == name


@given(names, names)
def test_two_names_write_the_same_only_when_they_are_the_same(one, other):
    assert (str(one) == str(other)) == (one == other)


@given(
    st.from_regex(r"[a-z0-9][a-z0-9._-]{1,60}[a-z0-9]", fullmatch=True),
    st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=80),
)
def test_an_object_path_is_parsed_again(bucket, key):
    path = ObjectPath(bucket, key)
    assert ObjectPath.parse(str(path)) == path


@given(names, projects)
def test_the_project_does_not_tell_two_names_apart(name, project):
    parts = str(name).split("/", 2)
    assert same_resource(name, f"projects/{project}/{parts[2]}")


MODEL = ModelName("demo-project", "europe-central2", "7")


@pytest.mark.parametrize(
    "other",
    [
        f"{WHERE}/models/8",
        f"{WHERE}/models/7@1",
        f"{WHERE}/services/s7",
        f"{WHERE}/jobs/7",
        f"{WHERE}/pipelineJobs/7",
        "projects/demo-project/locations/us-central1/models/7",
    ],
)
def test_another_kind_place_id_or_version_is_another_resource(other):
    assert not same_resource(MODEL, other)


@pytest.mark.parametrize("text", ["", "7", "models/7", f"{WHERE}/models/7/", f"{WHERE}/things/7"])
def test_what_is_no_name_cannot_be_compared(text):
    with pytest.raises(Invalid):
        same_resource(MODEL, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        f" {WHERE}/models/7",
        f"{WHERE}/models/7\n",
        f"{WHERE}/models/7@",
        f"{WHERE}/models/7@1@2",
        f"{WHERE}/models/7@-",
        f"{WHERE}/models/A",
        f"{WHERE}/models/" + "a" * 64,
        f"{WHERE}/models/7/versions/1",
        f"{WHERE}/models/..",
        f"{WHERE}/models/%37",
        f"{WHERE}/models/\u0667",
        f"/{WHERE}/models/7",
        "projects//locations/europe-central2/models/7",
        "projects/a/b/locations/europe-central2/models/7",
        "projects/p/locations//models/7",
        f"https://example.com/{WHERE}/models/7",
    ],
)
def test_a_text_that_is_not_exactly_a_model_name_is_refused(text):
    with pytest.raises(Invalid):
        ModelName.parse(text)


@pytest.mark.parametrize(
    "parts",
    [
        ("p/locations/x", "l", "7", ""),
        ("demo", "l", "7@1", ""),
        ("demo", "l", "7", "1@2"),
        ("demo", "l/models/6", "7", ""),
        ("demo", "l", "", ""),
    ],
)
def test_a_name_cannot_be_built_that_would_be_read_otherwise(parts):
    with pytest.raises(Invalid):
        ModelName(*parts)


def test_the_pattern_of_an_operation_leaves_the_version_to_its_parent():
    name = OperationName.parse(f"{WHERE}/models/7@2/operations/99")
    assert (name.parent, name.operation_id) == ("models/7@2", "99")
    assert OperationName.parse(f"{WHERE}/operations/99").parent == ""


def test_a_version_is_put_on_and_taken_off():
    assert str(MODEL.at("3")) == f"{WHERE}/models/7@3"
    assert MODEL.at("3").bare == MODEL


@pytest.mark.parametrize(
    "text", ["gs://bucket", "gs://bucket/", "gs:///key", "s3://b/k", "/etc", ""]
)
def test_the_root_of_a_bucket_is_no_object_path(text):
    with pytest.raises(Invalid):
        ObjectPath.parse(text)


def test_a_folder_ends_in_one_slash_so_that_run_1_is_not_run_10():
    assert str(ObjectPath("bucket", "runs/1").folder) == "gs://bucket/runs/1/"
    assert str(ObjectPath("bucket", "runs/1//").folder) == "gs://bucket/runs/1/"
    with pytest.raises(Invalid):
        ObjectPath("bucket", "")


@given(st.uuids(), st.integers(0, 10**20 - 1))
def test_a_model_id_is_one_that_vertex_takes_and_is_unique(uid, generation):
    made = model_id(uid, generation)
    assert re.fullmatch(r"[a-z_][a-z0-9_-]{0,62}", made)
    prefix, text, number = made.split("-")
    assert (prefix, UUID(text), int(number)) == ("mr", uid, generation)


@pytest.mark.parametrize("generation", [-1, 10**20])
def test_a_generation_out_of_range_is_refused(generation):
    with pytest.raises(ValueError, match="generation"):
        model_id(UUID(int=1), generation)


def test_labels_become_a_filter():
    assert label_filter({"mlp_owner": "tests", "mlp_run": "ab12"}) == (
        'labels.mlp_owner="tests" AND labels.mlp_run="ab12"'
    )


@pytest.mark.parametrize(
    ("key", "value"), [("k", 'x" OR labels.k:"'), ("k", "A"), ("K", "a"), ("", "a"), ("k=1", "a")]
)
def test_nothing_can_be_smuggled_into_a_filter(key, value):
    with pytest.raises(Invalid):
        label_filter({key: value})


@pytest.mark.parametrize("alias", ["default", "a1", "champion-2", "a" * 128])
def test_an_alias_that_all_three_patterns_of_google_take_passes(alias):
    assert check_alias(alias) == alias


@pytest.mark.parametrize(
    "alias", ["", "a", "1a", "-a", "a-", "A1", "aB", "a_b", "a" * 129, "a1\n", "a b"]
)
def test_an_alias_that_one_pattern_refuses_is_refused(alias):
    with pytest.raises(Invalid):
        check_alias(alias)
