"""The Chinese README says what the English one does: the same sections, commands, tables, links and measured numbers."""

import re
from collections import Counter
from pathlib import Path

import pytest
from test_snippets import blocks, commands, inline_code

from dae_keras import pages

REPOSITORY = Path(__file__).resolve().parents[1]
ENGLISH, CHINESE = ((REPOSITORY / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md"))


def sections(text):
    """A README's sections: (level of the heading, text below it), in order; comments of bash blocks are no headings."""
    without_code = re.sub(r"^```.*?^```$", lambda block: re.sub(r"^#", " ", block[0], flags=re.M), text, flags=re.M | re.S)
    parts = re.split(r"^(#+) .*\n", without_code, flags=re.M)
    return list(zip(map(len, parts[1::2]), parts[2::2], strict=True))


PAIRS = list(zip(sections(ENGLISH), sections(CHINESE), strict=False))


def test_each_has_the_other_in_its_first_lines():
    assert "[中文](README.zh-CN.md)" in ENGLISH.splitlines()[2]
    assert "[English](README.md)" in CHINESE.splitlines()[2]


def test_both_have_the_same_headings():
    assert [level for level, _ in sections(ENGLISH)] == [level for level, _ in sections(CHINESE)]
    chinese_titles = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", CHINESE, flags=re.M | re.S), re.M)
    assert [title for title in chinese_titles if not re.search(r"[\u4e00-\u9fff]", title)] == []


def test_both_have_the_same_commands():
    assert [(language, reason) for language, _, reason in blocks(ENGLISH)] == [
        (language, reason) for language, _, reason in blocks(CHINESE)
    ]
    for (language, english, _), (_, chinese, _) in zip(blocks(ENGLISH), blocks(CHINESE), strict=True):
        if language == "python":
            english, chinese = (re.sub(r"  # .*", "", text) for text in (english, chinese))
            assert english == chinese
        assert [line.split("  #")[0].rstrip() for line in commands(english)] == [
            line.split("  #")[0].rstrip() for line in commands(chinese)
        ]


@pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=[str(number) for number in range(len(PAIRS))])
def test_a_section_has_the_same_measured_numbers_claims_and_tables(english, chinese):
    for pattern in (pages.FIGURE, pages.CLAIM, pages.TABLE):
        found = [
            Counter((match["expression"], match.groupdict().get("format")) for match in pattern.finditer(text[1]))
            for text in (english, chinese)
        ]
        assert found[0] == found[1]


@pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=[str(number) for number in range(len(PAIRS))])
def test_a_section_has_the_same_code_and_tables(english, chinese):
    assert set(inline_code(english[1])) == set(inline_code(chinese[1]))
    assert [line.count("|") for line in english[1].splitlines() if line.startswith("|")] == [
        line.count("|") for line in chinese[1].splitlines() if line.startswith("|")
    ]


def test_both_have_the_same_numbers_that_nothing_measures():
    found = [Counter(pages.plain_numbers(text)) for text in (ENGLISH, CHINESE)]
    assert (found[0] - found[1], found[1] - found[0]) == (
        Counter({"89": 1}),
        Counter({"8,900": 1}),
    )  # 89 million are 8,900 times ten thousand


def test_both_link_to_the_same_places():
    found = [Counter(re.findall(r"\]\(([^)#\s]+)\)", text)) for text in (ENGLISH, CHINESE)]
    assert found[1] - found[0] == Counter({"README.md": 1, "docs/glossary.md": 1})
    assert found[0] - found[1] == Counter({"README.zh-CN.md": 1})
    for target in found[1]:
        assert target.startswith("http") or (REPOSITORY / target).exists(), target
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", CHINESE, re.M)}
    assert set(re.findall(r"\]\(#([^)]+)\)", CHINESE)) <= anchors


def test_the_references_are_the_same():
    assert (
        ENGLISH[ENGLISH.index("\n## References\n") :].split("\n\n", 1)[1] == CHINESE[CHINESE.index("\n## 参考文献\n") :].split("\n\n", 1)[1]
    )
