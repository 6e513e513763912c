"""The proxy against PostgreSQL itself: random conversations, held with both, must read the same.

What the rules change is left out of the vocabulary of a test, so the rest has to be equal to the letter: every message, its tag, its
row descriptions, its error fields and positions, the status byte. A conversation that differs is printed with its seed; CONVERSATIONS=1000
asks for more of them.
"""

import os
import random
import socket
import struct

from proxy import Proxy
from wire import TERMINATE, Client, Closed, Wire, message, query

FLUSH, SYNC = message(b"H"), message(b"S")
CONVERSATIONS = int(os.environ.get("CONVERSATIONS", "100"))

ORDINARY = [
    "SELECT 1",
    "SELECT id FROM t ORDER BY id",
    "SELECT count(*) FROM t /* a comment; with a semicolon */",
    "INSERT INTO t VALUES ({n})",
    "INSERT INTO t VALUES ({n}), ({n} + 1000)",
    "INSERT INTO t VALUES (1)",
    "DELETE FROM t WHERE id % 2 = 0",
    "UPDATE t SET id = id + 5000 WHERE id = {n}",
    "SELECT 'a;b', $$BEGIN;$$, \"id\" FROM t LIMIT 1",
    "SELECT nothing",
    "SELECT 1/0",
    "selectx",
    "",
    "SELECT 'ä€', x FROM t",
    "VALUES (1), (2)",
]
SESSION = ["SET extra.setting = 'v{n}'", "SHOW extra.setting", "RESET extra.setting", "SET application_name = 'n{n}'", "SHOW nothing",
           "PREPARE p{p} AS SELECT {n}", "DEALLOCATE p{p}", "EXECUTE p{p}"]
CONTROL = ["BEGIN", "COMMIT", "ROLLBACK", "START TRANSACTION", "END", "BEGIN; INSERT INTO t VALUES ({n}); COMMIT",
           "BEGIN; INSERT INTO t VALUES ({n}); ROLLBACK", "COMMIT AND CHAIN", "ROLLBACK AND CHAIN", "BEGIN READ ONLY",
           "BEGIN ISOLATION LEVEL READ COMMITTED", "ABORT"]
INSIDE = ["SAVEPOINT a", "ROLLBACK TO a", "RELEASE a", "SAVEPOINT b", "ROLLBACK TO SAVEPOINT b", "RELEASE SAVEPOINT b"]
EVENTS = ["NOTIFY onn, 'p{n}'", "NOTIFY off, 'p{n}'", "SELECT pg_notify('off', 'q{n}')", "SELECT pg_notify('onn', 'q{n}')", "NOTIFY off",
          "SELECT pg_notify('off', NULL)", "SELECT pg_notify(NULL, 'x')", "SELECT pg_notify('', 'x')", "LISTEN onn", "UNLISTEN onn"]
COPIES = ["COPY t FROM STDIN"]


def parse(name, text):
    return message(b"P", name + b"\0" + text.encode() + b"\0\0\0")


def bind(portal, name, values=()):
    body = portal + b"\0" + name + b"\0" + struct.pack("!hh", 0, len(values))
    for value in values:
        body += struct.pack("!i", len(value)) + value
    return message(b"B", body + struct.pack("!h", 0))


def describe(kind, name):
    return message(b"D", kind + name + b"\0")


def execute(portal, rows=0):
    return message(b"E", portal + b"\0" + struct.pack("!i", rows))


