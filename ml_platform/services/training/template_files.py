"""The text of a compiled pipeline, in GCS or on disk, and the JSON or YAML in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ml_platform.cloud import storage
from ml_platform.cloud.answers import Absent, ask
from ml_platform.cloud.names import ObjectPath
from ml_platform.cloud.raw import read_utf8
from ml_platform.conf import get_settings
from ml_platform.errors import CloudAbsent, CloudRejected, Invalid

from .plain_values import flaw_in

LIMIT_BYTES = 1 << 20


class BadTemplate(Invalid):
    """The template cannot be read as a compiled pipeline."""

    code = "bad_template"
    advice = "Compile the pipeline to JSON or YAML and give its gs:// address."


def read_document(uri: str) -> Any:
    """Read the document at `gs://` or below TEMPLATE_DIR.

    :raises BadTemplate: it does not exist, or its JSON would not reach Vertex AI unchanged.
    :raises CloudUnavailable: Cloud Storage gave no usable answer.
    """
    return parse_document(_read_object(uri) if uri.startswith("gs://") else _read_file(uri), uri)


def parse_document(text: str, uri: str) -> Any:
    """Parse JSON, or YAML with only JSON's types. `uri` is for the messages.

    :raises BadTemplate: it is neither, or has a value that Vertex AI or our database cannot take.
    """
    document = _plain(text, uri)
    if flaw := flaw_in(document):
        where = f" at {flaw.where:.200}" if flaw.where else ""
        raise BadTemplate(f"{uri} {flaw.what}{where}.", advice=flaw.advice)
    return document


def _read_object(uri: str) -> str:
    path = ObjectPath.parse(uri)
    try:
        return storage.read_text(path.bucket, path.key, limit_bytes=LIMIT_BYTES)
    except CloudAbsent as error:
        no_bucket = isinstance(ask(lambda: storage.get_bucket(path.bucket)), Absent)
        raise BadTemplate(
            f"The bucket {path.bucket} does not exist."
            if no_bucket
            else f"The template {uri} does not exist.",
            code="bucket_missing" if no_bucket else "template_missing",
            advice="Correct the template's address." if no_bucket else "",
        ) from error
    except CloudRejected as error:
        raise BadTemplate(f"The template {uri} cannot be read: {error}") from error


def _read_file(uri: str) -> str:
    folder = get_settings().TEMPLATE_DIR
    if not folder or "://" in uri:
        raise BadTemplate(f"{uri!r:.200} is not the address of a template.")
    missing = BadTemplate(f"The template {uri!r:.200} does not exist.", code="template_missing")
    try:
        root = Path(folder).resolve()
        path = Path(root, uri).resolve()
        if not path.is_relative_to(root):
            raise missing
        with path.open("rb") as file:
            content = file.read(LIMIT_BYTES + 1)
    except (OSError, ValueError) as error:
        raise missing from error
    if len(content) > LIMIT_BYTES:
        raise BadTemplate(f"The template {uri} is longer than {LIMIT_BYTES} bytes.")
    try:
        return read_utf8(content)
    except ValueError as error:
        raise BadTemplate(f"The template {uri} is not UTF-8 text.") from error


def _plain(text: str, uri: str) -> Any:
    """The document as plain JSON values."""
    import yaml  # only when a template is read

    try:
        if text.lstrip().startswith("{"):
            return json.loads(text, parse_constant=_refuse_constant)
        # KFP may put a second document, the platform's, behind the pipeline.
        documents = _refuse_aliases(yaml.SafeLoader(text))
        return json.loads(json.dumps(documents.get_data(), allow_nan=False))
    except yaml.MarkedYAMLError as error:
        where = f" at line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise BadTemplate(f"{uri} is neither JSON nor YAML: {error.problem}{where}.") from error
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise BadTemplate(f"{uri} is neither JSON nor YAML with only JSON's types.") from error


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _refuse_aliases(loader: Any) -> Any:
    """No compiler writes aliases, and a few of them can expand to gigabytes."""
    import yaml

    compose = loader.compose_node

    def compose_node(parent: Any, index: Any) -> Any:
        if loader.check_event(yaml.AliasEvent):
            mark = loader.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="aliases are not taken", problem_mark=mark)
        return compose(parent, index)

    loader.compose_node = compose_node
    return loader
