"""What JSON Schema cannot say of valid requests, for schemathesis: it generates requests from the OpenAPI document alone."""

import os
import re
import uuid

import schemathesis
from hypothesis import strategies as st

CONVERSATION = os.environ["FOREIGN_CONVERSATION"]
MESSAGE = os.environ["FOREIGN_MESSAGE"]
OWN_KEY = os.environ["FOREIGN_OWN_KEY"]

# Hosts that resolve to nothing internal; the API asks nobody.
schemathesis.openapi.format(
    "uri",
    st.from_regex(r"https?://[a-z]{1,20}\.example\.org(:8080)?(/[a-z0-9._~%2F]{0,20})?", fullmatch=True).filter(
        lambda url: "%" not in url
    ),
)


def is_uuid(text):
    try:
        uuid.UUID(text)
    except (AttributeError, TypeError, ValueError):
        return False
    return True


@schemathesis.hook
def map_path_parameters(context, parameters):
    """Three of four valid ids are those of something that exists."""
    path = context.operation.path
    known = {"/v1/conversations/": CONVERSATION, "/v1/messages/": MESSAGE}
    for prefix, existing in known.items():
        if parameters and path.startswith(prefix) and is_uuid(parameters.get("id")):
            if uuid.UUID(parameters["id"]).int % 4:
                parameters["id"] = existing
    return parameters


@schemathesis.hook
def map_body(context, body):
    if isinstance(body, dict):
        # Those of others: nobody has them.
        for field in ("agent_id", "reply_to"):
            if is_uuid(body.get(field)) and context.operation.path.endswith("/messages"):
                body.pop(field)
        if isinstance(body.get("content"), dict):
            mend(body["content"], set())
    return body


@schemathesis.hook
def before_call(context, case, kwargs):
    """Also for what is not generated but made from the bounds of the schema."""
    # The run goes on with its own key.
    if case.path_parameters and case.path_parameters.get("id") == OWN_KEY:
        case.path_parameters["id"] = str(uuid.uuid4())
    # A cursor is opaque: only a page gives valid ones.
    if isinstance(case.query, dict) and isinstance(case.query.get("after"), str) and case.query["after"]:
        case.query.pop("after")
    # The same key with another request is refused.
    headers = case.headers or {}
    if re.fullmatch("[!-~]{1,200}", str(headers.get("Idempotency-Key", ""))):
        headers["Idempotency-Key"] += uuid.uuid4().hex
    if isinstance(case.body, dict):
        case.body = whole(case.body)
        if isinstance(case.body.get("content"), dict):
            mend(case.body["content"], set())
    # An internal address is refused: a long host of zeros, or a link that the API itself gave.
    body = case.body if isinstance(case.body, dict) else {}
    url = body.get("url")
    if isinstance(url, str) and len(url) <= 2048 and re.match("https?://(0+$|127\\.)", url):
        body["url"] = "https://hook.example.org/"


def whole(value):
    """An integer is written without a fraction: to JSON Schema 8.0 is one, to the API it is not."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, list):
        return [whole(item) for item in value]
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    return value


def mend(value, ids):
    """Entities lie within their text, ids of options are unique, an email has something to read."""
    if isinstance(value, list):
        for item in value:
            mend(item, ids)
    if not isinstance(value, dict):
        return
    if isinstance(value.get("text"), str) and isinstance(value.get("entities"), list):
        value["entities"] = [entity for entity in value["entities"] if not beyond(entity, len(value["text"]))]
    if value.get("type") == "email" and isinstance(value.get("text"), str):
        value["text"] += "x" if len(value["text"]) < 100_000 and "\0" not in value["text"] else ""
    for option in value["options"] if isinstance(value.get("options"), list) else ():
        if isinstance(option, dict) and isinstance(option.get("id"), str) and option["id"] in ids:
            if len(option["id"]) < 240 and option["id"].strip():
                option["id"] += str(len(ids))
        if isinstance(option, dict) and isinstance(option.get("id"), str):
            ids.add(option["id"])
    for item in value.values():
        mend(item, ids)


def beyond(entity, length):
    """Whether a stretch that is valid by itself is not within the text."""
    if not isinstance(entity, dict):
        return False
    offset, stretch = entity.get("offset"), entity.get("length")
    return isinstance(offset, int) and isinstance(stretch, int) and offset >= 0 and 0 < stretch and offset + stretch > length
