#include "tests/unit/statements.h"

/* --- kinds ------------------------------------------------------------------------------------ */

Test(statement, R7_transaction_control_is_known_in_every_form)
{
    static const struct kind_row rows[] = {
        { "BEGIN", STATEMENT_BEGIN },
        { "begin work", STATEMENT_BEGIN },
        { "Begin Transaction", STATEMENT_BEGIN },
        { "/* x */ BEGIN -- y", STATEMENT_BEGIN },
        { "BEGIN/**/WORK", STATEMENT_BEGIN },
        { "BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE", STATEMENT_BEGIN },
        { "BEGIN READ WRITE NOT DEFERRABLE", STATEMENT_BEGIN },
        { "START TRANSACTION", STATEMENT_BEGIN },
        { "START TRANSACTION READ ONLY", STATEMENT_BEGIN },
        { "COMMIT", STATEMENT_COMMIT },
        { "COMMIT WORK", STATEMENT_COMMIT },
        { "COMMIT TRANSACTION AND NO CHAIN", STATEMENT_COMMIT },
        { "END", STATEMENT_COMMIT },
        { "END TRANSACTION AND CHAIN", STATEMENT_COMMIT },
        { "ROLLBACK", STATEMENT_ROLLBACK },
        { "ROLLBACK WORK AND CHAIN", STATEMENT_ROLLBACK },
        { "ABORT", STATEMENT_ROLLBACK },
        { "ABORT TRANSACTION", STATEMENT_ROLLBACK },
        { "SAVEPOINT a", STATEMENT_SAVEPOINT },
        { "SAVEPOINT \"A b\"", STATEMENT_SAVEPOINT },
        { "SAVEPOINT U&\"a\" UESCAPE '!'", STATEMENT_SAVEPOINT },
        { "SAVEPOINT savepoint", STATEMENT_SAVEPOINT },
        { "RELEASE a", STATEMENT_RELEASE },
        { "RELEASE SAVEPOINT a", STATEMENT_RELEASE },
        { "RELEASE SAVEPOINT", STATEMENT_RELEASE },
        { "ROLLBACK TO a", STATEMENT_ROLLBACK_TO },
        { "ROLLBACK WORK TO SAVEPOINT a", STATEMENT_ROLLBACK_TO },
        { "PREPARE TRANSACTION 'x'", STATEMENT_PREPARE_TRANSACTION },
        { "COMMIT PREPARED 'x'", STATEMENT_COMMIT_PREPARED },
        { "ROLLBACK PREPARED $$x$$", STATEMENT_ROLLBACK_PREPARED },
        { "SET TRANSACTION READ ONLY", STATEMENT_SET_TRANSACTION },
        { "SET LOCAL TRANSACTION ISOLATION LEVEL READ COMMITTED", STATEMENT_SET_TRANSACTION },
        { "SET SESSION TRANSACTION NOT DEFERRABLE", STATEMENT_SET_TRANSACTION },
    };
    EXPECT_KINDS(rows);
}

