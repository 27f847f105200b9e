"""Comments in JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdb_engine.exceptions import ManifestValidationError
from mdb_engine.manifest.comments import read_json, strip_comments


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1} // end', {"a": 1}),
        ('// begin\n{"a": 1}', {"a": 1}),
        ('{"a": /* in */ 1}', {"a": 1}),
        ('{"a": /* two\nlines */ 1}', {"a": 1}),
        ('{"a": "http://x"}', {"a": "http://x"}),
        ('{"a": "/* kept */"}', {"a": "/* kept */"}),
        (r'{"a": "\" // kept"}', {"a": '" // kept'}),
        (r'{"a": "\\"} // "', {"a": "\\"}),
        ('{"a": 1 /**/}', {"a": 1}),
        ('{"a": 1 /***/}', {"a": 1}),
        ("[1, // one\n 2]", [1, 2]),
    ],
)
def test_stripped(text: str, value: object) -> None:
    assert read_json(text) == value


def test_positions_are_kept() -> None:
    text = '{"a": 1, // one\n/* two\n three */ "b": 2}'
    stripped = strip_comments(text)
    assert len(stripped) == len(text)
    assert [i for i, c in enumerate(text) if c == "\n"] == [
        i for i, c in enumerate(stripped) if c == "\n"
    ]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(json_values)
def test_json_without_comments_is_left_alone(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assert strip_comments(text) == text
    assert read_json(text) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1', "not JSON: .* in line 1, column 8"),
        ('{\n// x\n"a" 1}', "in line 3, column 5"),
        ('{"a": 1, "a": 2}', "'a' stands twice"),
        ('{"b": {"a": 1, "a": 1}}', "'a' stands twice"),
        ('{"a": NaN}', "NaN is not a JSON number"),
        ('{"a": 1} \n/* open', "line 2 does not end"),
        ('{"a": 1} /*/', "does not end"),
        ("[" * 100_000, "nested too deeply"),
        ("", "not JSON"),
        ('{"a": ' + "9" * 5_000 + "}", "too many digits"),
    ],
)
def test_refused(text: str, reason: str) -> None:
    with pytest.raises(ManifestValidationError, match=reason):
        read_json(text)
