"""Compiled pipelines and what their parameters may be."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from ml_platform.errors import Invalid
from ml_platform.services.training.plain_values import DEEPEST, LARGEST
from ml_platform.services.training.template_files import LIMIT_BYTES, BadTemplate
from ml_platform.services.training.templates import (
    BadParameters,
    check_parameters,
    check_values,
    parse_template,
    read_template,
)

from .training_tools import SPEC

YAML = """\
# PIPELINE DEFINITION
pipelineInfo: {name: retrieval}
schemaVersion: 2.1.0
root:
  dag: {tasks: {train: {}}}
  inputDefinitions:
    parameters:
      epochs: {parameterType: NUMBER_INTEGER}
---
platforms: {kubernetes: {}}
"""
BOMB = "a: &a [x, x]\nb: &b [*a, *a]\npipelineInfo: *b\nroot: *b\n"


def test_json_and_yaml_are_read_alike() -> None:
    from_json = parse_template(json.dumps(SPEC), "t.json")
    from_yaml = parse_template(YAML, "t.yaml")
    assert from_json.spec == SPEC
    assert {name: p.required for name, p in from_json.parameters.items()} == {
        "epochs": False,
        "learning_rate": False,
        "note": False,
    }
    assert from_yaml.spec["schemaVersion"] == "2.1.0"
    assert from_yaml.parameters["epochs"].required


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "not a compiled pipeline"),
        ("{", "neither JSON nor YAML"),
        ("[1]", "not a compiled pipeline"),
        ('{"root": {}}', "lacks pipelineInfo"),
        ('{"pipelineInfo": {"name": "x"}, "root": NaN}', "neither JSON nor YAML"),
        ("a: b: c", "neither JSON nor YAML: mapping values are not allowed here at line 1"),
        ("root: !!python/object/apply:os.system [id]", "could not determine a constructor"),
        (BOMB, "aliases are not taken at line 2"),
        ("pipelineInfo: {at: 2026-02-08}\nroot: {}", "neither JSON nor YAML"),
        ("[" * 100_000, "neither JSON nor YAML"),
        ('{"a":' * 100_000, "neither JSON nor YAML"),
    ],
    ids=range(11),
)
def test_what_is_no_pipeline_is_refused_in_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(BadTemplate, match=sentence):
        parse_template(text, "t.yaml")


def with_text(text: str) -> str:
    """The template with this, as it stands, for a text in it."""
    return json.dumps({**SPEC, "deploymentSpec": {"command": "HERE"}}).replace('"HERE"', text)


def nested(levels: int, kind: type[dict[str, Any]] | type[list[Any]]) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = {"a": value} if kind is dict else [value]
    return value


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (r'"a\u0000b"', "NUL character or half of a surrogate pair at deploymentSpec.command"),
        (r'"\ud800"', "half of a surrogate pair at deploymentSpec.command"),
        (r'{"\udc00": 1}', "half of a surrogate pair at deploymentSpec.command"),
        (r'["a", {"b": "\u0000"}]', r"at deploymentSpec.command\[1\].b"),
        (str(LARGEST + 1), "number that Vertex AI cannot take exactly at deploymentSpec.command"),
        ("1e999", "number that Vertex AI cannot take exactly"),
        ("NaN", "neither JSON nor YAML"),
        ("9" * 5000, "neither JSON nor YAML"),
        (json.dumps(nested(DEEPEST, dict)), f"more than {DEEPEST} levels deep"),
        ("[" * 900 + "]" * 900, f"more than {DEEPEST} levels deep"),
    ],
    ids=lambda value: value[:20],
)
def test_what_cannot_be_sent_and_kept_as_it_stands_is_refused_where_it_stands(
    text: str, sentence: str
) -> None:
    with pytest.raises(BadTemplate, match=sentence):
        parse_template(with_text(text), "t.json")


def test_a_pair_of_surrogates_is_one_character() -> None:
    found = parse_template(with_text(r'"\ud83d\ude00"'), "t.json")
    assert found.spec["deploymentSpec"]["command"] == "😀"


def test_yaml_is_held_to_the_same() -> None:
    with pytest.raises(BadTemplate, match="NUL character"):
        parse_template(YAML.replace("{train: {}}", r'{train: {a: "\0"}}'), "t.yaml")
    with pytest.raises(BadTemplate, match="neither JSON nor YAML"):
        parse_template(YAML.replace("{train: {}}", "{train: {a: .nan}}"), "t.yaml")


@pytest.mark.parametrize("version", ["2." + "9" * 5000, "9" * 5000, "two", "2..1", "٢.1", "-2"])
def test_a_schema_version_that_is_none_is_refused(version: str) -> None:
    with pytest.raises(BadTemplate, match="which is not a version"):
        parse_template(json.dumps({**SPEC, "schemaVersion": version}), "t.json")


@pytest.mark.parametrize(
    ("version", "old"),
    [
        ("2.0.0", True),
        ("2.1.0", False),
        ("2.1", False),
        (2.1, False),
        ("10.0", False),
        (None, True),
    ],
)
def test_a_schema_version_is_compared_by_its_numbers(version: object, *, old: bool) -> None:
    assert parse_template(json.dumps({**SPEC, "schemaVersion": version}), "t").is_old is old


def test_an_artifact_that_a_run_cannot_give_is_refused() -> None:
    spec = copy.deepcopy(SPEC)
    schema = {"artifactType": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}}
    spec["root"]["inputDefinitions"]["artifacts"] = {"data": schema}
    with pytest.raises(BadTemplate, match="needs data as an input artifact") as caught:
        parse_template(json.dumps(spec), "t.json")
    assert caught.value.code == "artifact_needed"
    spec["root"]["inputDefinitions"]["artifacts"]["data"] = schema | {"isOptional": True}
    parse_template(json.dumps(spec), "t.json")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"epoch": 5}, "no parameter 'epoch'"),
        ({"epochs": "5"}, "epochs is '5', which is not a whole number"),
        ({"epochs": 5.5}, "not a whole number"),
        ({"epochs": True}, "not a whole number"),
        ({"learning_rate": "fast"}, "not a number"),
        ({"learning_rate": float("nan")}, "cannot take exactly"),
        ({"learning_rate": float("inf")}, "cannot take exactly"),
        ({"learning_rate": 10**400}, "cannot take exactly"),
        ({"epochs": 2**53 + 1}, "epochs holds a number that Vertex AI cannot take exactly"),
        ({"epochs": -(10**5000)}, "cannot take exactly"),
        ({"note": {"deep": [1, [{"x": 10**400}]]}}, "cannot take exactly"),
        ({"note": 7}, "not a text"),
        ({"note": "a\0b"}, "note holds text with a NUL"),
        ({"note": "\ud800"}, "half of a surrogate pair"),
        ({"note": {"\udc00": 1}}, "half of a surrogate pair"),
        ({"\0": 1}, "The parameter \ufffd holds text with a NUL"),
        ({"note": nested(DEEPEST + 1, dict)}, f"more than {DEEPEST} levels deep"),
        ({"note": nested(DEEPEST + 1, list)}, f"more than {DEEPEST} levels deep"),
        ({"note": nested(990, list)}, f"more than {DEEPEST} levels deep"),
        ({"note": nested(100_000, list)}, f"more than {DEEPEST} levels deep"),
    ],
    ids=lambda value: repr(type(value)) if isinstance(value, dict) else value,
)
def test_parameters_that_do_not_fit_are_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadParameters, match=sentence):
        check_parameters(template=parse_template(json.dumps(SPEC), "t"), given=given)


def test_parameters_that_are_too_long_are_refused_with_the_limit() -> None:
    with pytest.raises(BadParameters, match=r"take 300,012 bytes as JSON, more than 262,144\."):
        check_values({"note": "x" * 300_000})


def test_an_unknown_parameter_is_answered_with_the_known_ones() -> None:
    with pytest.raises(BadParameters) as caught:
        check_parameters(template=parse_template(json.dumps(SPEC), "t"), given={"<b>": 1})
    assert caught.value.code == "unknown_parameter"
    assert caught.value.advice == "Its parameters: epochs, learning_rate, note."


def test_a_needed_parameter_must_be_given() -> None:
    with pytest.raises(BadParameters, match="needs epochs"):
        check_parameters(template=parse_template(YAML, "t"), given={})


def test_the_old_schema_takes_texts_and_numbers_by_their_type() -> None:
    spec = copy.deepcopy(SPEC) | {"schemaVersion": "2.0.0"}
    known = {"epochs": {"type": "INT"}, "rate": {"type": "DOUBLE"}, "note": {"type": "STRING"}}
    spec["root"]["inputDefinitions"]["parameters"] = known | {"flag": {"isOptional": True}}
    template = parse_template(json.dumps(spec), "t")
    given = {"epochs": 5.0, "rate": 1, "note": "x"}
    check_parameters(template=template, given=given)
    assert [*template.values(given).values()] == [5, 1.0, "x"]
    assert [type(value) for value in template.values(given).values()] == [int, float, str]
    with pytest.raises(BadParameters, match="schema"):
        check_parameters(template=template, given={**given, "flag": True})


def test_a_template_of_the_new_schema_sends_what_was_given() -> None:
    given = {"epochs": 5.0, "learning_rate": 1}
    assert parse_template(json.dumps(SPEC), "t").values(given) is not given
    assert parse_template(json.dumps(SPEC), "t").values(given) == given


@pytest.fixture
def folder(tmp_path: Path, settings: Any) -> Path:
    root = tmp_path / "templates"
    root.mkdir()
    (root / "good.yaml").write_text(YAML)
    (root / "marked.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(SPEC).encode())
    (root / "nul.yaml").write_text(f"{YAML}# \0")
    (root / "big.yaml").write_text("#" * (LIMIT_BYTES + 1))
    (root / "binary.yaml").write_bytes(b"\xff\xfe")
    (tmp_path / "secret.yaml").write_text(YAML)
    (root / "link.yaml").symlink_to(tmp_path / "secret.yaml")
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "TEMPLATE_DIR": str(root)}
    return root


def test_a_template_on_disk_is_read_by_relative_or_full_path(folder: Path) -> None:
    assert "epochs" in read_template("good.yaml").parameters
    assert "epochs" in read_template(str(folder / "good.yaml")).parameters
    assert "epochs" in read_template("marked.json").parameters


@pytest.mark.parametrize(
    "path",
    ["../secret.yaml", "link.yaml", "/etc/passwd", "none.yaml", "", ".", "big.yaml",
     "binary.yaml", "a\0b", "file:///etc/passwd", "good.yaml/x", "nul.yaml", "\ud800"],
)  # fmt: skip
@pytest.mark.usefixtures("folder")
def test_nothing_but_templates_in_the_folder_is_read(path: str) -> None:
    with pytest.raises(BadTemplate):
        read_template(path)


def test_without_a_folder_nothing_on_disk_is_read(folder: Path, settings: Any) -> None:
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "TEMPLATE_DIR": ""}
    with pytest.raises(Invalid, match="not the address of a template"):
        read_template(str(folder / "good.yaml"))
