#!/usr/bin/env python3
"""Cuts the SQL files of a PostgreSQL source archive into statements.

    cut_corpus.py ARCHIVE DIRECTORY

The files are scripts for psql: what psql takes for itself (meta-commands, variables, the data behind COPY FROM STDIN) is taken out,
so that what is left is what a server would be sent. Each file of the result holds the statements of one script, a NUL behind each,
with the comments and the white space that stood in front of it.

This is a scanner of its own, and a rough one: a statement that it cuts wrongly is one that PostgreSQL's parser will refuse, and so one
that is compared by its tokens only.
"""

import re
import sys
import tarfile
from pathlib import Path

SCRIPT = re.compile(r"[^/]+/((?:src|contrib)/.*sql/[^/]+\.sql)$")
QUOTED = re.compile(
    r"""
      (?P<comment>--[^\n]*|/\*)
    | (?P<string>(?<![\w$])[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*')
    | (?P<name>"(?:[^"]|"")*")
    | (?P<dollar>(?<![\w$])\$(?:[A-Za-z_\x80-\uffff][\w]*)?\$)
    | (?P<terminator>\\(?:g|gx|gset|gexec|gdesc|crosstabview|watch|bind|parse)\b[^\n]*)
    | (?P<meta>\\;|\\[^\n]*)
    | (?P<variable>(?<![:\w\]]):(?:'\w+'|"\w+"|[A-Za-z_]\w*(?!\s*[\]:])))
    | (?P<semicolon>;)
    | (?P<open>\()
    | (?P<close>\))
    """,
    re.VERBOSE | re.DOTALL,
)
COPY_IN = re.compile(r"\s*copy\b.*\bfrom\s+stdin\b", re.IGNORECASE | re.DOTALL)
ATOMIC = re.compile(r"\bbegin\s+atomic\b(?!.*\bend\s*$)", re.IGNORECASE | re.DOTALL)


def end_of_comment(text, at):
    """The end of the block comment that begins at `at`; comments nest."""
    depth = 0
    for found in re.compile(r"/\*|\*/").finditer(text, at):
        depth += 1 if found.group() == "/*" else -1
        if depth == 0:
            return found.end()
    return len(text)


def value_of(variable):
    """What to put for a variable of psql, in the manner in which it is quoted."""
    if variable[1] in "'\"":
        return variable[1:]
    return "x"


def statements(text):
    """The statements of a script, one by one, without what is psql's own."""
    piece, at, depth = "", 0, 0
    while at < len(text):
        found = QUOTED.search(text, at)
        if not found:
            piece += text[at:]
            break
        piece += text[at : found.start()]
        at, kind = found.end(), found.lastgroup
        if kind == "comment" and found.group() == "/*":
            at = end_of_comment(text, found.start())
            piece += text[found.start() : at]
        elif kind == "dollar":
            end = text.find(found.group(), at)
            at = len(text) if end < 0 else end + len(found.group())
            piece += text[found.start() : at]
        elif kind == "meta" and found.group() != "\\;":
            # \copy … from stdin has its data on the lines behind it
            if COPY_IN.match(found.group()[1:]):
                at = end_of_copy(text, at)
        elif kind == "variable":
            piece += value_of(found.group())
        elif kind in ("semicolon", "terminator", "meta"):
            if kind == "semicolon" and (depth > 0 or ATOMIC.search(piece)):
                piece += ";"
                continue
            yield piece + ";"
            if COPY_IN.match(re.sub(r"--[^\n]*", "", piece)):
                at = end_of_copy(text, at)
            piece, depth = "", 0
        else:
            piece += found.group()
            depth = max(0, depth + (kind == "open") - (kind == "close"))
    if piece.strip():
        yield piece


def end_of_copy(text, at):
    """Behind the data of a COPY FROM STDIN whose statement ends at `at`."""
    end = text.find("\n\\.", at)
    return len(text) if end < 0 else end + 3


def main(archive, directory):
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    count = 0
    with tarfile.open(archive) as tar:
        for member in tar:
            named = SCRIPT.match(member.name)
            if not named or not member.isfile():
                continue
            try:
                text = tar.extractfile(member).read().decode()
            except UnicodeDecodeError:
                continue  # written for a database in another encoding
            name = named.group(1).replace("/", ".")
            cut = [s.replace("\0", "") for s in statements(text)]
            (directory / name).write_text("".join(s + "\0" for s in cut))
            count += len(cut)
    print(f"{count} statements")


if __name__ == "__main__":
    main(*sys.argv[1:])
