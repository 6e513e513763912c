"""What the programs do, and what must come of it.

Each program plays these scenarios through its driver's own API, each on a fresh connection, and prints a JSON line per step. This table
says what the step gives on plain PostgreSQL, and, where the rules of an atomic route make a difference, what it gives there: `atomic` with
`on_error = abort`, `lenient` with `on_error = rollback_statement`. A step's second value is a result, or an SQLSTATE written "!22012", or ANY
where drivers show the same thing in too many ways; whatever it is, the runner also demands that a program prints the same, to
the byte, directly and through an autocommit route.

`kept` lists the ids that are left in table item when the program has ended, `events` what became of its notifications, `requests` how its
labelled requests ended, over an atomic route.
"""

import hashlib


class Any:
    def __repr__(self):
        return "anything"


ANY = Any()


SAME = object()


class Step:
    """A step and its result: `plain` on PostgreSQL and in an autocommit route, else by route. In the route `atomic` ReadyForQuery
    may also carry another `status`. What is `late` may come a moment later in transaction pooling."""

    def __init__(self, name, plain, atomic=SAME, lenient=SAME, status=SAME, late=False):
        self.name = name
        self.plain = plain
        self.late = late
        self.by_route = {"atomic": atomic, "lenient": lenient}
        self.status_by_route = {"atomic": status, "lenient": SAME}


class Scenario:
    """`why` names the rule that explains each difference of the atomic routes."""

    def __init__(self, why, steps, kept=(), kept_atomic=None, kept_lenient=None, events=(), requests=(), commit_fails=False):
        self.why = why
        self.steps = steps
        self.kept = list(kept)
        self.kept_by_route = {"atomic": self.kept if kept_atomic is None else list(kept_atomic),
                              "lenient": self.kept if kept_lenient is None else list(kept_lenient)}
        self.events = events
        self.requests = list(requests)
        self.commit_fails = commit_fails


def crowd_fates():
    """Of 200 requests, each fourth commits, rolls back, fails, is left without an outcome."""
    for number in range(2000, 2200):
        kind = number % 4
        fate = {"autocommit": "released", "atomic": ("released", "discarded: outcome", "discarded: error", "discarded: no_outcome")[kind],
                "lenient": ("released", "discarded: outcome", "released", "discarded: no_outcome")[kind]}
        yield "crowd", str(number), fate


