"""psql, driven through its standard input: simple queries, and above all what it shows of the wire: tags, warnings, error positions."""

import hashlib
import json
import re
import subprocess
import threading

END = "-- end of step --"
TAG = re.compile(r"(?:INSERT 0|COPY|UPDATE|DELETE) (\d+)$|[A-Z ]+$")
ERROR = re.compile(r"ERROR:  ([0-9A-Z]{5}): (.*)")
LARGE_TEXT = "pgatomic" * (20 * 1024 * 1024 // 8)


class Psql:
    """A psql that stays: give it SQL, get the lines that it prints."""

    def __init__(self, *arguments):
        command = ["psql", "-X", "-A", "-t", "-v", "VERBOSITY=verbose", "-P", "null=NULL", *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                        encoding="utf-8")

    def run(self, sql):
        ending = "" if sql.startswith("\\") or sql.endswith("\\.") else ";"
        # Sent from a thread: psql may print before it has read all of it.
        writer = threading.Thread(target=self._write, args=(f"{sql}{ending}\n\\echo '{END}'\n\\warn '{END}'\n",))
        writer.start()
        lines, ends = [], 0
        while ends < 2:
            line = self.process.stdout.readline()
            if not line:
                raise SystemExit("psql ended by itself: " + "\n".join(lines))
            line = line.rstrip("\n")
            if line == END:
                ends += 1
            else:
                lines.append(line)
        writer.join()
        return lines

    def _write(self, text):
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def cell(text):
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    if re.fullmatch(r"\{[\d,]*\}", text):
        return json.loads("[" + text[1:-1] + "]")
    return {"t": True, "f": False, "NULL": None}.get(text, text)


def outcome(lines):
    """What the lines say: an error, the rows affected, rows, or nothing but a tag."""
    for line in lines:
        error = ERROR.match(line)
        if error:
            return {"error": {"sqlstate": error[1], "message": error[2]}}
    told = [line for line in lines if not line.startswith(("WARNING:", "LOCATION:", "LINE ", "DETAIL:", "HINT:"))]
    if not told:
        return {"got": []}
    tags = [TAG.match(line) for line in told]
    if all(tags):
        return {"got": int(tags[-1][1]) if tags[-1][1] else None}
    return {"got": [[cell(text) for text in line.split("|")] for line in told]}


class Steps:
    def __init__(self, scenario, *arguments):
        self.scenario = scenario
        self.psql = Psql(*arguments)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.psql.end()

    def report(self, step, found, lines=None):
        """With the lines themselves, where they are given, so that they are compared too."""
        line = {"scenario": self.scenario, "step": step, **found}
        if lines is not None:
            line["lines"] = lines
        print(json.dumps(line, ensure_ascii=False), flush=True)

    def step(self, step, sql):
        lines = self.psql.run(sql)
        self.report(step, outcome(lines), lines)

    def script(self, step, sql):
        """Several statements, whose tags are only compared."""
        lines = self.psql.run(sql)
        found = outcome(lines)
        self.report(step, found if "error" in found else {"got": None}, lines)

    def insert(self, number):
        self.step(f"insert {number}", f"INSERT INTO item (id) VALUES ({number})")

    def ids(self, step, where, *before):
        """Runs what comes before, then tells the ids that are there."""
        for sql in before:
            self.psql.run(sql)
        found = self.psql.run(f"SELECT id FROM item WHERE {where} ORDER BY id")
        self.report(step, {"got": [int(line) for line in found]})

    def left(self, hundred, step="left", *before):
        self.ids(step, f"id / 100 = {hundred}", *before)

    def summary(self, step, sql):
        found = [int(line.split("\t")[0]) for line in self.psql.run(sql)]
        self.report(step, {"got": [len(found), sum(found)]})


def insertion(number):
    return f"INSERT INTO item (id) VALUES ({number})"


def values():
    with Steps("values") as s:
        s.step("literals", "SELECT 42, 'Grüße', NULL, true")
        s.psql.run("\\set seven 7\n\\set e é")
        s.step("parameters", "SELECT :seven + 1, :'e' || '!', encode('\\x00ff10'::bytea, 'hex')")
        s.step("arrays and numerics", "SELECT ARRAY[1, 2, 3], 1.50::numeric")
        s.step("no rows", "SELECT 1 WHERE false")
        s.summary("many rows", "SELECT generate_series(1, 10000)")


def transaction():
    with Steps("transaction") as s:
        s.psql.run("BEGIN")
        s.insert(201)
        s.step("commit", "COMMIT")
        s.psql.run("BEGIN")
        s.insert(202)
        s.step("rollback", "ROLLBACK")
        s.left(2)


def nested():
    with Steps("nested") as s:
        s.left(3, "inner fails, outer commits", "BEGIN", insertion(301), "SAVEPOINT s", insertion(302), "ROLLBACK TO s", insertion(303),
               "RELEASE s", "COMMIT")
        s.left(3, "inner commits, outer fails", "BEGIN", insertion(304), "SAVEPOINT s", insertion(305), "RELEASE s", "ROLLBACK")
        s.left(3, "the third of five fails", "BEGIN", insertion(306), "SAVEPOINT a", insertion(307), "SAVEPOINT b", insertion(308),
               "SAVEPOINT c", insertion(309), "SAVEPOINT d", insertion(310), "RELEASE c", "ROLLBACK TO b", "COMMIT")
        for sql in ("BEGIN", insertion(311), "SAVEPOINT s"):
            s.psql.run(sql)
        s.step("a duplicate in the inner block", insertion(311))
        s.left(3, "left", "ROLLBACK TO s", insertion(312), "COMMIT")


def errors():
    with Steps("errors") as s:
        s.psql.run("BEGIN")
        s.step("division by zero", "SELECT 1 / 0")
        s.step("after it", "SELECT 1")
        s.step("rollback", "ROLLBACK")
        s.psql.run("BEGIN")
        s.insert(401)
        s.psql.run("SAVEPOINT before")
        s.step("duplicate", insertion(401))
        s.step("rollback to savepoint", "ROLLBACK TO before")
        s.insert(402)
        s.psql.run("SAVEPOINT before")
        s.step("syntax", "SELECT 1 FRM item")
        s.step("rollback to savepoint again", "ROLLBACK TO before")
        s.step("no such table", "SELECT * FROM missing")
        s.step("rollback to savepoint at last", "ROLLBACK TO before")
        s.step("commit", "COMMIT")
        s.psql.run("BEGIN")
        s.insert(403)
        s.step("division by zero again", "SELECT 1 / 0")
        s.step("commit of a failed transaction", "COMMIT")
        s.left(4)


def bare_error():
    with Steps("bare_error") as s:
        s.insert(501)
        s.step("division by zero", "SELECT 1 / 0")
        s.step("next", "SELECT 1")
        s.step("rollback", "ROLLBACK")
        s.insert(502)
        s.left(5)


def deferred():
    with Steps("deferred") as s:
        s.psql.run("BEGIN")
        s.step("insert 601", "INSERT INTO item (id, owner) VALUES (601, 99)")
        s.step("commit", "COMMIT")


def copy():
    with Steps("copy") as s:
        lines = "".join(f"{i}\trow {i}\n" for i in range(1000))
        s.step("in", f"COPY bulk (id, body) FROM STDIN;\n{lines}\\.")
        s.summary("out", "COPY bulk (id, body) TO STDOUT")
        s.psql.run("BEGIN")
        s.step("bad data", "COPY bulk (id, body) FROM STDIN;\n5000\tgood\nnot a number\tbad\n\\.")
        s.step("rollback", "ROLLBACK")
        s.step("left", "SELECT count(*) FROM bulk")


def large():
    with Steps("large") as s:
        [text] = s.psql.run(f"SELECT '{LARGE_TEXT}'")
        s.report("there and back", {"got": [len(text), hashlib.md5(text.encode()).hexdigest()]})
        s.psql.run(f"INSERT INTO bulk (id, body) VALUES (800000, '{LARGE_TEXT}')")
        s.step("stored", "SELECT length(body), md5(body) FROM bulk WHERE id = 800000")


def cancel():
    """An interrupt cancels what runs, and ends a psql that reads no terminal: its transaction with it."""
    with Steps("cancel") as watch:
        sleeper = subprocess.Popen(["psql", "-X", "-v", "VERBOSITY=verbose", "-c", "BEGIN", "-c", "SELECT pg_sleep(60)"],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while not watch.psql.run("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"):
            watch.psql.run("SELECT pg_stat_clear_snapshot()")
        sleeper.send_signal(2)
        lines = [line for line in sleeper.communicate()[1].splitlines() if line.startswith("ERROR")]
        watch.report("sleep", outcome(lines), lines)


def cursor():
    """psql's own FETCH_COUNT: it declares a cursor, in a transaction where there is none, and fetches."""
    with Steps("cursor") as s:
        s.psql.run("\\set FETCH_COUNT 100")
        found = [int(line) for line in s.psql.run("SELECT generate_series(1, 1000)")]
        s.report("portions", {"got": [len(found) // 100, len(found), sum(found)]})


def listen():
    """psql tells of notifications after a statement."""
    heard = []

    def hear(lines):
        told = 'Asynchronous notification "(.*)" with payload "(.*)" received from server process with PID .*\\.'
        heard.extend([match[1], match[2]] for line in lines if (match := re.fullmatch(told, line)))
        return heard

    with Steps("listen") as s:
        s.step("listen", "LISTEN news")
        speaker = Psql()
        speaker.run("NOTIFY news, 'hello'")
        s.report("heard at once", {"got": list(hear(s.psql.run("SHOW timezone")))})
        speaker.end()
        while not heard:
            hear(s.psql.run("SHOW timezone"))
        s.report("heard after the end", {"got": heard})
        s.step("unlisten", "UNLISTEN news")
        s.report("heard at last", {"got": hear(s.psql.run("SHOW timezone"))})


def tasks():
    def void(step, sql):
        """pg_notify gives a row with an empty text: an empty line."""
        lines = s.psql.run(sql)
        found = outcome(lines)
        s.report(step, found if "error" in found else {"got": [[line] for line in lines]}, lines)

    with Steps("tasks") as s:
        s.step("NOTIFY", "NOTIFY tasks, 'notify'")
        void("pg_notify", "SELECT pg_notify('tasks', 'function')")
        s.psql.run("BEGIN")
        void("committed", "SELECT pg_notify('tasks', 'committed')")
        s.psql.run("COMMIT")
        s.psql.run("BEGIN")
        void("rolled back", "SELECT pg_notify('tasks', $$rolled back$$)")
        s.psql.run("ROLLBACK")
        s.psql.run("BEGIN")
        s.psql.run("SAVEPOINT s")
        void("undone by a savepoint", "SELECT pg_notify('tasks', E'und\\x6fne')")
        s.psql.run("ROLLBACK TO s")
        void("kept by it", "SELECT pg_notify('tasks', U&'k\\0065pt')")
        s.psql.run("COMMIT")
        s.psql.run("BEGIN")
        void("bad channel", "SELECT pg_notify('', 'x')")
        s.step("rollback", "ROLLBACK")
        s.step("NOTIFY without payload", "NOTIFY tasks")


def prepared():
    """By SQL: PREPARE and EXECUTE."""
    with Steps("prepared") as s:
        s.psql.run("PREPARE identity AS SELECT $1::int")
        found = [int(s.psql.run(f"EXECUTE identity({i})")[0]) for i in range(1, 101)]
        s.report("often", {"got": [len(found), sum(found)]})
        s.psql.run("BEGIN")
        s.psql.run("PREPARE division AS SELECT 100 / $1::int")
        s.psql.run("EXECUTE division(10)")
        s.step("fails", "EXECUTE division(0)")
        s.step("rollback", "ROLLBACK")
        s.step("again", "EXECUTE division(20)")


def marks():
    with Steps("marks") as s:
        s.step("request", "SET pgatomic.request = '/shop/checkout'")
        s.insert(1501)
        s.insert(1502)
        s.step("show", "SHOW pgatomic.request")
        s.step("outcome commit", "SET pgatomic.outcome = 'commit'")
        s.step("request to roll back", "SET SESSION pgatomic.request TO '/shop/rollback'")
        s.insert(1503)
        s.step("outcome rollback", "SET pgatomic.outcome TO rollback")
        s.step("request by set_config", "SELECT set_config('pgatomic.request', '/shop/basket', false)")
        s.insert(1504)
        s.step("outcome by set_config", "SELECT set_config('pgatomic.outcome', 'commit', false)")
        s.step("request that fails", "SET pgatomic.request = $$/shop/fails$$")
        s.insert(1505)
        s.step("division by zero", "SELECT 1 / 0")
        s.insert(1506)
        s.step("outcome of the failed", "SET pgatomic.outcome = 'commit'")
        s.step("request with blocks", "SET pgatomic.request = E'/shop/blocks'")
        s.ids("blocks", "id BETWEEN 1507 AND 1509", "BEGIN", insertion(1507), "SAVEPOINT s", insertion(1508), "ROLLBACK TO s",
              insertion(1509), "COMMIT")
        s.step("outcome of the blocks", "SET pgatomic.outcome = 'commit'")
        s.step("request with a deferred failure", "SET pgatomic.request = '/shop/deferred'")
        s.step("insert 1510", "INSERT INTO item (id, owner) VALUES (1510, 99)")
        s.step("outcome of the deferred failure", "SET pgatomic.outcome = 'commit'")
        s.step("request without outcome", "SET pgatomic.request = '/shop/forgotten'")
        s.insert(1511)
        s.step("next request", "SET pgatomic.request = '/shop/next'")
        s.insert(1512)
        s.step("outcome of the next", "SET pgatomic.outcome = 'commit'")
        s.step("last request", "SET pgatomic.request = '/shop/last'")
        s.insert(1513)


def forgetful():
    with Steps("forgetful", "application_name=forgetful") as s:
        s.insert(1601)


def strings():
    """Statements joined by \\; leave in one Query."""
    with Steps("strings") as s:
        s.script("good", f"{insertion(1701)} \\; {insertion(1702)}")
        s.step("bad", f"{insertion(1703)} \\; SELECT 1 / 0 \\; {insertion(1704)}")
        s.step("next", "SELECT 1")
        s.step("rollback", "ROLLBACK")
        s.script("transactions inside", f"BEGIN \\; {insertion(1705)} \\; COMMIT \\; BEGIN \\; {insertion(1706)} \\; ROLLBACK")
        s.left(17)


for scenario in (values, transaction, nested, errors, bare_error, deferred, copy, large, cancel, cursor, listen, tasks, prepared, marks, forgetful,
                 strings):
    scenario()
