import pickle

import numpy as np
import pytest

from inlay.file import FormatError, Header, Sections, field, read, to_bytes

GIVEN = {"count": 3, "scale": 2, "name": "x", "flag": True, "none": None, "options": {"bits": 8}}


@pytest.fixture
def opened() -> tuple[Header, Sections]:
    return read(to_bytes(GIVEN, {"rows": np.zeros((3, 4), "f4"), "one": np.array(7, "i8")}))


def test_a_field_of_the_right_kind_is_returned(opened):
    header, _ = opened
    assert field(header, "count", int, at_least=3, at_most=3, one_of=(1, 3)) == 3
    assert field(header, "flag", bool) is True
    assert field(header, "name", str, one_of=("x", "y")) == "x"
    assert field(field(header, "options", dict), "bits", int) == 8


def test_a_whole_number_stands_for_a_float(opened):
    scale = field(opened[0], "scale", float)
    assert isinstance(scale, float)
    assert scale == 2.0
    with pytest.raises(FormatError):
        field({"scale": 10**400}, "scale", float)


@pytest.mark.parametrize(
    ("name", "kind", "limits"),
    [
        ("absent", int, {}),
        ("count", str, {}),
        ("flag", int, {}),
        ("flag", float, {}),
        ("none", int, {}),
        ("count", bool, {}),
        ("count", int, {"at_least": 4}),
        ("count", int, {"at_most": 2}),
        ("name", str, {"one_of": ("y",)}),
    ],
)
def test_a_field_that_is_not_as_wanted_is_named(opened, name, kind, limits):
    with pytest.raises(FormatError, match=f"<bytes>.*{name!r}"):
        field(opened[0], name, kind, **limits)


def test_a_field_of_a_nested_object_names_the_file(opened):
    with pytest.raises(FormatError, match="<bytes>"):
        field(opened[0]["options"], "absent", int)


def test_a_field_can_be_taken_from_any_mapping():
    assert field({"a": 1}, "a", int) == 1
    with pytest.raises(FormatError, match="'b'"):
        field({"a": 1}, "b", int)


def test_take_returns_the_array_as_stored(opened):
    _, sections = opened
    assert sections.take("rows", "f4", (3, 4)) is sections["rows"]
    assert sections.take("rows", np.float32, (None, 4)) is sections["rows"]
    assert sections.take("one", "i8", ()) == 7


@pytest.mark.parametrize(
    ("name", "dtype", "shape"),
    [
        ("absent", "f4", (3, 4)),
        ("rows", "f8", (3, 4)),
        ("rows", "i4", (3, 4)),
        ("rows", ">f4", (3, 4)),
        ("rows", "f4", (3, 5)),
        ("rows", "f4", (None,)),
        ("rows", "f4", (None, 4, None)),
        ("one", "i8", (1,)),
    ],
)
def test_take_refuses_what_is_absent_or_of_another_type_or_shape(opened, name, dtype, shape):
    with pytest.raises(FormatError, match=f"<bytes>, section {name!r}"):
        opened[1].take(name, dtype, shape)


def test_a_fault_names_file_section_and_offset(opened):
    fault = opened[1].fault("one", "is odd")
    assert (fault.file, fault.section, fault.offset) == ("<bytes>", "one", opened[1].offsets["one"])
    assert str(fault) == f"<bytes>, section 'one', byte {fault.offset}: is odd"


def test_a_format_error_is_a_value_error_and_survives_pickling():
    error = FormatError("is odd", file="f", section="s", offset=3)
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, ValueError)
    assert (str(again), again.file, again.section, again.offset) == (str(error), "f", "s", 3)
    assert str(FormatError("plain")) == "plain"
