"""Configurations: what enters a hash, and errors that name file, line and the nearest allowed word."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import biorep
from biorep import config
from biorep.bridge import Readout
from biorep.config import Config, digest, plain, setting, validate
from biorep.errors import ConfigError
from biorep.robustness import Robustness
from biorep.source import parse_override, parse_yaml, read_yaml, set_path


class Inner(Config):
    rate: float = setting(0.1, gt=0, description="size of a step")
    schedule: Literal["linear", "constant"] = setting("linear")
    later: int | None = setting(None, neutral=None)


class Outer(Config):
    name: str = setting("x", hashed=False)
    units: int = setting(description="number of units")
    inner: Inner = setting(Inner())
    added: int = setting(3, neutral=3)
    rows: list[Inner] = setting([], neutral=[])


def _fails(text, model=Outer, name="recipe.yaml"):
    with pytest.raises(ConfigError) as caught:
        validate(model, parse_yaml(text, name))
    return str(caught.value)


# ------------------------------------------------------------------------------------------------------- hashes


def test_hash_payload_leaves_out_unhashed_and_neutral_fields():
    assert Outer(units=5).hash_payload() == {"units": 5, "inner": {"rate": 0.1, "schedule": "linear"}}


def test_hash_payload_holds_a_field_that_is_no_longer_neutral():
    payload = Outer(units=5, added=4, inner=Inner(later=0), rows=[Inner(rate=2)]).hash_payload()
    assert payload["added"] == 4
    assert payload["inner"]["later"] == 0
    assert payload["rows"] == [{"rate": 2.0, "schedule": "linear"}]


def test_a_name_does_not_change_the_hash_and_a_neutral_field_keeps_old_hashes():
    class Before(Config):
        units: int = 5
        inner: Inner = setting(Inner())

    old = digest(Before().hash_payload())
    assert digest(Outer(units=5, name="a").hash_payload()) == old
    assert digest(Outer(units=5, name="b", added=3).hash_payload()) == old
    assert digest(Outer(units=5, added=2).hash_payload()) != old


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        ({"a": 1}, {"a": 1.0}),
        ({"a": 1}, {"a": "1"}),
        ({"a": None}, {}),
        ({"a": True}, {"a": 1}),
        ({"a": [1, 2]}, {"a": [2, 1]}),
        ({"a": {"b": 1}}, {"a": {"b": 2}}),
        ({"a": 0.1}, {"a": 0.1 + 1e-15}),
    ],
)
def test_different_payloads_have_different_digests(one, other):
    assert digest(one) != digest(other)


def test_the_order_of_keys_and_the_type_of_sequences_do_not_matter():
    one = digest({"a": 1, "b": {"c": 2, "d": [3, 4]}})
    assert digest({"b": {"d": (3, 4), "c": 2}, "a": 1}) == one


def test_the_digest_is_the_sha256_of_canonical_json():
    text = '{"a":[1,2.5,null,true],"b":"\\u00e9","key_version":2}'
    assert digest({"b": "é", "a": (1, 2.5, None, True)}) == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_the_digest_of_a_known_payload_never_changes():
    # Stored results are found by this number: a change of the hash rules must bump KEY_VERSION knowingly.
    assert config.KEY_VERSION == 2
    assert digest({"seed": 0, "network": {"kind": "pixels", "input_norm": None}}) == "f749a6ddcb1d92b1"


def test_a_digest_refuses_nan():
    with pytest.raises(ValueError, match="JSON"):
        digest({"a": float("nan")})


def test_plain_turns_nested_values_into_json_types():
    value = {1: (Path("a/b"), Inner(rate=2)), "x": [None, True, 1.5]}
    assert plain(value) == {"1": ["a/b", {"rate": 2.0, "schedule": "linear"}], "x": [None, True, 1.5]}


def test_integers_for_float_fields_do_not_change_the_hash():
    one = biorep.network("krotov-hopfield", p=2, delta=0)
    other = biorep.network("krotov-hopfield", p=2.0, delta=0.0)
    assert digest(one.hash_payload()) == digest(other.hash_payload())
    assert digest(one.hash_payload()) != digest(biorep.network("krotov-hopfield", p=3, delta=0).hash_payload())


def test_configurations_are_frozen():
    outer = Outer(units=1)
    with pytest.raises(ConfigError, match="^settings are frozen: make another Outer with units=2$"):
        outer.units = 2


# ------------------------------------------------------------------------------------------------ YAML with lines


TEXT = """\
# a comment
units: 5

