"""One table, rendered in several ways, whatever its words are."""

from physadv.table import Table

TABLE = Table.of("two <rows>", ["name", "AP50"], [["a|b\n<i>", 0.25], ["c", None]], numbers=["AP50"])


def test_a_table_says_the_same_in_markdown_html_and_csv() -> None:
    assert TABLE.markdown() == "| name | AP50 |\n|---|---|\n| a\\|b <i> | 0.250 |\n| c | - |"
    assert TABLE.csv().splitlines()[0] == "name,AP50" and TABLE.csv().splitlines()[-1] == "c,"
    text = TABLE.html()
    assert "<caption>two &lt;rows&gt;</caption>" in text and "&lt;i&gt;</td><td>0.250</td>" in text
    assert text == TABLE._repr_html_() and TABLE.texts()[1] == ["c", "-"]
