import re
from types import SimpleNamespace

import pytest
import reliability

TEXT = """\
# What holds

| kind | cases tried | survived | promised |
| --- | ---: | ---: | --- |
| any parameter | 1 | 0 | it runs |
| killed | 2 | 2 | no half file |
"""


def report(kind, outcome="passed", when="call", **properties):
    kinds = [("kind", kind)] if kind else []
    outcomes = {name: name == outcome for name in ("passed", "failed", "skipped")}
    return SimpleNamespace(user_properties=[*kinds, *properties.items()], when=when, **outcomes)


def counted(*reports):
    counts = {}
    for each in reports:
        reliability.count(counts, each)
    return counts


def test_cases_are_counted_by_kind():
    passed, failed = report("killed"), report("killed", "failed")
    assert counted(passed, failed, report("bombs"), report(None)) == {"killed": [2, 1], "bombs": [1, 1]}


def test_a_test_may_try_several_cases():
    assert counted(report("killed", cases=60)) == {"killed": [60, 60]}
    assert counted(report("killed", "failed", cases=60)) == {"killed": [60, 0]}
    assert counted(report("killed", "failed", cases=60, survived=59)) == {"killed": [60, 59]}


def test_only_what_was_tried_counts_and_once():
    setup, teardown = report("killed", when="setup"), report("killed", when="teardown")
    assert counted(setup, report("killed"), teardown) == {"killed": [1, 1]}
    assert counted(report("killed", "skipped", "setup"), report("killed", "skipped")) == {}
    assert counted(report("killed", "failed", "setup")) == {"killed": [1, 0]}


def test_the_counts_take_their_places_and_nothing_else_changes():
    changed = reliability.with_counts(TEXT, {"any parameter": [1200, 1199]})
    assert changed == TEXT.replace("| any parameter | 1 | 0 |", "| any parameter | 1,200 | 1,199 |")
    assert reliability.with_counts(TEXT, {}) == TEXT
    assert reliability.with_counts(f"{TEXT}Counted never.\n", {}, "today.") == f"{TEXT}Counted today.\n"


def test_what_failed_and_was_mended_takes_the_place_of_what_failed():
    text = TEXT.replace("| any parameter | 1 | 0 |", "| any parameter | 1,300 | 1,280 |") + "Counted then.\n"
    changed = reliability.with_counts(text, {"any parameter": [24, 23]}, "now.", again=True)
    expected = text.replace("1,300 | 1,280", "1,304 | 1,303").replace(
        "then.", "then. What failed was mended, where it could be, and tried again now."
    )
    assert changed == expected


def test_a_kind_without_a_promise_is_refused():
    with pytest.raises(ValueError, match="one row for the kind 'bombs'"):
        reliability.with_counts(TEXT, {"bombs": [1, 1]})


def test_every_kind_that_a_test_names_has_its_row(repository):
    promised = (repository / "docs" / "reliability.md").read_text(encoding="utf-8")
    named = {kind for path in (repository / "tests").glob("test_*.py") for kind in re.findall(r'mark\.kind\("([^"]+)"\)', path.read_text())}
    assert "any parameter" in named
    reliability.with_counts(promised, dict.fromkeys(named, (0, 0)))
