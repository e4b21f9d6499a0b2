"""The counts in docs/reliability.md: how many cases of each kind of fault were tried, and how many survived."""


def count(counts, report):
    """Add a test's report to `counts`, a dict of kind to [tried, survived].

    A test with the mark `kind(name)` is one case. One that tries several says so: `record_property("cases", 60)`; where it fails,
    `record_property("survived", 59)` tells how many of them held.
    """
    properties = dict(report.user_properties)
    if "kind" not in properties or report.skipped or (report.when != "call" and not (report.when == "setup" and report.failed)):
        return
    cases = properties.get("cases", 1)
    tried_and_survived = counts.setdefault(properties["kind"], [0, 0])
    tried_and_survived[0] += cases
    tried_and_survived[1] += properties.get("survived", cases if report.passed else 0)


def with_counts(text, counts, counted="", again=False):
    """The text with these counts in its table, and with the line that says when and how they were counted.

    The rows of other kinds stay as they are. With `again` these are all the cases of their kinds that failed in the run counted there,
    tried again after a repair: they take the place of those.

    Raises:
        ValueError: a kind has no row.
    """
    lines = text.splitlines()
    for kind, (tried, survived) in counts.items():
        rows = [number for number, line in enumerate(lines) if line.startswith(f"| {kind} |")]
        if len(rows) != 1:
            raise ValueError(f"there must be one row for the kind {kind!r}, with what is promised; there are {len(rows)}")
        _, survived_then, promise = lines[rows[0]].split(" | ", 3)[1:]
        if again:
            tried, survived = (int(survived_then.replace(",", "")) + each for each in (tried, survived))
        lines[rows[0]] = f"| {kind} | {tried:,} | {survived:,} | {promise}"
    if counted:
        place = next(number for number, line in enumerate(lines) if line.startswith("Counted "))
        lines[place] = (
            f"{lines[place]} What failed was mended, where it could be, and tried again {counted}" if again else f"Counted {counted}"
        )
    return "\n".join(lines) + "\n"
