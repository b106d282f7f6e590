"""One table in all its forms."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcnn_svm.reports.table import Table, cell, csv_text, json_text, percent, records_csv

NAN = float("nan")


def test_text_lines_up():
    lines = Table(("name", "n"), [["a", "1"], ["long name", "100"]], ["sum", "101"]).text().splitlines()
    rule = "--------------"
    assert lines == ["name         n", rule, "a            1", "long name  100", rule, "sum        101"]


def test_markdown_has_the_footer_as_a_last_row():
    table = Table(("a", "b"), [["1", "2"]], ["3", "4"])
    assert table.markdown().splitlines() == ["| a | b |", "| --- | ---: |", "| 1 | 2 |", "| 3 | 4 |"]


def test_notes_follow_after_a_blank_line():
    table = Table(("a", "b"), [["1", "2"]], notes=("b is twice a.",))
    assert table.text().splitlines() == ["a  b", "----", "1  2", "", "b is twice a."]
    assert table.markdown().splitlines()[-3:] == ["| 1 | 2 |", "", "- b is twice a."]


def test_a_table_that_is_too_wide_has_titles_in_several_lines():
    table = Table(("class", "hard negatives", "n"), [["cat", "12", "3"]], notes=("one two three",))
    assert table.text(width=26).splitlines()[0] == "class  hard negatives  n"
    assert table.text(width=23).splitlines() == [
        "            hard",
        "class  negatives  n",
        "-------------------",
        "cat           12  3",
        "",
        "one two three",
    ]
    assert table.text(width=7).splitlines()[-2:] == ["one two", "three"]


def test_a_table_that_is_still_too_wide_stands_in_blocks():
    table = Table(("class", "hard negatives", "AP", "n"), [["cat", "12", "31.5", "3"]], ["all", "12", "31.5", "3"])
    assert table.text(width=20).split("\n\n") == [
        "            hard\nclass  negatives\n----------------\ncat           12\n----------------\nall           12",
        "class    AP  n\n--------------\ncat    31.5  3\n--------------\nall    31.5  3",
    ]


@given(
    st.lists(st.lists(st.text("ab ", max_size=12), min_size=4, max_size=4), min_size=1, max_size=5),
    st.integers(1, 60),
)
def test_no_width_loses_a_cell_and_no_line_is_wider_than_two_columns_are(rows, width):
    table = Table(("first", "second one", "3", "the fourth"), [[f"x{cell}x" for cell in row] for row in rows])
    text = table.text(width)
    assert all(cell in text for row in table.rows for cell in row)
    widest = [max(len(row[column]) for row in table.rows) for column in range(4)]
    assert max(map(len, text.splitlines())) <= max(width, max(widest[0], 5) + 2 + max(*widest[1:], 6))


def test_the_first_rows_and_how_many_more():
    table = Table(("a", "b"), [["1", "2"], ["3", "4"], ["5", "6"]], ["9", "12"], ("a note",))
    assert table.top(3, "rows") is table
    assert table.top(1, "rows") == Table(("a", "b"), [["1", "2"]], ["9", "12"], ("and 2 more rows", "a note"))


def test_what_is_missing_shows_as_missing():
    assert [percent(value) for value in (0.125, None, NAN)] == ["12.5", "-", "-"]
    assert [cell(value, ".3f") for value in (2, None, NAN)] == ["2.000", "-", "-"]
    assert percent(1 / 3, 2) == "33.33"
    assert records_csv([{"a": 1, "b": NAN}, {"a": None, "b": 0.1}]) == "a,b\n1,\n,0.1\n"
    assert csv_text([["a", NAN, None, 1 / 3]]) == f"a,,,{1 / 3!r}\n"
    content = json.loads(json_text({"x": [NAN, (1, None)], "y": 0.5}), parse_constant=pytest.fail)
    assert content == {"x": [None, [1, None]], "y": 0.5}


def test_a_spreadsheet_runs_no_class_name():
    text = csv_text([["=HYPERLINK(1)", "+a", "-b", "@c", "\td", "-", "-0.5", "+1e3", -0.5, "cat"]])
    assert text == "'=HYPERLINK(1),'+a,'-b,'@c,'\td,-,-0.5,+1e3,-0.5,cat\n"


def test_class_names_are_text_in_markdown():
    rows = [["a|b", "1"], ["<script>x</script>", "2"], ["IoU < 0.3", "3"]]
    table = Table(("class", "n"), rows, notes=("<b> and |.",))
    assert table.markdown().splitlines()[2:] == [
        r"| a\|b | 1 |",
        "| &lt;script>x&lt;/script> | 2 |",
        "| IoU < 0.3 | 3 |",
        "",
        "- &lt;b> and |.",
    ]
