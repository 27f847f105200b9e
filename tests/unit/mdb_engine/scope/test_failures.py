"""Explanations of code 121, as mongod 6.0.5 words them; compared with it in tests/e2e."""

from typing import Any

import pytest

from mdb_engine.scope.failures import error_info, write_errors
from tests.support.kernel import lazy, shown


def counted(most: int, there: int) -> dict[str, Any]:
    return {
        "operatorName": "maxProperties", "specifiedAs": {"maxProperties": most},
        "reason": "specified number of properties was not satisfied", "numberOfProperties": there,
    }  # fmt: skip


def schema(*rules: Any) -> dict[str, Any]:
    return {"operatorName": "$jsonSchema", "schemaRulesNotSatisfied": list(rules)}


def item(index: int, *rules: Any) -> dict[str, Any]:
    return {"index": index, "details": list(rules)}


UNSEEN = {"$unsetField": {"field": "app_id", "input": "$$ROOT"}}
PATTERN = r"^(?!app_id\z)(?s:.*)(?:^n)"
OF_FIELD = {"propertyName": "n", "regexMatched": PATTERN, "details": [counted(1, 2)]}

TOLD: list[tuple[Any, Any]] = [
    (schema(counted(2, 3)), schema(counted(1, 2))),
    (schema({"operatorName": "allOf", "schemasNotSatisfied": [item(0, counted(2, 3))]}),
     schema({"operatorName": "allOf", "schemasNotSatisfied": [item(0, counted(1, 2))]})),
    (schema({"operatorName": "dependencies", "failingDependencies": [
        {"conditionalProperty": "a", "details": [counted(2, 3)]}]}),
     schema({"operatorName": "dependencies", "failingDependencies": [
         {"conditionalProperty": "a", "details": [counted(1, 2)]}]})),
    ({"operatorName": "$and", "clausesNotSatisfied": [
        {"index": 0, "details": schema(counted(2, 3))}]},
     {"operatorName": "$and", "clausesNotSatisfied": [
         {"index": 0, "details": schema(counted(1, 2))}]}),
    (schema({"operatorName": "properties", "propertiesNotSatisfied": [
        {"propertyName": "n", "details": [counted(1, 2)]}]}),) * 2,
    (schema({"operatorName": "patternProperties", "details": [OF_FIELD]}),
     schema({"operatorName": "patternProperties",
             "details": [{**OF_FIELD, "regexMatched": "^n"}]})),
    ({"operatorName": "$expr", "specifiedAs": {"$expr": {"$eq": [{"$size": UNSEEN}, 2]}}},
     {"operatorName": "$expr", "specifiedAs": {"$expr": {"$eq": [{"$size": "$$ROOT"}, 2]}}}),
    ({"operatorName": "$jsonSchema", "specifiedAs": {"$jsonSchema": {
        "properties": {"app_id": {}}, "required": ["a"]}}},
     {"operatorName": "$jsonSchema", "specifiedAs": {"$jsonSchema": {"required": ["a"]}}}),
    ({"operatorName": "x", "specifiedAs": 5, "details": 5},) * 2,
    ({"operatorName": "x", "consideredValue": {"maxProperties": 2}},) * 2,
]  # fmt: skip


@pytest.mark.parametrize(("details", "told"), TOLD)
def test_the_tag_is_not_in_the_explanation(details: Any, told: Any) -> None:
    info = {"failingDocumentId": 1, "details": details}
    expected = {"failingDocumentId": 1, "details": told}
    assert shown(error_info(lazy(info))) == expected
    errors = [{"index": 0, "code": 121, "errInfo": info}, {"index": 1, "code": 11000}]
    assert shown(write_errors(lazy(errors))) == [
        {"index": 0, "code": 121, "errInfo": expected},
        {"index": 1, "code": 11000},
    ]


@pytest.mark.parametrize("value", [None, 5, {"writeConcern": {"w": 1}}, {"details": 5}])
def test_other_information_stays(value: Any) -> None:
    assert shown(error_info(lazy(value))) == value


@pytest.mark.parametrize("value", [None, 5, [5]])
def test_what_is_no_list_of_errors_stays(value: Any) -> None:
    assert shown(write_errors(lazy(value))) == value