class Generator:
    """What a client says, unit by unit, with a rough idea of whether it is in a transaction."""

    def __init__(self, seed, vocabulary, inside, mixed, control=CONTROL):
        self.random = random.Random(seed)
        self.vocabulary = vocabulary
        self.inside = inside  # statements for transactions alone
        self.mixed = mixed  # transaction control may stand among other statements
        self.control = control
        self.number = 0

    def text(self, choices=None):
        self.number += 1
        return self.random.choice(choices or self.vocabulary).format(n=self.number, p=self.random.randrange(3))

    def string(self):
        if not self.mixed and self.random.random() < 0.4:
            return self.text(self.control)
        count = self.random.choice([1, 1, 1, 2, 3, 4])
        choices = self.vocabulary + (self.control + self.inside if self.mixed else [])
        text = "; ".join(self.text(choices) for _ in range(count))
        return text + self.random.choice(["", ";", " ; ", " -- end"])

    def extended_statement(self):
        text = self.text(self.vocabulary + (self.control if self.mixed else []))
        if ";" in text:
            text = "SELECT 7"
        name = self.random.choice([b"", b"", b"", b"s1", b"s2"])
        portal = self.random.choice([b"", b"", b"", b"c1"])
        data = message(b"C", b"S" + name + b"\0") if name else b""
        if self.random.random() < 0.15:
            data += parse(name, "SELECT pg_notify($1, $2)") + bind(portal, name, [b"off", b"bound"])
        else:
            data += parse(name, text) + bind(portal, name)
        if self.random.random() < 0.5:
            data += describe(b"P", portal)
        if self.random.random() < 0.2:
            data += describe(b"S", name)
        data += execute(portal, self.random.choice([0, 0, 0, 1, 2]))
        return data + (message(b"C", b"P" + portal + b"\0") if self.random.random() < 0.7 else b"")

    def unit(self):
        kind = self.random.random()
        if kind < 0.55:
            return query(self.string())
        if kind < 0.6:
            return query("COPY t FROM STDIN") + message(b"d", b"9%d\n" % self.random.randrange(1000)) + message(b"c")
        if kind < 0.63:
            return query("COPY t TO STDOUT")
        if not self.mixed and kind < 0.72:
            return parse(b"", self.text(["BEGIN", "COMMIT", "ROLLBACK"])) + bind(b"", b"") + execute(b"") + SYNC
        data = b"".join(self.extended_statement() for _ in range(self.random.choice([1, 1, 2, 3])))
        return data + (FLUSH if self.random.random() < 0.1 else b"") + SYNC

    def conversation(self):
        return [self.unit() for _ in range(self.random.randrange(1, 14))]


class Direct(Client):
    """A client of the server itself, over its unix socket."""

    def __init__(self, server):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(os.path.join(server.directory, f".s.PGSQL.{server.port}"))
        Wire.__init__(self, sock)


def strip_oids(body):
    """RowDescription's columns without the oid of their table, which differs from database to database."""
    count, at, columns = struct.unpack("!h", body[:2])[0], 2, []
    for _ in range(count):
        end = body.index(b"\0", at)
        columns.append((body[at:end], body[end + 5 : end + 19]))
        at = end + 19
    return tuple(columns)


def normal(kind, body):
    if kind == b"A":
        return kind, body[4:]
    if kind in b"EN":
        parts = (part for part in body.split(b"\0") if part)
        return kind, tuple(part for part in parts if part[:1] in b"VCMDHP")
    if kind == b"T":
        return kind, strip_oids(body)
    return kind, body


def readies(data):
    """How many ReadyForQuery a piece of conversation will bring: one for each Query and each Sync."""
    at, count = 0, 0
    while at < len(data):
        count += data[at : at + 1] in b"QS"
        at += 1 + struct.unpack("!i", data[at + 1 : at + 5])[0]
    return count


def hold(client, units, together, seed, between=lambda: None):
    """Says it all, unit by unit or in as few writes as possible, cut anywhere, and returns what came back."""
    heard = []
    last = SYNC + query("ROLLBACK") + query("SELECT id FROM t ORDER BY id")
    pieces = [b"".join(units) + last] if together else [*units, last]
    cut = random.Random(seed)
    for piece in pieces:
        between()
        expected = readies(piece)
        while piece:
            size = cut.choice([len(piece), cut.randrange(1, len(piece) + 1)])
            client.send(piece[:size])
            piece = piece[size:]
        for _ in range(expected):
            heard += client.read_until(b"Z")
    return [normal(*one) for one in heard]


def prepare(client):
    client.send(query("CREATE TEMP TABLE t (id int PRIMARY KEY); SET extra.setting = 'none'"))
    client.read_until(b"Z")
    return client


def compare(server, blocks, vocabulary, inside, mixed, seeds):
    for name in ("direct", "proxied"):
        server.sql(f"DROP DATABASE IF EXISTS {name}")
        server.sql(f"CREATE DATABASE {name}")
    with Proxy(server, blocks) as proxy:
        for seed in seeds:
            units = Generator(seed, vocabulary, inside, mixed).conversation()
            together = seed % 2 == 0
            said = []
            for connect, database in ((lambda: Direct(server), "direct"), (proxy.connect, "proxied")):
                with connect() as client:
                    prepare(client.log_in(database=database))
                    try:
                        said.append(hold(client, units, together, seed))
                    except (OSError, Closed) as error:
                        raise AssertionError(f"seed {seed}, {database}, together {together}: {error!r} {proxy.errors()[:2000]}\n  units   {units}") from error
                    client.send(TERMINATE)
            for at, (direct, proxied) in enumerate(zip(*said)):
                assert direct == proxied, (
                    f"seed {seed}, message {at}:\n  direct  {direct}\n  proxied {proxied}\n  before  {said[1][max(0, at - 6):at]}\n"
                    f"  units   {units}\n  together {together}")
            assert len(said[0]) == len(said[1]), (seed, said, units)