Test(statement, what_is_not_well_formed_is_left_to_the_server)
{
    /* clang-format off */
    static const char *const rows[] = {
        "BEGIN foo", "BEGIN WORK TRANSACTION", "BEGIN READ ONLY,", "BEGIN , READ ONLY", "BEGIN READ",
        "BEGIN ISOLATION READ COMMITTED", "BEGIN ISOLATION LEVEL REPEATABLE", "BEGIN 'x", "BEGIN /* x", "\"BEGIN\"",
        "BEGINN", "BEGIN_", "START", "START WORK", "STARTS TRANSACTION", "COMMIT 1", "COMMIT AND", "COMMIT CHAIN",
        "COMMIT AND NO", "COMMIT PREPARED", "COMMIT PREPARED x", "COMMIT PREPARED B'1'", "COMMIT PREPARED 'a' 'b'",
        "END WORK x", "ROLLBACK TO", "ROLLBACK TO SAVEPOINT a b", "ROLLBACK TO 'a'", "ABORT TO a",
        "ABORT PREPARED 'x'", "SAVEPOINT", "SAVEPOINT select", "SAVEPOINT 'a'", "SAVEPOINT a.b", "SAVEPOINTS a",
        "SAVEPOIN a", "SAVEPOINT \"a", "RELEASE", "RELEASE a b", "PREPARE TRANSACTION", "PREPARE TRANSACTION 'x' y",
        "ROLLBACKS", "SET TRANSACTION", "SET TRANSACTION READ", "SET TRANSACTION SNAPSHOT 'x'",
        "SET LOCAL TRANSACTION SNAPSHOT 'x'", "SET LOCAL x = 1", "SET LOCAL TIME ZONE 'UTC'", "SET LOCAL ROLE x",
        "SET CONSTRAINTS ALL IMMEDIATE", "SET x", "SET x =", "SET x TO 1 2", "SET x = select", "SET x = DEFAULT, 1",
        "SET x = 1,", "SET 'x' = 1", "SET x.y.z", "SET x == 1", "SET SESSION", "SET TIME ZONE",
        "SET SESSION CHARACTERISTICS AS TRANSACTION", "SET LOCAL SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SHOW", "SHOW a b", "SHOW ALL x", "RESET", "RESET ALL x", "DISCARD", "DISCARD all of it", "DISCARD SEQUENCE",
        "LISTEN", "LISTEN 'a'", "LISTEN *", "LISTEN a.b", "UNLISTEN", "UNLISTEN * a", "UNLISTENS a", "NOTIFY",
        "NOTIFY a b", "NOTIFY a,", "NOTIFY a, b", "NOTIFY a, $1", "NOTIFY a, 'b' || 'c'", "NOTIFY a, N'b'",
        "NOTIFY a, B'1'", "NOTIFY a, 'b", "NOTIFY a.b", "NOTIFY 'a'", "NOTIFY from", "PREPARE", "PREPARE a",
        "PREPARE a AS", "PREPARE a (int AS SELECT 1", "PREPARE a AS COMMIT", "EXECUTE", "EXECUTE a b", "EXECUTE a (1",
        "EXECUTE a (1) b", "DEALLOCATE", "DEALLOCATE PREPARE a b", "DEALLOCATE ALL a", "DEALLOCATION a", "DECLARE a",
        "DECLARE a CURSOR", "DECLARE a CURSOR FOR UPDATE t", "DECLARE a CURSOR WITH HOLD", "CLOSE", "CLOSE a b",
        "CLOSE ALL a",
    };
    /* clang-format on */
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_expect_eq(kind_of(rows[i]), STATEMENT_OTHER, "%s", rows[i]);
}

Test(statement, everything_else_is_other)
{
    /* clang-format off */
    static const char *const rows[] = {
        "SELECT 1", "SELECT 'COMMIT'", "(SELECT 1)", "WITH x AS (SELECT 1) SELECT 2", "VALUES (1)", "TABLE t",
        "INSERT INTO t VALUES (1)", "UPDATE t SET a = 1", "DELETE FROM t", "EXPLAIN EXECUTE a", "CREATE TABLE t ()",
        "CREATE RULE r AS ON INSERT TO t DO (NOTIFY x; NOTIFY y)", "DO $$ BEGIN COMMIT; END $$", "CALL p()",
        "COPY t FROM STDIN", "LOCK t", "VACUUM", "CHECKPOINT", "ALTER SYSTEM SET x = 1", "FETCH ALL FROM c", "MOVE c",
        "LOAD 'x'", "1", "é", "'x'", "$1", "\"x", "SELECT \"x", "s", "S", "select", "SELECTS 1",
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END", "CREATE TABLE t AS EXECUTE p",
        "IMPORT FOREIGN SCHEMA a FROM SERVER b INTO c", "SECURITY LABEL ON TABLE a IS NULL",
    };
    /* clang-format on */
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_expect_eq(kind_of(rows[i]), STATEMENT_OTHER, "%s", rows[i]);
}

