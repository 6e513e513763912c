"""What all Python programs print: a JSON line per step, and how rows and errors look in it."""

import hashlib
import json

LARGE_TEXT = "pgatomic" * (20 * 1024 * 1024 // 8)


def md5(text):
    return hashlib.md5(text.encode()).hexdigest()


def rows(found):
    return [list(row) for row in found]


def column(found):
    return [row[0] for row in found]


def portions(sizes_and_sums):
    """Of a result that was fetched in portions: how many, how many rows, what they add up to."""
    return [len(sizes_and_sums), sum(size for size, _ in sizes_and_sums), sum(total for _, total in sizes_and_sums)]


class Report:
    """`describe` turns one of the driver's errors into a dictionary with its sqlstate; `status` asks a connection for its state."""

    def __init__(self, error, describe, status):
        self.error, self.describe, self.status = error, describe, status
        self.name = None

    def scenario(self, name):
        self.name = name

    def line(self, step, outcome, connection):
        line = {"scenario": self.name, "step": step, **outcome}
        if connection is not None:
            line["status"] = self.status(connection)
        print(json.dumps(line, ensure_ascii=False), flush=True)

    def step(self, step, action, connection=None):
        try:
            outcome = {"got": action()}
        except self.error as e:
            outcome = {"error": self.describe(e)}
        self.line(step, outcome, connection)

    async def step_async(self, step, action, connection=None):
        try:
            outcome = {"got": await action()}
        except self.error as e:
            outcome = {"error": self.describe(e)}
        self.line(step, outcome, connection)
