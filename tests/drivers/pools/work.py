"""What each client of a pool does, in Python's words: the turns, and what must be true in each. The other languages do the same.

The kinds of turns follow each other. Each takes a connection of the pool, and gives it back:

    0  insert     a row, by a statement that is prepared; and a notification
    1  rollback   a row that is seen within the transaction, which is rolled back
    2  local      SET LOCAL, seen until COMMIT; a row
    3  settings   SET, seen in the statements after it
    4  cursor     rows in portions, with other statements between
    5  copy       a row by COPY
    6  error      1 / 0 gives 22012; the connection serves on: a row
    7  sum        exactly the rows of this client are there

What a client writes are rows of its own number, of an amount that nobody else writes."""

import json
import os

CLIENTS = int(os.environ.get("CLIENTS", "100"))
TURNS = int(os.environ.get("TURNS", "24"))
KEPT = (0, 2, 5, 6)

INSERT = "INSERT INTO ledger (client, turn, amount) VALUES ({}, {}, {})"
SUM = "SELECT count(*), coalesce(sum(amount), 0)::int FROM ledger WHERE client = {}"


def rows_before(turn):
    """So many rows has a client kept of the turns before this one."""
    return sum(1 for t in range(turn) if t % 8 in KEPT)


class Wrong(Exception):
    pass


def check(found, wanted, what):
    if found != wanted:
        raise Wrong(f"{what}: {found!r}, expected {wanted!r}")


class Tally:
    """What is printed in the end."""

    def __init__(self):
        self.turns, self.heard, self.wrong = 0, None, []

    def failed(self, client, turn, error):
        self.wrong.append(f"client {client}, turn {turn}: {type(error).__name__}: {error}")

    def show(self):
        print(json.dumps({"turns": self.turns, "heard": self.heard, "wrong": self.wrong[:10]}))