Test(statement, R1_session_commands_are_known)
{
    static const struct kind_row rows[] = {
        { "SET x = 1", STATEMENT_SET },
        { "SET x TO -1.5e3", STATEMENT_SET },
        { "SET x = +1", STATEMENT_SET },
        { "SET x=-1", STATEMENT_SET },
        { "SET SESSION x = on", STATEMENT_SET },
        { "SET search_path = a, \"B\", 'c', d", STATEMENT_SET },
        { "SET a.b.c = TRUE", STATEMENT_SET },
        { "SET x TO DEFAULT", STATEMENT_SET },
        { "SET x FROM CURRENT", STATEMENT_SET },
        { "SET TIME ZONE 'UTC'", STATEMENT_SET },
        { "SET TIME ZONE INTERVAL '-08:00' HOUR TO MINUTE", STATEMENT_SET },
        { "SET SESSION TIME ZONE LOCAL", STATEMENT_SET },
        { "SET NAMES", STATEMENT_SET },
        { "SET NAMES 'UTF8'", STATEMENT_SET },
        { "SET ROLE x", STATEMENT_SET },
        { "SET SCHEMA 'x'", STATEMENT_SET },
        { "SET XML OPTION DOCUMENT", STATEMENT_SET },
        { "SET SESSION AUTHORIZATION x", STATEMENT_SET },
        { "SET SESSION SESSION AUTHORIZATION DEFAULT", STATEMENT_SET },
        { "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", STATEMENT_SET },
        { "SET SESSION = 1", STATEMENT_SET },
        { "SET LOCAL TO 1", STATEMENT_SET },
        { "SET TRANSACTION.x = 1", STATEMENT_SET },
        { "SET ROLE TO x", STATEMENT_SET },
        { "RESET x", STATEMENT_RESET },
        { "RESET a.b", STATEMENT_RESET },
        { "RESET TIME ZONE", STATEMENT_RESET },
        { "RESET TRANSACTION ISOLATION LEVEL", STATEMENT_RESET },
        { "RESET SESSION AUTHORIZATION", STATEMENT_RESET },
        { "RESET SESSION", STATEMENT_RESET },
        { "RESET ALL", STATEMENT_RESET_ALL },
        { "SHOW x", STATEMENT_SHOW },
        { "SHOW ALL", STATEMENT_SHOW },
        { "SHOW TIME ZONE", STATEMENT_SHOW },
        { "SHOW TRANSACTION ISOLATION LEVEL", STATEMENT_SHOW },
        { "DISCARD PLANS", STATEMENT_DISCARD },
        { "DISCARD SEQUENCES", STATEMENT_DISCARD },
        { "DISCARD TEMPORARY", STATEMENT_DISCARD },
        { "DISCARD TEMP", STATEMENT_DISCARD },
        { "DISCARD ALL", STATEMENT_DISCARD_ALL },
        { "LISTEN a", STATEMENT_LISTEN },
        { "UNLISTEN a", STATEMENT_UNLISTEN },
        { "UNLISTEN *", STATEMENT_UNLISTEN },
        { "PREPARE a AS SELECT 1", STATEMENT_PREPARE },
        { "PREPARE a (int, numeric(3,2)) AS (VALUES ($1))", STATEMENT_PREPARE },
        { "PREPARE transaction AS TABLE t", STATEMENT_PREPARE },
        { "DEALLOCATE a", STATEMENT_DEALLOCATE },
        { "DEALLOCATE PREPARE a", STATEMENT_DEALLOCATE },
        { "DEALLOCATE PREPARE", STATEMENT_DEALLOCATE },
        { "DEALLOCATE ALL", STATEMENT_DEALLOCATE_ALL },
        { "DEALLOCATE PREPARE ALL", STATEMENT_DEALLOCATE_ALL },
        { "EXECUTE a", STATEMENT_EXECUTE },
        { "EXECUTE a(1, f(2, 3))", STATEMENT_EXECUTE },
        { "DECLARE a CURSOR FOR SELECT 1", STATEMENT_DECLARE },
        { "DECLARE a BINARY INSENSITIVE NO SCROLL CURSOR WITH HOLD FOR VALUES (1)", STATEMENT_DECLARE },
        { "DECLARE a SCROLL CURSOR WITHOUT HOLD FOR WITH x AS (SELECT 1) TABLE x", STATEMENT_DECLARE },
        { "CLOSE a", STATEMENT_CLOSE },
        { "CLOSE ALL", STATEMENT_CLOSE },
    };
    EXPECT_KINDS(rows);
}

/* --- names, modes and the rest ---------------------------------------------------------------- */