LARGE = 20 * 1024 * 1024
LARGE_MD5 = hashlib.md5(b"pgatomic" * (LARGE // 8)).hexdigest()

SCENARIOS = {
    "values": Scenario("results, types and parameters are nobody's business but the server's", [
        Step("literals", [[42, "Grüße", None, True]]),
        Step("parameters", [[8, "é!", "00ff10"]]),
        Step("arrays and numerics", [[[1, 2, 3], "1.50"]]),
        Step("no rows", []),
        Step("many rows", [10000, 50005000]),
    ]),
    "transaction": Scenario("R7: a client transaction in a request is a savepoint, and looks like a transaction", [
        Step("insert 201", 1),
        Step("commit", None),
        Step("insert 202", 1),
        Step("rollback", None),
        Step("left", [201]),
    ], kept=[201]),
    "nested": Scenario("R7, R8: blocks of the driver's own API keep and lose exactly what they would", [
        Step("inner fails, outer commits", [301, 303]),
        Step("inner commits, outer fails", [301, 303]),
        Step("the third of five fails", [301, 303, 306, 307]),
        Step("a duplicate in the inner block", "!23505"),
        Step("left", [301, 303, 306, 307, 311, 312]),
    ], kept=[301, 303, 306, 307, 311, 312]),
    "errors": Scenario("R6, R9: inside a client transaction errors are PostgreSQL's", [
        Step("division by zero", "!22012"),
        Step("after it", "!25P02"),
        Step("rollback", None),
        Step("insert 401", 1),
        Step("duplicate", "!23505"),
        Step("rollback to savepoint", None),
        Step("insert 402", 1),
        Step("syntax", "!42601"),
        Step("rollback to savepoint again", None),
        Step("no such table", "!42P01"),
        Step("rollback to savepoint at last", None),
        Step("commit", None),
        Step("insert 403", 1),
        Step("division by zero again", "!22012"),
        Step("commit of a failed transaction", ANY),
        Step("left", [401, 402]),
    ], kept=[401, 402]),
    "bare_error": Scenario("R9: a statement that fails outside a client transaction fails its request, until the client rolls back (R5)", [
        Step("insert 501", 1),
        Step("division by zero", "!22012", status="E"),
        Step("next", [[1]], atomic="!25P02", status="E"),
        Step("rollback", None, atomic=None, lenient=None),  # its WARNING is not always due, and pgatomic's own names no source line
        Step("insert 502", 1),
        Step("left", [501, 502], atomic=[502]),
    ], kept=[501, 502], kept_atomic=[502]),
    "deferred": Scenario("R7: the COMMIT of a client transaction is a RELEASE: deferred constraints fail where the request ends", [
        Step("insert 601", 1),
        Step("commit", "!23503", atomic=None, lenient=None),
    ], commit_fails=True),
    "copy": Scenario("COPY streams through, and fails like PostgreSQL's", [
        Step("in", 1000),
        Step("out", [1000, 499500]),
        Step("bad data", "!22P02"),
        Step("rollback", None),
        Step("left", [[1000]]),
    ]),
    "large": Scenario("large messages stream through whole", [
        Step("there and back", [LARGE, LARGE_MD5]),
        Step("stored", [[LARGE, LARGE_MD5]]),
    ]),
    "cancel": Scenario("P7: a cancel reaches the statement that it was meant for", [
        Step("sleep", "!57014"),
        Step("rollback", None),
        Step("usable", [[1]]),
    ]),
    "cursor": Scenario("rows fetched in portions", [
        Step("portions", [10, 1000, 500500]),
    ]),
    "listen": Scenario("R16, E7: LISTEN alone opens no request; a forwarded NOTIFY leaves when its request commits", [
        Step("listen", None),
        Step("heard at once", [["news", "hello"]], atomic=[], lenient=[], late=True),
        Step("heard after the end", [["news", "hello"]]),
        Step("unlisten", None),
        Step("heard at last", [["news", "hello"]]),
    ], events=[("news", "hello", "released")]),
    "tasks": Scenario("E1 to E4, E7: with forward = off pgatomic answers NOTIFY itself, and nobody can tell", [
        Step("NOTIFY", None),
        Step("pg_notify", [[""]]),
        Step("committed", [[""]]),
        Step("rolled back", [[""]]),
        Step("undone by a savepoint", [[""]]),
        Step("kept by it", [[""]]),
        Step("bad channel", "!22023"),
        Step("rollback", None),
        Step("NOTIFY without payload", None),
    ], events=[("tasks", "notify", "released"), ("tasks", "function", "released"), ("tasks", "committed", "released"),
               ("tasks", "rolled back", "discarded: rollback"), ("tasks", "undone", "discarded: savepoint"),
               ("tasks", "kept", "released"), ("tasks", "", "released")]),
    "pool": Scenario("R2, R4, R5: marked requests on connections of the driver's own pool", [
        Step("first use", 1),
        Step("left open", 1),
        Step("next use", [1201]),
        Step("marked", 1),
        Step("marked, no outcome", 1),
        Step("next mark", 1),
    ], kept=[1201, 1203, 1204, 1205], kept_atomic=[1201, 1203, 1205], kept_lenient=[1201, 1203, 1205],
       requests=[("/pool/first", "committed"), ("/pool/open", "no_outcome"), ("/pool/next", "committed"), ("/pool/marked", "committed"),
                 ("/pool/forgotten", "no_outcome"), ("/pool/last", "committed")]),
    "prepared": Scenario("a statement prepared once runs often, in and out of transactions that fail", [
        Step("often", [100, 5050]),
        Step("fails", "!22012"),
        Step("rollback", None),
        Step("again", [[5]]),
    ]),
    "pipeline": Scenario("R14: a pipeline up to its Sync is one implicit transaction", [
        Step("good", [1, 1]),
        Step("bad", "!22012", status="E"),
        Step("next", [[1]], atomic="!25P02", status="E"),
        Step("rollback", None, atomic=None, lenient=None),  # its WARNING is not always due, and pgatomic's own names no source line
        Step("insert 1405", 1),
        Step("left", [1401, 1402, 1405], atomic=[1405]),
    ], kept=[1401, 1402, 1405], kept_atomic=[1405]),
    "burst": Scenario("R9: statements sent without waiting, each with its own Sync, are transactions of their own, or of the request", [
        Step("good", [1, 1]),
        Step("bad", [1, "22012", 1], atomic=[1, "22012", "25P02"], status="E"),
        Step("next", [[1]], atomic="!25P02", status="E"),
        Step("rollback", None, atomic=None, lenient=None),  # its WARNING is not always due, and pgatomic's own names no source line
        Step("insert 1905", 1),
        Step("left", [1901, 1902, 1903, 1904, 1905], atomic=[1905]),
    ], kept=[1901, 1902, 1903, 1904, 1905], kept_atomic=[1905]),
    "marks": Scenario("2.3, R2 to R4: a marked request is kept or lost as a whole", [
        Step("request", None),
        Step("insert 1501", 1),
        Step("insert 1502", 1),
        Step("show", [["/shop/checkout"]]),
        Step("outcome commit", None),
        Step("request to roll back", None),
        Step("insert 1503", 1),
        Step("outcome rollback", None),
        Step("request by set_config", [["/shop/basket"]]),
        Step("insert 1504", 1),
        Step("outcome by set_config", [["commit"]]),
        Step("request that fails", None),
        Step("insert 1505", 1),
        Step("division by zero", "!22012", status="E"),
        Step("insert 1506", 1, atomic="!25P02", status="E"),
        Step("outcome of the failed", None, atomic="!25P02"),
        Step("request with blocks", None),
        Step("blocks", [1507, 1509]),
        Step("outcome of the blocks", None),
        Step("request with a deferred failure", None),
        Step("insert 1510", "!23503", atomic=1, lenient=1),
        Step("outcome of the deferred failure", None, atomic="!23503", lenient="!23503"),
        Step("request without outcome", None),
        Step("insert 1511", 1),
        Step("next request", None),
        Step("insert 1512", 1),
        Step("outcome of the next", None),
        Step("last request", None),
        Step("insert 1513", 1),
    ], kept=[1501, 1502, 1503, 1504, 1505, 1506, 1507, 1509, 1511, 1512, 1513], kept_atomic=[1501, 1502, 1504, 1507, 1509, 1512],
       kept_lenient=[1501, 1502, 1504, 1505, 1506, 1507, 1509, 1512],
       requests=[("/shop/checkout", "committed"), ("/shop/rollback", "outcome"), ("/shop/basket", "committed"),
                 ("/shop/fails", {"atomic": "error", "lenient": "committed"}), ("/shop/blocks", "committed"), ("/shop/deferred", "error"),
                 ("/shop/forgotten", "no_outcome"), ("/shop/next", "committed"), ("/shop/last", "no_outcome")]),
    "crowd": Scenario("R2 to R4: requests of many clients at once keep apart", [
        Step("served", 200),
    ], kept=range(2000, 2200), kept_atomic=range(2000, 2200, 4), kept_lenient=range(2000, 2200, 2), events=list(crowd_fates())),
    "isolation": Scenario("R7: a request has one isolation level: the first block's, and no stricter one later; READ ONLY holds for its block", [
        Step("serializable", [["serializable"]]),
        Step("read only", "!25006"),
        Step("afterwards", [["read committed"]], atomic=[["serializable"]], lenient=[["serializable"]]),
        Step("too late", [["serializable"]], atomic="!25001", lenient="!25001"),
    ]),
    "large_object": Scenario("R1, P1: function calls of the protocol are statements as well", [
        Step("written and read", [3000000, hashlib.md5(b"pgatomic" * 375000).hexdigest()]),
        Step("no such object", "!42704"),
        Step("rollback", None),
        Step("usable", [[1]]),
    ]),
    "forgetful": Scenario("R5: an unmarked request ends as its route says", [
        Step("insert 1601", 1),
    ], kept=[1601], kept_atomic=[], kept_lenient=[]),
    "strings": Scenario("R13: a string of statements is one implicit transaction, whatever is rewritten in it", [
        Step("good", None),
        Step("bad", "!22012", status="E"),
        Step("next", [[1]], atomic="!25P02", status="E"),
        Step("rollback", None, atomic=None, lenient=None),  # its WARNING is not always due, and pgatomic's own names no source line
        Step("transactions inside", None),
        Step("left", [1701, 1702, 1705], atomic=[1705]),
    ], kept=[1701, 1702, 1705], kept_atomic=[1705]),
    "pgbench": Scenario("marked requests of several clients at once, each kept whole; transactions without marks as ever", [
        Step("TPC-B, simple", [100, 0]),
        Step("TPC-B, extended", [100, 0]),
        Step("TPC-B, prepared", [100, 0]),
        Step("TPC-B, balanced", ["300", "t"]),
        Step("marked, simple", [200, 0]),
        Step("marked, extended", [200, 0]),
        Step("marked, prepared", [200, 0]),
        Step("marked, balanced", ["600", "t"]),
    ], requests=[("/bench/transfer", "committed")] * 600),
}
