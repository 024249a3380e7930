"""Line protocol: the syntax of its specification, and nonsense that never stops the others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neo_polystore.protocols.limits import Naming
from neo_polystore.protocols.line_protocol import Lines, read_lines


def read(text: str | bytes, **options: str) -> Lines:
    body = text.encode() if isinstance(text, str) else text
    return read_lines(body, Naming(), now=7_500_000, **options)


def points(lines: Lines) -> list[tuple[str, dict[str, str], int, float]]:
    columns = lines.columns
    return [
        (columns.series[number].name, dict(columns.series[number].tags), time, value)
        for number, time, value in zip(
            columns.numbers.tolist(), columns.times.tolist(), columns.values.tolist(), strict=True
        )
    ]


@pytest.mark.parametrize(
    ("line", "name", "tags"),
    [
        ("m value=1 5000", "m", {}),
        ("m,a=1,b=2 value=1 5000", "m", {"a": "1", "b": "2"}),
        (r"my\ m\,x,a\=b=c\ d\,e value=1 5000", "my m,x", {"a=b": "c d,e"}),
        (r"m,path=C:\dir value=1 5000", "m", {"path": r"C:\dir"}),
        (r"m,path=end\\ value=1 5000", "m", {"path": "end\\"}),
        ("m,t=\u00fc value=1 5000", "m", {"t": "\u00fc"}),
        ('m,q="x" value=1 5000', "m", {"q": '"x"'}),
        ("m,t=a\tb value=1 5000", "m", {"t": "a\tb"}),
        ("  m   value=1   5000  \r", "m", {}),
        (r"m f\ g=1 5000", "m_f g", {}),
    ],
)
def test_names_and_tags_with_their_escapes(line: str, name: str, tags: dict[str, str]) -> None:
    assert points(read(line)) == [(name, tags, 5, 1.0)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1.0),
        ("-1.5", -1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-3i", -3.0),
        ("9223372036854775807i", 2.0**63),
        ("18446744073709551615u", 2.0**64),
        *((word, 1.0) for word in ("t", "T", "true", "True", "TRUE")),
        *((word, 0.0) for word in ("f", "F", "false", "False", "FALSE")),
    ],
)
def test_values(text: str, value: float) -> None:
    assert [one[3] for one in points(read(f"m value={text}"))] == [value]


@pytest.mark.parametrize(
    "line",
    [
        "m",
        "m value",
        "m value=",
        "m =1",
        "m value=1,",
        "m value=1,,x=2",
        "m,a value=1",
        "m,a= value=1",
        "m,=a value=1",
        "m,a=1,a=2 value=1",
        ",a=1 value=1",
        "m,a=1, value=1",
        "m value=nan",
        "m value=inf",
        "m value=1_0",
        "m value=1e999",
        "m value=0x10",
        "m value=9223372036854775808i",
        "m value=-1u",
        "m value=tRUE",
        "m value=1 x",
        "m value=1 1.5",
        "m value=1 99999999999999999999",
        "m value=1 1 1",
        'm value="open',
        'm value="a"b',
        'm value=1,x="\\',
        "m\\ value=1",
        "m,a=b\\ value=1",
        f"{'m' * 256} value=1",
        b"m,t=\xff value=1",
        b"m,t=a\x00 value=1",
    ],
)
def test_a_malformed_line_is_refused_alone(line: str | bytes) -> None:
    body = line.encode() if isinstance(line, str) else line
    lines = read(b"a value=1 1000\n" + body + b"\nb value=2 2000")
    assert [one[0] for one in points(lines)] == ["a", "b"]
    assert [bad.number for bad in lines.bad] == [2]
    assert lines.numbers.tolist() == [1, 3]
    assert lines.count == 3


def test_comments_and_empty_lines_are_passed_over() -> None:
    lines = read('# "open\n\n   \n#\nm value=1 1000\n')
    assert (len(lines.columns), lines.count, lines.bad) == (1, 1, [])


def test_a_string_may_go_over_lines_which_are_no_points() -> None:
    lines = read('m s="a\nx value=1\n\\" b",value=2 1000\ny value=3 1000')
    assert [(one[0], one[3]) for one in points(lines)] == [("m", 2.0), ("y", 3.0)]
    assert [bad.number for bad in lines.bad] == [1]
    assert lines.numbers.tolist() == [1, 4]


def test_a_line_without_a_time_is_of_now_in_its_precision() -> None:
    assert [one[2] for one in points(read("m value=1", precision="s"))] == [7_000_000]
    assert [one[2] for one in points(read("m value=1", precision="us"))] == [7_500_000]


def test_the_service_is_a_tag_or_the_default() -> None:
    lines = read("m,job=j value=1\nm,job=j,service=s value=1\nm value=1", default="bucket")
    assert [one.service for one in lines.columns.series] == ["j", "s", "bucket"]


@given(body=st.binary(max_size=300))
def test_nonsense_never_raises(body: bytes) -> None:
    lines = read(body)
    assert len(lines.bad) + len(lines.columns) >= 0
    assert len(lines.numbers) == len(lines.columns)


@given(body=st.text(alphabet='m,= \\"\n\t1itf#v', max_size=120))
def test_nonsense_that_is_nearly_right_never_raises(body: str) -> None:
    lines = read(body)
    assert all(1 <= bad.number <= body.count("\n") + 1 for bad in lines.bad)


WORD = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1)


@given(
    measurement=WORD.filter(lambda word: not word.startswith("#")),
    tags=st.dictionaries(WORD.filter(lambda word: word not in ("service", "job")), WORD),
    value=st.floats(allow_nan=False, allow_infinity=False),
    time=st.integers(-(2**53), 2**53),
)
def test_what_is_escaped_comes_back(
    measurement: str, tags: dict[str, str], value: float, time: int
) -> None:
    def escaped(text: str) -> str:
        for character in "\\,= ":
            text = text.replace(character, "\\" + character)
        return text

    if len(measurement) > 255:
        return
    head = ",".join(
        [escaped(measurement), *(f"{escaped(k)}={escaped(v)}" for k, v in tags.items())]
    )
    lines = read(f"{head} value={value!r} {time}", precision="us")
    assert points(lines) == [(measurement, tags, time, value)]
