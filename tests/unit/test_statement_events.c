#include "tests/unit/statements.h"

/* --- events ----------------------------------------------------------------------------------- */

Test(statement_events, E1_NOTIFY_has_a_channel_and_perhaps_a_payload)
{
    static const struct {
        const char *sql, *channel, *payload;
    } rows[] = {
        { "NOTIFY Foo", "foo", "(none)" },
        { "notify \"Foo\" , 'bar'", "Foo", "bar" },
        { "NOTIFY foo, ''", "foo", "" },
        { "NOTIFY foo, 'it''s'", "foo", "it's" },
        { "NOTIFY foo, 'a\\b'", "foo", "a\\b" },
        { "NOTIFY foo, E'a\\tb\\'c\\\\'", "foo", "a\tb'c\\" },
        { "NOTIFY foo, E'\\x41\\102\\u0043\\U00000044\\q'", "foo", "ABCDq" },
        { "NOTIFY foo, E'\\u00e9\\uD83D\\uDE00'", "foo", "é😀" },
        { "NOTIFY foo, U&'d\\0061t\\+000061 \\\\'", "foo", "data \\" },
        { "NOTIFY foo, U&'d!0061' UESCAPE '!'", "foo", "da" },
        { "NOTIFY foo, U&'\\00'\n'e9'", "foo", "é" },
        { "NOTIFY foo, U&'\\D83D\\DE00'", "foo", "😀" },
        { "NOTIFY foo, $$it's$$", "foo", "it's" },
        { "NOTIFY foo, $x$ $$ $x$", "foo", " $$ " },
        { "NOTIFY foo, 'a' -- b\n 'c'\n'd'", "foo", "acd" },
        { "NOTIFY foo, E'a'\n'\\n'", "foo", "a\n" },
        /* left to the server */
        { "NOTIFY foo, E'\\xe9'", "foo", "(bad)" },
        { "NOTIFY foo, E'\\351'", "foo", "(bad)" },
        { "NOTIFY foo, E'\\0'", "foo", "(bad)" },
        { "NOTIFY foo, E'\\v'", "foo", "(bad)" },
        { "NOTIFY foo, E'\\u00'", "foo", "(bad)" },
        { "NOTIFY foo, E'\\uD83D'", "foo", "(bad)" },
        { "NOTIFY foo, E'\\uD83Dx'", "foo", "(bad)" },
        { "NOTIFY foo, E'\\uDE00'", "foo", "(bad)" },
        { "NOTIFY foo, E'\\U00110000'", "foo", "(bad)" },
        { "NOTIFY foo, U&'\\00e'", "foo", "(bad)" },
        { "NOTIFY foo, U&'\\0000'", "foo", "(bad)" },
        { "NOTIFY foo, U&'x' UESCAPE 'a'", "foo", "(bad)" },
        { "NOTIFY foo, U&'x' UESCAPE '!!'", "foo", "(bad)" },
        { "NOTIFY foo, U&'x' UESCAPE E'!'", "foo", "(bad)" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct statement s;
        struct span text = first(rows[i].sql, &s);
        cr_expect_eq(s.kind, STATEMENT_NOTIFY, "%s", rows[i].sql);
        EXPECT_VALUE(&s.args[0], rows[i].channel, rows[i].sql);
        EXPECT_VALUE(&s.args[1], rows[i].payload, rows[i].sql);
        bytes_free(text);
    }
}

Test(statement_events, E1_a_SELECT_that_is_nothing_but_pg_notify_is_captured)
{
    static const struct {
        const char *sql, *channel, *payload, *column;
        bool cast;
    } rows[] = {
        { "SELECT pg_notify('a', 'b')", "a", "b", "(none)", false },
        { "select PG_CATALOG . PG_NOTIFY ( $1 , $22 )", "$1", "$22", "(none)", false },
        { "SELECT \"pg_notify\"('a', NULL)", "a", "(null)", "(none)", false },
        { "SELECT pg_notify(null, $$b$$) AS x", "(null)", "b", "x", false },
        { "SELECT pg_notify('a', 'b') AS \"X\"", "a", "b", "X", false },
        { "SELECT pg_notify('a', 'b') AS select", "a", "b", "select", false },
        { "SELECT pg_notify('a', 'b') Y", "a", "b", "y", false },
        { "SELECT pg_notify('a', 'b')::text", "a", "b", "(none)", true },
        { "SELECT pg_notify('a', 'b') :: pg_catalog.TEXT x", "a", "b", "x", true },
        { "SELECT pg_notify($1::text, 'b'::text)", "$1", "b", "(none)", false },
        { "SELECT pg_notify($1::VARCHAR, $2::varchar) AS pg_notify_1", "$1", "$2", "pg_notify_1", false },
        { "SELECT pg_notify(('a'), (('b')::text))", "a", "b", "(none)", false },
        { "SELECT/**/pg_notify('a', 'x' -- y\n 'z')", "a", "xz", "(none)", false },
        { "SELECT pg_notify('A', U&'b' UESCAPE '!')", "A", "b", "(none)", false },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct statement s;
        struct span text = first(rows[i].sql, &s);
        cr_expect_eq(s.kind, STATEMENT_PG_NOTIFY, "%s", rows[i].sql);
        cr_expect_eq(s.arg_count, 2);
        cr_expect(s.as_row);
        EXPECT_VALUE(&s.args[0], rows[i].channel, rows[i].sql);
        EXPECT_VALUE(&s.args[1], rows[i].payload, rows[i].sql);
        EXPECT_VALUE(&s.column, rows[i].column, rows[i].sql);
        cr_expect_eq(s.cast_text, rows[i].cast, "%s", rows[i].sql);
        bytes_free(text);
    }
}

Test(statement_events, E1_any_other_pg_notify_passes_to_the_server)
{
    /* clang-format off */
    static const char *const rows[] = {
        "SELECT pg_notify('a', 'b') FROM t", "SELECT pg_notify('a', 'b') from",
        "SELECT pg_notify('a', 'b') WHERE false", "SELECT pg_notify('a', 'b') LIMIT 0",
        "SELECT pg_notify('a', 'b') INTO t", "SELECT pg_notify('a', 'b') UNION SELECT 1",
        "SELECT pg_notify('a', 'b') AS x FROM t", "SELECT pg_notify('a', 'b') x FROM t",
        "SELECT pg_notify('a', 'b') AS", "SELECT pg_notify('a', 'b') 'x'", "SELECT pg_notify('a', 'b'), 1",
        "SELECT 1, pg_notify('a', 'b')", "SELECT ALL pg_notify('a', 'b')", "SELECT DISTINCT pg_notify('a', 'b')",
        "SELECT pg_notify('a', 'b') IS NULL", "SELECT pg_notify('a', 'b')::int",
        "SELECT pg_notify('a', 'b')::text::int", "SELECT pg_notify('a', 'b'::varchar(1))",
        "SELECT pg_notify('a', text 'b')", "SELECT pg_notify('a', CAST('b' AS text))",
        "SELECT pg_notify('a', 'b' || 'c')", "SELECT pg_notify('a', 1)", "SELECT pg_notify('a', x)",
        "SELECT pg_notify('a')", "SELECT pg_notify('a', 'b', 'c')", "SELECT pg_notify()",
        "SELECT pg_notify(channel => 'a', payload => 'b')", "SELECT pg_notify('a', $0)",
"SELECT pg_notify('a', $99999999999999999999)", "SELECT pg_notify('a', 'b'",
        "SELECT (pg_notify('a', 'b'))", "(SELECT pg_notify('a', 'b'))", "SELECT \"PG_NOTIFY\"('a', 'b')",
        "SELECT other.pg_notify('a', 'b')", "SELECT a.pg_catalog.pg_notify('a', 'b')",
        "SELECT pg_notify ('a', 'b') OVER ()", "SELECT pg_notify", "WITH x AS (SELECT 1) SELECT pg_notify('a', 'b')",
        "EXPLAIN SELECT pg_notify('a', 'b')",
    };
    /* clang-format on */
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_expect_eq(kind_of(rows[i]), STATEMENT_OTHER, "%s", rows[i]);
}

Test(statement_events, E1_text_is_in_the_clients_encoding)
{
    struct sql_options options = { true, encoding_find(span_of("SJIS")) };
    struct span sql = BYTES("NOTIFY \x95\x5c, E'\x95\x5c\\n\xb1\\'; NOTIFY b");
    struct statement s;
    struct buffer b = { 0 };
    size_t offset = 0;
    cr_assert(statement_next(sql, &offset, &options, &s));
    cr_assert_eq(s.kind, STATEMENT_OTHER, "the quote is escaped");
    cr_assert_eq(offset, sql.size);
    sql = BYTES("NOTIFY \x95\x5c, E'\x95\x5c\\n\xb1'; NOTIFY b");
    offset = 0;
    cr_assert(statement_next(sql, &offset, &options, &s));
    cr_assert_eq(s.kind, STATEMENT_NOTIFY);
    cr_assert(operand_decode(&s.args[0], &options, &b));
    cr_assert(operand_decode(&s.args[1], &options, &b));
    cr_assert(span_equal(buffer_span(&b), BYTES("\x95\x5c\x95\x5c\n\xb1")));
    buffer_free(&b);
    sql = BYTES("NOTIFY a, E'\\u00e9'");
    offset = 0;
    cr_assert(statement_next(sql, &offset, &options, &s));
    cr_assert_not(operand_decode(&s.args[1], &options, &b), "what it is in this encoding is for the server to say");
    cr_assert_eq(b.size, 0);
    buffer_free(&b);
}

Test(statement_events, E1_backslashes_are_escapes_without_standard_conforming_strings)
{
    struct sql_options options = { false, encoding_utf8() };
    struct statement s;
    struct buffer b = { 0 };
    size_t offset = 0;
    cr_assert(statement_next(span_of("NOTIFY a, 'x\\';y'; z"), &offset, &options, &s));
    cr_assert_eq(s.kind, STATEMENT_NOTIFY);
    cr_assert(operand_decode(&s.args[1], &options, &b));
    cr_assert(span_is(buffer_span(&b), "x';y"));
    offset = 0;
    cr_assert(statement_next(span_of("NOTIFY a, U&'x'"), &offset, &options, &s));
    cr_assert_not(operand_decode(&s.args[1], &options, &b), "PostgreSQL refuses U&'' then");
    buffer_free(&b);
}

/* --- marks ------------------------------------------------------------------------------------ */

Test(statement_events, marks_are_known_in_both_forms)
{
    static const struct {
        const char *sql;
        enum statement_kind kind;
        const char *value, *is_local, *column;
    } rows[] = {
        { "SET pgatomic.request = '/checkout/'", STATEMENT_MARK_REQUEST, "/checkout/", "(none)", NULL },
        { "set session PgAtomic . Request to E'\\x2f'", STATEMENT_MARK_REQUEST, "/", "(none)", NULL },
        { "SET \"pgatomic\".\"request\" = $$/a$$", STATEMENT_MARK_REQUEST, "/a", "(none)", NULL },
        { "SET \"pgatomic.Request\" TO ''", STATEMENT_MARK_REQUEST, "", "(none)", NULL },
        { "SET pgatomic.request = Checkout", STATEMENT_MARK_REQUEST, "checkout", "(none)", NULL },
        { "SET pgatomic.request = \"Checkout\"", STATEMENT_MARK_REQUEST, "Checkout", "(none)", NULL },
        { "SET pgatomic.request = -5", STATEMENT_MARK_REQUEST, "-5", "(none)", NULL },
        { "SET pgatomic.outcome = 'commit'", STATEMENT_MARK_OUTCOME, "commit", "(none)", NULL },
        { "SET pgatomic.outcome TO rollback", STATEMENT_MARK_OUTCOME, "rollback", "(none)", NULL },
        { "SET pgatomic.outcome = on", STATEMENT_MARK_OUTCOME, "on", "(none)", NULL },
        { "SELECT set_config('pgatomic.request', '/a', false)", STATEMENT_MARK_REQUEST, "/a", "(none)", "(none)" },
        { "SELECT pg_catalog.set_config(E'pgatomic.request', $1, 'f') AS x", STATEMENT_MARK_REQUEST, "$1", "(none)",
          "x" },
        { "SELECT set_config($$PGATOMIC.outcome$$, $1::text, $2)::text", STATEMENT_MARK_OUTCOME, "$1", "$2", "(none)" },
        { "select \"set_config\"('pgatomic.'\n'outcome', 'commit', NULL) y", STATEMENT_MARK_OUTCOME, "commit", "(none)",
          "y" },
        { "SELECT set_config('pgatomic.request', NULL, FALSE)", STATEMENT_MARK_REQUEST, "(null)", "(none)", "(none)" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct statement s;
        struct span text = first(rows[i].sql, &s);
        cr_expect_eq(s.kind, rows[i].kind, "%s", rows[i].sql);
        cr_expect_eq(s.as_row, rows[i].column != NULL, "%s", rows[i].sql);
        EXPECT_VALUE(&s.args[0], rows[i].value, rows[i].sql);
        EXPECT_VALUE(&s.args[1], rows[i].is_local, rows[i].sql);
        if (rows[i].column)
            EXPECT_VALUE(&s.column, rows[i].column, rows[i].sql);
        bytes_free(text);
    }
}

Test(statement_events, what_looks_like_a_mark_but_is_none)
{
    static const struct kind_row rows[] = {
        { "SET LOCAL pgatomic.request = 'x'", STATEMENT_OTHER },
        { "SET pgatomic.request = 'x', 'y'", STATEMENT_OTHER },
        { "SET pgatomic.request = select", STATEMENT_OTHER },
        { "SET pgatomic.request TO DEFAULT", STATEMENT_SET },
        { "SET pgatomic.request FROM CURRENT", STATEMENT_SET },
        { "SET pgatomic.requests = 'x'", STATEMENT_SET },
        { "SET pgatomic.request.x = 'x'", STATEMENT_SET },
        { "SET request = 'x'", STATEMENT_SET },
        { "RESET pgatomic.request", STATEMENT_RESET },
        { "SHOW pgatomic.request", STATEMENT_SHOW_REQUEST },
        { "show \"PgAtomic\" . request", STATEMENT_SHOW_REQUEST },
        { "SHOW pgatomic.outcome", STATEMENT_SHOW },
        { "SELECT set_config('pgatomic.request', 'x', true)", STATEMENT_SET_CONFIG },
        { "SELECT set_config('pgatomic.request', 'x', 'on')", STATEMENT_SET_CONFIG },
        { "SELECT set_config('pgatomic.request', 'x', 'maybe')", STATEMENT_OTHER },
        { "SELECT set_config('pgatomic.request', 'x', 0)", STATEMENT_OTHER },
        { "SELECT set_config(NULL, 'x', false)", STATEMENT_OTHER },
        { "SELECT set_config('pgatomic.request', 'x')", STATEMENT_OTHER },
        { "SELECT set_config('pgatomic.request', 'x' || 'y', false)", STATEMENT_OTHER },
        { "SELECT set_config('pgatomic.request', 'x', false) FROM t", STATEMENT_OTHER },
        { "SELECT set_config('pgatomic.request', 'x', false), 1", STATEMENT_OTHER },
        { "SELECT current_setting('pgatomic.request')", STATEMENT_OTHER },
    };
    EXPECT_KINDS(rows);
}

Test(statement_events, set_config_of_a_bound_name_may_become_a_mark)
{
    static const struct {
        const char *sql, *name, *value, *is_local;
    } rows[] = {
        { "SELECT set_config($1, $2, $3)", "$1", "$2", "$3" },
        { "SELECT set_config($1, 'x', 'no')", "$1", "x", "false" },
        { "SELECT set_config($1, NULL, true)", "$1", "(null)", "true" },
        { "SELECT set_config('search_path', 'x', FALSE)", "search_path", "x", "false" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct statement s;
        struct span text = first(rows[i].sql, &s);
        cr_expect_eq(s.kind, STATEMENT_SET_CONFIG, "%s", rows[i].sql);
        cr_expect_eq(s.arg_count, 3);
        EXPECT_VALUE(&s.args[0], rows[i].name, rows[i].sql);
        EXPECT_VALUE(&s.args[1], rows[i].value, rows[i].sql);
        EXPECT_VALUE(&s.args[2], rows[i].is_local, rows[i].sql);
        bytes_free(text);
    }
}