inner:
  rate: 1e-3
  schedule: constant
rows:
  - rate: 1
  - schedule: linear
    rate: 2
"""


def test_where_names_the_line_of_a_key():
    source = parse_yaml(TEXT, "r.yaml")
    expected = {
        (): 2,
        ("units",): 2,
        ("inner",): 4,
        ("inner", "rate"): 5,
        ("inner", "schedule"): 6,
        ("rows",): 7,
        ("rows", 0): 8,
        ("rows", 1, "schedule"): 9,
        ("rows", 1, "rate"): 10,
    }
    assert {path: source.where(path) for path in expected} == {k: f"r.yaml:{v}" for k, v in expected.items()}


def test_where_falls_back_to_the_nearest_key():
    source = parse_yaml(TEXT, "r.yaml")
    assert source.where(("inner", "later")) == "r.yaml:4"
    assert source.where(("rows", 1, "later", "x")) == "r.yaml:9"
    assert config.Source({}, "nowhere", {}).where(("a",)) == "nowhere"


def test_read_yaml_names_the_file(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(TEXT, encoding="utf-8")
    source = read_yaml(path)
    assert source.data["rows"] == [{"rate": 1}, {"schedule": "linear", "rate": 2}]
    assert source.where(("inner", "rate")) == f"{path}:5"


def test_an_empty_document_is_an_empty_mapping():
    assert parse_yaml("# nothing\n", "r.yaml").data == {}


def test_missing_file_and_undecodable_file(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read .*absent\.yaml: .*No such file"):
        read_yaml(tmp_path / "absent.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    with pytest.raises(ConfigError, match=r"cannot read .*latin\.yaml: .*utf-8"):
        read_yaml(tmp_path / "latin.yaml")


def test_bad_yaml_names_the_line():
    with pytest.raises(ConfigError, match=r"^r\.yaml:3: not valid YAML: ."):
        parse_yaml("a: 1\nb: 2\nc: d: 3\n", "r.yaml")


def test_an_unclosed_bracket_is_not_valid_yaml():
    with pytest.raises(ConfigError, match=r"^r\.yaml:\d+: not valid YAML"):
        parse_yaml("a: [1, 2\n", "r.yaml")


def test_two_documents_are_not_valid_yaml():
    with pytest.raises(ConfigError, match=r"^r\.yaml:\d+: not valid YAML"):
        parse_yaml("a: 1\n---\nb: 2\n", "r.yaml")


def test_tags_that_make_objects_are_refused():
    with pytest.raises(ConfigError, match="not valid YAML"):
        parse_yaml("a: !!python/object/apply:os.getcwd []\n", "r.yaml")


@pytest.mark.parametrize(("text", "kind"), [("- 1\n- 2\n", "list"), ("word\n", "str"), ("3\n", "int")])
def test_a_document_that_is_no_mapping(text, kind):
    with pytest.raises(ConfigError, match=rf"^r\.yaml: expected 'key: value' lines at the top, found {kind}$"):
        parse_yaml(text, "r.yaml")


def test_duplicate_keys_are_errors_with_line_and_path():
    with pytest.raises(ConfigError, match=r"^r\.yaml:3: key 'units' stands here a second time$"):
        parse_yaml("units: 1\nname: a\nunits: 2\n", "r.yaml")
    with pytest.raises(ConfigError, match=r"^r\.yaml:4: key 'inner\.rate' stands here a second time$"):
        parse_yaml("inner:\n  rate: 1\n  schedule: linear\n  rate: 2\n", "r.yaml")
    with pytest.raises(ConfigError, match=r"^r\.yaml:4: key 'rows\.1\.rate' stands here a second time$"):
        parse_yaml("rows:\n- rate: 1\n- rate: 1\n  rate: 2\n", "r.yaml")


def test_the_same_key_in_two_groups_is_no_duplicate():
    assert parse_yaml("a: {x: 1}\nb: {x: 2}\n", "r.yaml").data == {"a": {"x": 1}, "b": {"x": 2}}


@pytest.mark.parametrize(
    "text", ["? [a, b]\n: 1\n", "a: 2024-13-45\n", "a: \x00\n", "a: &x [*x]\n"], ids=["list", "date", "nul", "loop"]
)
def test_odd_yaml_is_a_config_error(text):
    with pytest.raises(ConfigError, match=r"^r\.yaml"):
        parse_yaml(text, "r.yaml")


# ----------------------------------------------------------------------------------------------------- validation


def test_a_valid_document():
    outer = validate(Outer, parse_yaml(TEXT, "r.yaml"))
    assert outer == Outer(units=5, inner=Inner(rate=0.001, schedule="constant"), rows=[Inner(rate=1), Inner(rate=2)])


def test_unknown_key_names_line_value_suggestion_and_alternatives():
    message = _fails("units: 5\ninner:\n  rte: 2\n")
    assert message.startswith("recipe.yaml:3: unknown key 'inner.rte' (value 2); did you mean 'rate'?")
    assert message.endswith("Allowed here: later, rate, schedule.")


def test_unknown_key_at_the_top_and_in_a_list():
    assert "recipe.yaml:2: unknown key 'unitz' (value 1); did you mean 'units'?" in _fails("units: 5\nunitz: 1\n")
    message = _fails("units: 5\nrows:\n- rate: 1\n- schedul: linear\n")
    assert message.startswith("recipe.yaml:4: unknown key 'rows.1.schedul'")
    assert "did you mean 'schedule'?" in message


def test_missing_key_says_what_it_is():
    assert _fails("# only a comment\nname: a\n") == "recipe.yaml:2: key 'units' is missing: number of units."


def test_wrong_type_names_line_and_value():
    message = _fails("name: a\nunits: many\n")
    assert message.startswith("recipe.yaml:2: 'units' is 'many', but input should be a valid integer")


@pytest.mark.parametrize("value", ["2.5", "[1]", "{a: 1}", "null"])
def test_values_that_are_no_integers(value):
    assert _fails(f"units: {value}\n").startswith("recipe.yaml:1: 'units' is ")


def test_a_group_that_is_a_number():
    assert _fails("units: 1\ninner: 7\n").startswith("recipe.yaml:2: 'inner' is 7, but")


def test_a_value_out_of_bounds():
    assert _fails("units: 1\ninner: {rate: -1}\n") == (
        "recipe.yaml:2: 'inner.rate' is -1, but input should be greater than 0"
    )


@pytest.mark.parametrize("value", [".nan", ".inf"])
def test_nan_and_infinity_are_refused(value):
    assert "recipe.yaml:3: 'inner.rate' is" in _fails(f"units: 1\ninner:\n  rate: {value}\n")


def test_a_wrong_word_is_answered_with_the_allowed_ones():
    message = _fails("units: 1\ninner:\n  schedule: linaer\n")
    assert message == (
        "recipe.yaml:3: 'inner.schedule' is 'linaer', but input should be 'linear' or 'constant'; "
        "did you mean 'linear'?"
    )


def test_a_wrong_word_that_resembles_nothing_has_no_suggestion():
    message = _fails("units: 1\ninner:\n  schedule: zzz\n")
    assert message.endswith("input should be 'linear' or 'constant'")


def test_all_mistakes_are_reported_at_once():
    lines = _fails("unit: 1\ninner:\n  rate: no number\n  schedule: x\n").split("\n")
    assert sorted(line.split(": ")[0] for line in lines) == [
        "recipe.yaml:1",
        "recipe.yaml:1",
        "recipe.yaml:3",
        "recipe.yaml:4",
    ]


def test_numbers_that_yaml_calls_strings_are_numbers():
    source = parse_yaml("units: 5\ninner: {rate: 1e-3}\n", "r.yaml")
    assert source.data["inner"]["rate"] == "1e-3"
    assert validate(Outer, source).inner.rate == 1e-3


# ------------------------------------------------------------------------------------------------------ overrides


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("units=500", ("units",), 500),
        ("network.units=500", ("network", "units"), 500),
        (" a.b = x ", ("a", "b"), "x"),
        ("a=1=2", ("a",), "1=2"),
        ("a=[1, 2]", ("a",), [1, 2]),
        ("a={b: 1}", ("a",), {"b": 1}),
        ("a=null", ("a",), None),
        ("a=", ("a",), None),
        ("a=true", ("a",), True),
        ("a='1'", ("a",), "1"),
    ],
)
def test_parse_override(text, path, value):
    assert parse_override(text) == (path, value)


@pytest.mark.parametrize("text", ["units", "=5", "  =5", ""])
def test_an_override_without_key_or_sign(text):
    with pytest.raises(ConfigError) as caught:
        parse_override(text)
    assert str(caught.value) == f"--set {text!r}: expected key=value, for example --set network.units=500"


def test_an_override_that_is_not_yaml():
    with pytest.raises(ConfigError, match=r"^--set 'a=\[1': the value is not valid YAML$"):
        parse_override("a=[1")


def test_an_override_with_an_impossible_date():
    with pytest.raises(ConfigError, match="--set"):
        parse_override("a=2024-13-45")


def test_set_path_replaces_and_creates():
    data = {"a": {"b": 1, "c": 2}, "n": None, "rows": [{"x": 1}, {"x": 2}]}
    set_path(data, ("a", "b"), 10, "here")
    set_path(data, ("n", "new", "deep"), 11, "here")
    set_path(data, ("rows", "1", "x"), 12, "here")
    set_path(data, ("rows", "0"), 13, "here")
    set_path(data, ("top",), 14, "here")
    assert data == {
        "a": {"b": 10, "c": 2},
        "n": {"new": {"deep": 11}},
        "rows": [13, {"x": 12}],
        "top": 14,
    }


def test_set_path_does_not_enter_a_value():
    with pytest.raises(ConfigError, match=r"^here: 'a' is 3, not a group of keys$"):
        set_path({"a": 3}, ("a", "b"), 1, "here")


@pytest.mark.parametrize("step", ["2", "x", "-1"])
def test_set_path_with_an_entry_that_a_list_does_not_have(step):
    with pytest.raises(ConfigError, match=rf"^here: the list has 2 entries, no entry '{step}'$"):
        set_path({"a": [1, 2]}, ("a", step), 1, "here")


@pytest.mark.parametrize("path", [("a", "x", "y"), ("a", "7", "y"), ("a", "0", "y")])
def test_set_path_through_a_list_that_does_not_fit(path):
    with pytest.raises(ConfigError, match="^here: "):
        set_path({"a": [1, 2]}, path, 1, "here")


# -------------------------------------------------------------------------------------- parts and changed documents


def test_a_part_keeps_its_lines():
    part = parse_yaml(TEXT, "r.yaml").part(("inner",))
    assert part.data == {"rate": "1e-3", "schedule": "constant"}
    assert part.where(("rate",)) == "r.yaml:5"
    assert part.where(("unknown",)) == "r.yaml:4"
    assert parse_yaml(TEXT, "r.yaml").part(("rows", 1)).where(("rate",)) == "r.yaml:10"


def test_an_error_in_a_part_names_the_line_of_the_file():
    part = parse_yaml("units: 5\ninner:\n  rate: 1\n  schedule: linaer\n", "r.yaml").part(("inner",))
    with pytest.raises(ConfigError, match=r"^r\.yaml:4: 'schedule' is 'linaer'"):
        validate(Inner, part)


def test_a_changed_document_knows_where_the_new_value_comes_from():
    source = parse_yaml(TEXT, "r.yaml")
    changed = source.changed(("inner",), {"rate": -1}, {("rate",): "plan.yaml:9"}, "plan.yaml:8")
    assert changed.data["inner"] == {"rate": -1}
    assert changed.where(("inner",)) == "plan.yaml:8"
    assert changed.where(("inner", "rate")) == "plan.yaml:9"
    assert changed.where(("inner", "schedule")) == "plan.yaml:8"
    assert changed.where(("units",)) == "r.yaml:2"
    with pytest.raises(ConfigError, match=r"^plan\.yaml:9: 'inner\.rate' is -1"):
        validate(Outer, changed)


def test_changing_a_document_leaves_the_original_alone():
    source, value = parse_yaml(TEXT, "r.yaml"), {"rate": 3}
    changed = source.changed(("inner",), value, {}, "--set")
    value["rate"] = 99
    assert changed.data["inner"] == {"rate": 3}
    assert source.data["inner"] == {"rate": "1e-3", "schedule": "constant"}
    assert source.where(("inner",)) == "r.yaml:4"


def test_changing_one_key_leaves_its_neighbours_in_place():
    changed = parse_yaml(TEXT, "r.yaml").changed(("inner", "rate"), 5, {}, "--set inner.rate")
    assert changed.where(("inner", "rate")) == "--set inner.rate"
    assert changed.where(("inner", "schedule")) == "r.yaml:6"
    assert changed.data["inner"] == {"rate": 5, "schedule": "constant"}


def test_a_changed_entry_of_a_list_knows_where_it_comes_from():
    path, value = parse_override("rows.0={rate: -1}")
    changed = parse_yaml(TEXT, "r.yaml").changed(path, value, {}, "--set")
    assert changed.where(("rows", 0)) == "--set"


class Numbers(Config):
    """Settings of which two take truth values."""

    count: int = 1
    rate: float | None = None
    sizes: tuple[int, ...] = ()
    label: str = "a"
    flag: bool = False
    either: int | bool = 0
    steps: dict[int, float] = setting({})


@pytest.mark.parametrize("text", ["count: yes", "rate: on", "sizes: [2, true]", "label: no", "steps: {1: on}"])
def test_truth_values_are_no_numbers_and_no_words(text):
    with pytest.raises(ConfigError, match=r"n.yaml:1: '\w+' is .*, but it must be a number or a word, not true or fal"):
        validate(Numbers, parse_yaml(text, "n.yaml"))


def test_truth_values_where_they_are_asked_for():
    found = validate(Numbers, parse_yaml("flag: yes\neither: true", "n.yaml"))
    assert (found.flag, found.either) == (True, True)


# ------------------------------------------------------------------------------------- settings made in Python


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Robustness(linf=0.1), "Robustness: 'linf' is 0.1, but input should be a list"),
        (lambda: Robustness(attacks="fgsm"), "Robustness: 'attacks' is 'fgsm', but input should be a list"),
        (lambda: Readout(source="vote"), "Readout: 'source' is 'vote', but input should be .*'proportion' or 'shares"),
        (lambda: Readout(optimizer="adam"), "Readout: unknown key 'optimizer' .*; did you mean 'optimiser'. Allowed"),
        (lambda: Readout(penalty=float("nan")), "Readout: 'penalty' is nan, but input should be a finite number"),
        (lambda: Readout(milestones={True: 0.1}), "Readout: 'milestones' is {True: 0.1}, but it must be a number"),
        (lambda: biorep.network("mlp", hidden=3), "mlp: 'hidden' is 3, but input should be a list"),
        (lambda: biorep.network("mlp", penalties="l2"), "mlp: 'penalties' is 'l2', but input should be a list"),
        (lambda: Outer(units=1, inner={"rte": 2}), "Outer: unknown key 'inner.rte' .*; did you mean 'rate'. Allowed"),
        (lambda: Outer(), "Outer: key 'units' is missing"),
    ],
)
def test_a_wrong_value_in_python_is_an_error_of_biorep(make, message):
    with pytest.raises(ConfigError, match=f"^{message}") as caught:
        make()
    assert "pydantic" not in str(caught.value)


def test_inner_settings_are_named_by_their_place_also_where_they_are_settings():
    assert Outer(units=1, inner=Inner(rate=3)).inner.rate == 3.0
    with pytest.raises(ConfigError, match=r"^o.yaml:2: 'inner.rate' is -1, but input should be greater than 0$"):
        validate(Outer, parse_yaml("units: 1\ninner: {rate: -1}", "o.yaml"))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.from_regex(r"[A-Za-z0-9.~+][A-Za-z0-9.+-]{0,9}", fullmatch=True))
@example("on")
@example("no")
@example("null")
@example("~")
@example("010")
@example("1e3")
@example(".inf")
@example("2026-01-01")
def test_keys_are_words_as_they_are_written(word):
    source = parse_yaml(f"base: &base {{{word}: 1}}\n{word}: 2\nmore: {{<<: *base, x: 3}}", "k.yaml")
    assert source.data == {"base": {word: 1}, word: 2, "more": {word: 1, "x": 3}}
    assert source.where((word,)) == "k.yaml:2"
    assert parse_override(f"cases={{{word}: 1}}") == (("cases",), {word: 1})
