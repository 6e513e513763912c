"""Markdown: a table for each thing that was measured, and one for what was wanted of it."""

import collections

# One line of the last table: the figure of pgatomic, what it is held against, and how large their ratio may be (None: as it comes).
Finding = collections.namedtuple("Finding", "what ours theirs against at_most")


def table(title, first, columns, rows):
    """`rows` are (name, [text a column])."""
    print(f"\n**{title}**\n\n| {first} | {' | '.join(columns)} |")
    print("|---" + "|--:" * len(columns) + "|")
    for name, texts in rows:
        print(f"| {name} | {' | '.join(texts)} |")


def number(value):
    """With as many digits as say something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def beside(value, ratio, digits):
    """A figure and, behind it, its ratio to the reference."""
    if value is None:
        return "-"
    text = f"{value:,.{digits}f}"
    return text if ratio is None else f"{text} ({ratio:.2f})"


def findings_table(findings):
    def row(finding):
        ratio = finding.ours / finding.theirs
        wanted = "" if finding.at_most is None else f"≤ {finding.at_most:.2f}"
        met = "" if finding.at_most is None else "yes" if round(ratio, 2) <= finding.at_most else "no"
        return finding.what, [number(finding.ours), f"{number(finding.theirs)} ({finding.against})", f"{ratio:.2f}", wanted, met]

    table("Summary", "figure", ("pgatomic", "beside", "ratio", "wanted", "met"), map(row, findings))