CHANNEL = '\nchannel "off" { forward = off  sink = {"log"} }\nsink "log" { type = log }\n'


def R11_autocommit_is_postgresql_as_it_is(server):
    compare(server, CHANNEL, ORDINARY + SESSION + EVENTS, INSIDE, True, range(1, CONVERSATIONS))


def R6_a_wrapper_that_undoes_single_statements_cannot_be_seen(server):
    blocks = 'route "all" { mode = atomic  end = commit  on_error = rollback_statement }\n'
    quiet = [text for text in EVENTS if "LISTEN" not in text and "onn" not in text]
    compare(server, blocks + CHANNEL, ORDINARY + SESSION + quiet, [], False, range(1000, 1000 + CONVERSATIONS))


def R11_a_sandbox_reads_like_postgresql(server):
    blocks = 'route "all" { mode = sandbox }\n'
    quiet = [text for text in EVENTS if "LISTEN" not in text and "onn" not in text]
    compare(server, blocks + CHANNEL, ORDINARY + SESSION + quiet, [], False, range(3000, 3000 + CONVERSATIONS))


# --- pools ----------------------------------------------------------------------------------------------------


class Neighbour:
    """Somebody else at the same two servers, who keeps one of them for a while, and leaves on each what could be mistaken for its client's."""

    def __init__(self, client):
        self.client, self.is_inside = client, False

    def move(self):
        self.is_inside = not self.is_inside
        if self.is_inside:
            self.client.ask("BEGIN; SET extra.setting = 'the neighbour''s'; SET application_name = 'neighbour'")
            self.client.ask("PREPARE p1 AS SELECT 'the neighbour''s'")
        else:
            self.client.ask("COMMIT")
            self.client.ask("DEALLOCATE ALL")


def compare_pooled(server, pool, blocks, vocabulary, inside, mixed, seeds, control=CONTROL):
    for name in ("direct", "proxied"):
        server.sql(f"DROP DATABASE IF EXISTS {name}")
        server.sql(f"CREATE DATABASE {name}")
    blocks += f"""
auth {{ method = trust }}
database "*" {{ upstream = "host={server.directory} port={server.port}"  pool = {pool}  pool_size = 2 }}
"""
    with Proxy(server, blocks, database=False) as proxy, proxy.log_in(database="proxied") as other:
        neighbour = Neighbour(other)
        for seed in seeds:
            units = Generator(seed, vocabulary, inside, mixed, control).conversation()
            together = seed % 4 == 0
            said = []
            for connect, database, between in ((lambda: Direct(server), "direct", lambda: None),
                                               (proxy.connect, "proxied", neighbour.move)):
                with connect() as client:
                    client.log_in(database=database)
                    client.ask("DROP TABLE IF EXISTS t; CREATE TABLE t (id int PRIMARY KEY); SET extra.setting = 'none'")
                    try:
                        said.append(hold(client, units, together, seed, between))
                    except (OSError, Closed) as error:
                        raise AssertionError(f"seed {seed}, {database}, together {together}: {error!r} {proxy.errors()[:2000]}\n  units   {units}") from error
                    client.send(TERMINATE)
            for at, (direct, proxied) in enumerate(zip(*said)):
                assert direct == proxied, (
                    f"seed {seed}, message {at}:\n  direct  {direct}\n  proxied {proxied}\n  before  {said[1][max(0, at - 6):at]}\n"
                    f"  units   {units}\n  together {together}")
            assert len(said[0]) == len(said[1]), (seed, said, units)


def R11_autocommit_over_pools_is_postgresql_as_it_is(server):
    quiet = [text for text in EVENTS if "LISTEN" not in text]
    for pool in ("transaction", "session"):
        compare_pooled(server, pool, CHANNEL, ORDINARY + SESSION + quiet, INSIDE, True, range(1, CONVERSATIONS))


# A second BEGIN warns, and makes the transaction that is open read-only all the same; a wrapper's stays as it is.
WRITABLE = [text for text in CONTROL if "READ ONLY" not in text]


def R11_a_sandbox_over_a_pool_reads_like_postgresql(server):
    quiet = [text for text in EVENTS if "LISTEN" not in text and "onn" not in text]
    compare_pooled(server, "transaction", 'route "all" { mode = sandbox }\n' + CHANNEL, ORDINARY + SESSION + quiet, [], False,
                   range(3000, 3000 + CONVERSATIONS), WRITABLE)