Test(statement, R8_names_are_folded_unless_quoted)
{
    static const struct {
        const char *sql, *want;
    } rows[] = {
        { "SAVEPOINT Abc", "abc" },
        { "SAVEPOINT \"Abc\"", "Abc" },
        { "SAVEPOINT \"a\"\"b\"", "a\"b" },
        { "SAVEPOINT U&\"\\0061!\\+01F600\"", "a!😀" },
        { "SAVEPOINT U&\"a!0062\" UESCAPE '!'", "ab" },
        { "SAVEPOINT U&\"\\0\"", "(bad)" },
        { "SAVEPOINT U&\"\\\"", "(bad)" },
        { "SAVEPOINT \"\"", "(bad)" },
        { "SAVEPOINT É", "É" },
        { "RELEASE SAVEPOINT S1", "s1" },
        { "RELEASE Savepoint", "savepoint" },
        { "ROLLBACK TO SAVEPOINT S1", "s1" },
        { "ROLLBACK TO Savepoint", "savepoint" },
        { "SAVEPOINT a234567890123456789012345678901234567890123456789012345678901234567890",
          "a23456789012345678901234567890123456789012345678901234567890123" },
        { "SAVEPOINT \"a2345678901234567890123456789012345678901234567890123456789012é\"",
          "a2345678901234567890123456789012345678901234567890123456789012" },
        { "SET a . B = 1", "a.b" },
        { "SET \"A\".\"b.C\" = 1", "A.b.C" },
        { "SET TIME ZONE 'UTC'", "timezone" },
        { "SET NAMES 'UTF8'", "client_encoding" },
        { "SET ROLE x", "role" },
        { "SET SCHEMA 'x'", "search_path" },
        { "SET XML OPTION CONTENT", "xmloption" },
        { "SET SESSION AUTHORIZATION x", "session_authorization" },
        { "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "(none)" },
        { "SET Session = 1", "session" },
        { "RESET TIME ZONE", "timezone" },
        { "RESET SESSION AUTHORIZATION", "session_authorization" },
        { "SHOW TRANSACTION ISOLATION LEVEL", "transaction_isolation" },
        { "SHOW ALL", "(none)" },
        { "SHOW Work_Mem", "work_mem" },
        { "LISTEN Foo", "foo" },
        { "UNLISTEN *", "(none)" },
        { "UNLISTEN foo", "foo" },
        { "DEALLOCATE PREPARE Foo", "foo" },
        { "DEALLOCATE Prepare", "prepare" },
        { "EXECUTE Foo(1)", "foo" },
        { "PREPARE Foo AS SELECT 1", "foo" },
        { "DECLARE Foo CURSOR FOR SELECT 1", "foo" },
        { "CLOSE Foo", "foo" },
        { "CLOSE ALL", "(none)" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct statement s;
        struct span text = first(rows[i].sql, &s);
        cr_expect_neq(s.kind, STATEMENT_OTHER, "%s", rows[i].sql);
        EXPECT_VALUE(&s.name, rows[i].want, rows[i].sql);
        bytes_free(text);
    }
}

Test(statement, R8_names_that_begin_with_pgatomic_are_ours)
{
    static const struct {
        const char *sql;
        bool want;
    } rows[] = {
        { "SAVEPOINT pgatomic_1", true },
        { "SAVEPOINT PGATOMIC_x", true },
        { "SAVEPOINT pgatomic_", true },
        { "SAVEPOINT \"pgatomic_1\"", true },
        { "SAVEPOINT U&\"\\0070gatomic_1\"", true },
        { "SAVEPOINT U&\"!0070gatomic_1\" /* x */ UESCAPE '!'", true },
        { "SAVEPOINT \"PGATOMIC_1\"", false },
        { "SAVEPOINT \"pgatomic\"", false },
        { "SAVEPOINT pgatomic", false },
        { "SAVEPOINT pgatomi", false },
        { "SAVEPOINT U&\"\\0071gatomic_1\"", false },
        { "SAVEPOINT U&\"\\zpgatomic_\"", false },
        { "SAVEPOINT a", false },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct statement s;
        struct span text = first(rows[i].sql, &s);
        cr_expect_eq(statement_name_is_reserved(&s.name), rows[i].want, "%s", rows[i].sql);
        bytes_free(text);
    }
}

Test(statement, R7_modes_are_read_and_the_last_one_counts)
{
    static const struct {
        const char *sql;
        struct statement_modes want;
    } rows[] = {
        { "BEGIN", { 0 } },
        { "BEGIN ISOLATION LEVEL READ UNCOMMITTED", { .isolation = STATEMENT_READ_UNCOMMITTED } },
        { "BEGIN ISOLATION LEVEL READ COMMITTED", { .isolation = STATEMENT_READ_COMMITTED } },
        { "BEGIN ISOLATION LEVEL REPEATABLE READ", { .isolation = STATEMENT_REPEATABLE_READ } },
        { "BEGIN WORK ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE",
          { .isolation = STATEMENT_SERIALIZABLE, .access = STATEMENT_READ_ONLY, .deferrable = true } },
        { "START TRANSACTION READ ONLY, READ WRITE, DEFERRABLE, NOT DEFERRABLE",
          { .access = STATEMENT_READ_WRITE, .not_deferrable = true } },
        { "SET TRANSACTION READ ONLY", { .access = STATEMENT_READ_ONLY } },
        { "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE", { .access = STATEMENT_READ_WRITE } },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct statement s;
        bytes_free(first(rows[i].sql, &s));
        cr_expect_eq(s.modes.isolation, rows[i].want.isolation, "%s", rows[i].sql);
        cr_expect_eq(s.modes.access, rows[i].want.access, "%s", rows[i].sql);
        cr_expect_eq(s.modes.deferrable, rows[i].want.deferrable, "%s", rows[i].sql);
        cr_expect_eq(s.modes.not_deferrable, rows[i].want.not_deferrable, "%s", rows[i].sql);
    }
}

Test(statement, R7_and_chain_is_seen)
{
    static const struct {
        const char *sql;
        bool want;
    } rows[] = {
        { "COMMIT", false },
        { "COMMIT AND CHAIN", true },
        { "END WORK AND NO CHAIN", false },
        { "ROLLBACK AND CHAIN", true },
        { "ABORT AND CHAIN", true },
        { "ROLLBACK", false },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct statement s;
        bytes_free(first(rows[i].sql, &s));
        cr_expect_eq(s.chain, rows[i].want, "%s", rows[i].sql);
    }
}

Test(statement, a_cursor_with_hold_is_told_from_one_without)
{
    struct statement s;
    bytes_free(first("DECLARE c CURSOR WITH HOLD FOR SELECT 1", &s));
    cr_expect(s.hold);
    bytes_free(first("DECLARE c CURSOR WITHOUT HOLD FOR SELECT 1", &s));
    cr_expect_not(s.hold);
    bytes_free(first("DECLARE c CURSOR FOR SELECT 1", &s));
    cr_expect_not(s.hold);
}

Test(statement, the_body_of_PREPARE_stands_behind_AS)
{
    struct statement s;
    struct span text = first("PREPARE p (text) AS /* x */ SELECT pg_notify('a', $1) -- y\n ; SELECT 2", &s);
    cr_expect(span_is(s.body, "SELECT pg_notify('a', $1)"), "<%.*s>", (int)s.body.size, s.body.data);
    bytes_free(text);
}

Test(statement, E1_literal_arguments_of_EXECUTE_are_taken)
{
    static const struct {
        const char *sql;
        bool plain;
        unsigned count;
        const char *args[3];
    } rows[] = {
        { "EXECUTE p", true, 0, { 0 } },
        { "EXECUTE p('a')", true, 1, { "a" } },
        { "EXECUTE p ( 'a' , NULL, E'\\n' )", true, 3, { "a", "(null)", "\n" } },
        { "EXECUTE p(7, 0, 0.50)", true, 3, { "7", "0", "0.50" } },
        { "EXECUTE p('1','2','3','4','5','6','7','8')", true, 8, { "1", "2", "3" } },
        { "EXECUTE p('1','2','3','4','5','6','7','8','9')", false, 0, { 0 } },
        { "EXECUTE p(007)", false, 0, { 0 } },
        { "EXECUTE p(1e3)", false, 0, { 0 } },
        { "EXECUTE p(.5)", false, 0, { 0 } },
        { "EXECUTE p(5.)", false, 0, { 0 } },
        { "EXECUTE p(-1)", false, 0, { 0 } },
        { "EXECUTE p(true)", false, 0, { 0 } },
        { "EXECUTE p($1)", false, 0, { 0 } },
        { "EXECUTE p('a' || 'b')", false, 0, { 0 } },
        { "EXECUTE p(f('a', ')'), (1))", false, 0, { 0 } },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct statement s;
        struct span text = first(rows[i].sql, &s);
        cr_expect_eq(s.kind, STATEMENT_EXECUTE, "%s", rows[i].sql);
        cr_expect_eq(s.args_plain, rows[i].plain, "%s", rows[i].sql);
        cr_expect_eq(s.arg_count, rows[i].count, "%s: %u", rows[i].sql, s.arg_count);
        for (unsigned k = 0; k < 3 && k < rows[i].count; k++)
            EXPECT_VALUE(&s.args[k], rows[i].args[k], rows[i].sql);
        bytes_free(text);
    }
}

/* --- boundaries ------------------------------------------------------------------------------- */

Test(statement, R13_a_string_is_cut_where_the_server_cuts_it)
{
    static const struct {
        const char *sql;
        const char *want[5];
    } rows[] = {
        { "", { 0 } },
        { " ; -- x\n ;/* ; */", { 0 } },
        { "a;b", { "a", "b" } },
        { " a ; ; b ; ", { "a", "b" } },
        { "BEGIN; INSERT INTO t VALUES (';'); COMMIT;", { "BEGIN", "INSERT INTO t VALUES (';')", "COMMIT" } },
        { "/* 1 */ a /* 2 */ ; -- 3\nb -- 4", { "a", "b" } },
        { "do $$ begin commit; end $$;x", { "do $$ begin commit; end $$", "x" } },
        { "create rule r as on select to t do (a; b); x", { "create rule r as on select to t do (a; b)", "x" } },
        { "create function f() begin atomic a; end; x", { "create function f() begin atomic a; end", "x" } },
        { "a /* b", { "a /* b" } },
        { "a; /* b", { "a", "/* b" } },
        { "a; 'b ;", { "a", "'b ;" } },
        { "a; $$b ; ", { "a", "$$b ; " } },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sql_options options = standard();
        struct span text = bytes_exact(span_of(rows[i].sql));
        struct statement s;
        size_t offset = 0, count = 0;
        while (statement_next(text, &offset, &options, &s)) {
            cr_assert(rows[i].want[count], "%s has more than %zu", rows[i].sql, count);
            cr_expect(span_is(s.text, rows[i].want[count]), "%s: <%.*s>, not <%s>", rows[i].sql, (int)s.text.size,
                      s.text.data, rows[i].want[count]);
            count++;
        }
        cr_expect_null(rows[i].want[count], "%s has no more than %zu", rows[i].sql, count);
        cr_expect_eq(offset, text.size);
        bytes_free(text);
    }
}

/* What statement_is_plain must not claim of anything else. */
static bool is_plain_by_next(struct span text, const struct sql_options *options)
{
    struct statement s;
    size_t offset = 0;
    bool plain = statement_next(text, &offset, options, &s) && s.kind == STATEMENT_OTHER;
    return plain && !statement_next(text, &offset, options, &s);
}

Test(statement, the_quick_look_is_never_wrong_wherever_the_text_is_cut)
{
    static const char *const rows[] = {
        "SELECT abalance FROM pgbench_accounts WHERE aid = 12345;",
        "UPDATE pgbench_tellers SET tbalance = tbalance + -12 WHERE tid = 1; ",
        "INSERT INTO t VALUES ('it''s', E'\\'', $$;$$, \"x\", $1) -- done",
        "SELECT pg_notify('a', 'b'); SELECT set_config('pgatomic.request', 'x', true)",
        "SELECT \"pg_notify\"('a', 'b'); SELECT/**/U&\"pg_notify\"('a', 'b'); SELECT\npg_catalog.pg_notify($1, $2)",
        "  /* x */ BEGIN ISOLATION LEVEL READ COMMITTED; COMMIT AND CHAIN",
        "CREATE OR REPLACE FUNCTION f() BEGIN ATOMIC SELECT 1; END; SELECT U&'x' UESCAPE '!', B'1''1'",
        "PREPARE p AS SELECT 1; EXECUTE p('a', 'b'); DEALLOCATE PREPARE ALL; SHOW pgatomic.request",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY; NOTIFY a, U&'\\0061' UESCAPE '\\'",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t size = strlen(rows[i]);
        for (size_t from = 0; from <= size; from++) {
            for (size_t to = from; to <= size; to++) {
                struct sql_options options = standard();
                struct span text = bytes_exact(span_make(rows[i] + from, to - from));
                cr_assert(!statement_is_plain(text, &options) || is_plain_by_next(text, &options), "%.*s",
                          (int)text.size, text.data);
                options.standard_conforming_strings = false;
                options.encoding = encoding_find(span_of("GB18030"));
                cr_assert(!statement_is_plain(text, &options) || is_plain_by_next(text, &options), "%.*s",
                          (int)text.size, text.data);
                bytes_free(text);
            }
        }
    }
}

Test(statement, the_quick_look_is_enough_for_what_is_usual)
{
    static const struct {
        const char *sql;
        bool want;
    } rows[] = {
        { "SELECT 1", true },
        { "SELECT 1;", true },
        { "SELECT 1; -- x", true },
        { "SELECT 1; ; ", true },
        { "SELECT\n  1", true },
        { "SELECT s.id, p.name FROM s, p", true },
        { "SELECT * FROM t WHERE a = 'COMMIT; BEGIN'", true },
        { "select pg_sleep(1)", true },
        { "select sender from t", true },
        { "/* x */ SELECT /* y */ set", true },
        { "INSERT INTO t VALUES (1, 'a;b', -5, E'\\'')", true },
        { "update t set a = b - 1 / 2", true },
        { "DELETE FROM t WHERE a = $1", true },
        { "WITH x AS (SELECT 1) SELECT * FROM x", true },
        { "create rule r as on select to t do (a; b)", true },
        { "vacuum", true },
        { "/* x", true },
        { "SELECT 1;2", false },
        { "", false },
        { ";", false },
        { "-- SELECT", false },
        { "BEGIN", false },
        { "SELECT pg_notify('a', 'b')", false },
        { "SELECT set_config('a', 'b', false)", false },
        { "SELECT pg_catalog.set_config('a', 'b', false)", false },
        { "SELECT \"pg_notify\"('a', 'b')", false },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sql_options options = standard();
        cr_expect_eq(statement_is_plain(span_of(rows[i].sql), &options), rows[i].want, "%s", rows[i].sql);
    }
}

/* --- comments --------------------------------------------------------------------------------- */

Test(statement, a_sqlcommenter_comment_names_the_route)
{
    static const struct {
        const char *sql, *want; /* NULL: none */
    } rows[] = {
        { "SELECT 1 /*route='%2Fcheckout%2F'*/", "/checkout/" },
        { "SELECT 1 /*action='x',route='%2Fa',traceparent='00-1-2-01'*/;", "/a" },
        { "/* route = '/a' */ SELECT 1", "/a" },
        { "SELECT 1 /*ROUTE='/a'*/", "/a" },
        { "SELECT 1 /*route='%%2Fa%%20b'*/", "/a b" },
        { "SELECT 1 /*route='it\\'s'*/", "it's" },
        { "SELECT 1 /*controller:x,route:/a,action:y*/", "/a" },
        { "SELECT 1 /*route:/a */", "/a" },
        { "SELECT 1 /*x='a,route=b',route='c'*/", "c" },
        { "SELECT 1 /*route='/a'*/ /*route='/b'*/", "/b" },
        { "SELECT 1 /*route='/a'*/ /*x='y'*/", "/a" },
        { "SELECT 1 /*route='/a'*/; SELECT 2", "/a" },
        { "SELECT 1 /*route='100%'*/", "100%" },
        { "SELECT 1 /*route='%zz%4'*/", "%zz%4" },
        { "SELECT 1 /*route='%41*/", "A" },
        { "SELECT 1 /*route=''*/", NULL },
        { "SELECT 1 /*route='a%00b'*/", NULL },
        { "SELECT 1 /*route*/", NULL },
        { "SELECT 1 /*routes='/a'*/", NULL },
        { "SELECT 1 /* the route: which? */", NULL },
        { "SELECT 1 /**/", NULL },
        { "SELECT '/*route=''/a''*/'", NULL },
        { "SELECT $$/*route='/a'*/$$", NULL },
        { "SELECT 1 -- /*route='/a'*/", NULL },
        { "SELECT 1 /*route='/a'", NULL },
        { "SELECT 1 / *route='/a'*/ 2", NULL },
        { "SELECT 1", NULL },
        { "", NULL },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sql_options options = standard();
        struct span text = bytes_exact(span_of(rows[i].sql));
        struct buffer b = { 0 };
        bool found = statement_route_comment(text, &options, &b);
        cr_expect_eq(found, rows[i].want != NULL, "%s", rows[i].sql);
        if (found && rows[i].want)
            cr_expect(span_is(buffer_span(&b), rows[i].want), "%s: <%.*s>", rows[i].sql, (int)b.size, b.data);
        else
            cr_expect_eq(b.size, 0, "%s", rows[i].sql);
        buffer_free(&b);
        bytes_free(text);
    }
}
