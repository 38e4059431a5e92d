"""results.json as its schema says, and the schema says every key that there is."""

import json
from pathlib import Path
from typing import Any

import pytest
from small_result import BOUNDS, small_result

import partseg_cli
from partseg_cli.evaluation.metrics import ROUND_TRIP
from partseg_cli.evaluation.rules import RULES
from partseg_cli.reports import results as report

SCHEMA = json.loads((Path(partseg_cli.__file__).parent / "assets/results.schema.json").read_text(encoding="utf-8"))
KINDS = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
KNOWN = {
    *("$schema", "$defs", "$ref", "title", "description", "type", "enum", "required", "properties"),
    *("additionalProperties", "items", "minimum", "maximum", "minItems", "maxItems"),
}


def is_kind(value: object, kind: str) -> bool:
    if kind in {"number", "integer"}:
        return isinstance(value, int if kind == "integer" else int | float) and not isinstance(value, bool)
    return isinstance(value, KINDS[kind])


def problems(value: Any, schema: dict[str, Any], where: str = "$") -> list[str]:
    """Check a value by the words of JSON Schema that ours uses."""
    assert set(schema) <= KNOWN, set(schema) - KNOWN
    if "$ref" in schema:
        return problems(value, SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")], where)
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(is_kind(value, kind) for kind in kinds):
        return [f"{where}: {value!r} is no {kinds}"]
    if value not in schema.get("enum", [value]):
        return [f"{where}: {value!r} is not listed"]
    if is_kind(value, "number") and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        return [f"{where}: {value!r} is outside"]
    if isinstance(value, list):
        return problems_of_items(value, schema, where)
    return problems_of_keys(value, schema, where) if isinstance(value, dict) else []


def problems_of_items(value: list[Any], schema: dict[str, Any], where: str) -> list[str]:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        return [f"{where}: {len(value)} items"]
    inner = schema.get("items", {})
    return [text for place, item in enumerate(value) for text in problems(item, inner, f"{where}[{place}]")]


def problems_of_keys(value: dict[str, Any], schema: dict[str, Any], where: str) -> list[str]:
    found = [f"{where}: no {key}" for key in schema.get("required", []) if key not in value]
    for key, item in value.items():
        inner = schema.get("properties", {}).get(key, schema.get("additionalProperties", {}))
        found += [f"{where}: unknown {key}"] if inner is False else problems(item, inner, f"{where}.{key}")
    return found


def document(bounds: dict[str, Any] | None = None, rule: str = "ref-v2") -> dict[str, Any]:
    """Give what a user reads from the file."""
    return json.loads(json.dumps(small_result(rule=rule).document(bounds)))


@pytest.mark.parametrize("bounds", [None, BOUNDS])
@pytest.mark.parametrize("rule", [*RULES, ROUND_TRIP])
def test_a_result_is_as_its_schema_says(bounds, rule):
    assert problems(document(bounds, rule), SCHEMA) == []


@pytest.mark.parametrize("more", [("--rule", ROUND_TRIP), ("--predictions", "maps", "--bootstrap-samples", 20)])
def test_what_the_command_writes_is_as_the_schema_says(partseg, trained, tmp_path, monkeypatch, more):
    monkeypatch.chdir(tmp_path)
    light = ("--dataset", trained.data, "--device", "cpu", "--limit", 2, "--pictures", 0, "--out", "results")
    if "--predictions" in more:
        assert partseg("export", trained.data, "--to", "png", "--out", "maps").code == 0
    else:
        more = (*more, "--checkpoint", trained.run)
    ended = partseg("evaluate", *light, *more, "--json")
    assert ended.code == 0, ended.err
    written = json.loads((tmp_path / "results" / "results.json").read_text(encoding="utf-8"))
    assert json.loads(ended.out) == written
    assert problems(written, SCHEMA) == []
    assert set(written) <= set(SCHEMA["properties"])


def test_the_schema_describes_every_key_of_a_result():
    assert set(document()) <= set(SCHEMA["properties"])


def test_the_columns_of_the_table_are_the_keys_of_a_class():
    described = SCHEMA["properties"]["per_class"]["items"]
    assert list(report.COLUMNS) == described["required"] == list(described["properties"])


def test_the_schema_names_every_rule():
    assert SCHEMA["properties"]["rule"]["enum"] == [*RULES, ROUND_TRIP]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"mIoU": {"seen": 101.0, "unseen": 1.0, "harmonic": None}}, "$.mIoU.seen: 101.0 is outside"),
        ({"mIoU": {"seen": 1.0, "unseen": 1.0}}, "$.mIoU: no harmonic"),
        ({"rule": "mine"}, "$.rule: 'mine' is not listed"),
        ({"pixels": True}, "$.pixels: True is no ['integer']"),
        ({"per_class": [{"extra": 1}]}, "$.per_class[0]: unknown extra"),
        ({"intervals": {"mIoU": {"seen": [1.0]}}}, "$.intervals.mIoU.seen: 1 items"),
    ],
)
def test_a_wrong_document_is_told(change, problem):
    assert problem in problems(document() | change, SCHEMA)
