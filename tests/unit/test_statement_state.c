#include <criterion/criterion.h>
#include <stdio.h>

#include "protocol/statement_state.h"
#include "tests/unit/bytes.h"
#include "tests/unit/statements.h"

/* --- what a text leaves, as words ------------------------------------------------------------- */

static const char *word_of(enum state_kind kind)
{
    switch (kind) {
    case STATE_SETTING:
        return "setting";
    case STATE_LOCAL_SETTING:
        return "local";
    case STATE_RESET_ALL:
        return "reset all";
    case STATE_DISCARD_ALL:
        return "discard all";
    case STATE_DISCARD_PLANS:
        return "discard plans";
    case STATE_DISCARD_SEQUENCES:
        return "discard sequences";
    case STATE_DISCARD_TEMP:
        return "discard temp";
    case STATE_PREPARE:
        return "prepare";
    case STATE_EXECUTE:
        return "execute";
    case STATE_DEALLOCATE:
        return "deallocate";
    case STATE_DEALLOCATE_ALL:
        return "deallocate all";
    case STATE_LISTEN:
        return "listen";
    case STATE_UNLISTEN:
        return "unlisten";
    case STATE_UNLISTEN_ALL:
        return "unlisten all";
    case STATE_PIN:
        return "pin";
    }
    return "?";
}

struct words {
    struct buffer text;
    struct sql_options options;
    bool with_index;
};

/* "setting work_mem"; a * when it is a part of a statement, a ! when it is back to the default,
 * a ? when it may be. */
static void add_words(void *owner, const struct statement_state *state)
{
    struct words *w = owner;
    if (w->text.size > 0)
        buffer_append_text(&w->text, ", ");
    if (w->with_index)
        buffer_format(&w->text, "%zu ", state->index);
    buffer_append_text(&w->text, word_of(state->kind));
    if (state->kind == STATE_PIN) {
        buffer_format(&w->text, ": %s", statement_state_cause(state->cause));
    } else if (state->name.kind != OPERAND_NONE) {
        buffer_append_text(&w->text, " ");
        statement_state_name(state, &w->options, &w->text);
    }
    if (state->kind == STATE_SETTING && !state->is_default && !state->is_whole)
        buffer_append_text(&w->text, "*");
    if (state->is_default || state->may_be_default)
        buffer_append_text(&w->text, state->is_default ? "!" : "?");
}

/* To be freed. */
static char *words_of(const char *sql, bool with_index)
{
    struct words w = { .options = standard(), .with_index = with_index };
    struct span copy = bytes_exact(span_of(sql));
    statement_states(copy, &w.options, add_words, &w);
    bool quick = statement_may_leave_state(copy);
    cr_expect(quick || w.text.size == 0, "the quick look has missed: %s", sql);
    bytes_free(copy);
    buffer_append_string(&w.text, span_of(""));
    return w.text.data;
}

struct row {
    const char *sql, *want;
};

static void expect_rows(const struct row *rows, size_t count, bool with_index)
{
    for (size_t i = 0; i < count; i++) {
        char *got = words_of(rows[i].sql, with_index);
        cr_expect_str_eq(got, rows[i].want, "%s: <%s>, not <%s>", rows[i].sql, got, rows[i].want);
        free(got);
    }
}

#define EXPECT_ROWS(rows) expect_rows(rows, sizeof rows / sizeof *rows, false)

/* --- tables ----------------------------------------------------------------------------------- */

Test(statement_state, P5_a_setting_is_known_by_its_name_however_it_is_made)
{
    static const struct row rows[] = {
        { "SET work_mem = '1MB'", "setting work_mem" },
        { "set Session WORK_MEM to 1000", "setting work_mem" },
        { "SET \"Work_Mem\" = 1", "setting work_mem" },
        { "SET a.\"B\" = on", "setting a.b" },
        { "SET search_path = a, \"B\"", "setting search_path" },
        { "SET TIME ZONE 'UTC'", "setting timezone" },
        { "SET SESSION TIME ZONE INTERVAL '-08:00' HOUR TO MINUTE", "setting timezone" },
        { "SET NAMES 'UTF8'", "setting client_encoding" },
        { "SET SCHEMA 'x'", "setting search_path" },
        { "SET ROLE x", "setting role" },
        { "SET ROLE NONE", "setting role" },
        { "SET SESSION AUTHORIZATION x", "setting session_authorization" },
        { "SET XML OPTION DOCUMENT", "setting xmloption" },
        { "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, NOT DEFERRABLE",
          "setting default_transaction_isolation, setting default_transaction_read_only, "
          "setting default_transaction_deferrable" },
        { "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE", "setting default_transaction_read_only" },
        { "SET pgatomic.request = '/a/'", "setting pgatomic.request" },
        { "/* x */ SET -- y\n work_mem = 1", "setting work_mem" },
    };
    EXPECT_ROWS(rows);
}

Test(statement_state, P5_a_setting_goes_back_to_its_default)
{
    static const struct row rows[] = {
        { "SET work_mem TO DEFAULT", "setting work_mem!" },
        { "SET work_mem = default;", "setting work_mem!" },
        { "SET work_mem = \"default\"", "setting work_mem" },
        { "RESET Work_Mem", "setting work_mem!" },
        { "RESET a.b", "setting a.b!" },
        { "SET TIME ZONE LOCAL", "setting timezone!" },
        { "SET TIME ZONE DEFAULT", "setting timezone!" },
        { "RESET TIME ZONE", "setting timezone!" },
        { "SET timezone TO local", "setting timezone" },
        { "SET NAMES", "setting client_encoding!" },
        { "SET NAMES DEFAULT", "setting client_encoding!" },
        { "SET NAMES names", "setting client_encoding" },
        { "SET x = names", "setting x" },
        { "SET SESSION AUTHORIZATION DEFAULT", "setting session_authorization!" },
        { "RESET SESSION AUTHORIZATION", "setting session_authorization!" },
        { "RESET ROLE", "setting role!" },
        { "RESET ALL", "reset all" },
        { "DISCARD ALL", "discard all" },
        { "DISCARD PLANS", "discard plans" },
        { "DISCARD SEQUENCES", "discard sequences" },
        { "DISCARD TEMPORARY", "discard temp" },
    };
    EXPECT_ROWS(rows);
}

Test(statement_state, P5_what_ends_with_its_transaction_leaves_nothing)
{
    static const struct row rows[] = {
        { "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "" },
        { "SET SESSION TRANSACTION READ ONLY", "" },
        { "SET TRANSACTION SNAPSHOT 'x'", "" },
        { "SET CONSTRAINTS ALL DEFERRED", "" },
        { "SET transaction_isolation = 'serializable'", "" },
        { "SET SESSION Transaction_Read_Only TO on", "" },
        { "RESET TRANSACTION ISOLATION LEVEL", "" },
        { "SELECT pg_advisory_xact_lock(1), pg_try_advisory_xact_lock_shared(2)", "" },
        { "DECLARE c CURSOR FOR SELECT 1", "" },
        { "DECLARE c CURSOR WITHOUT HOLD FOR SELECT 1", "" },
        { "CREATE TEMP TABLE t (a int, b text) ON COMMIT DROP", "" },
        { "CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 1", "" },
    };
    EXPECT_ROWS(rows);
}

Test(statement_state, P4_what_holds_for_a_transaction_is_told_by_its_name)
{
    static const struct row rows[] = {
        { "SET LOCAL work_mem = 1", "local work_mem" },
        { "SET LOCAL \"Search_Path\" TO a, b", "local search_path" },
        { "SET LOCAL TIME ZONE 'Europe/Rome'", "local timezone" },
        { "SET LOCAL SCHEMA 'a'", "local search_path" },
        { "SET LOCAL ROLE a", "local role" },
        { "SET LOCAL XML OPTION DOCUMENT", "local xmloption" },
        { "SET LOCAL a.b TO DEFAULT", "local a.b!" },
        { "SET LOCAL TIME ZONE LOCAL", "local timezone!" },
        { "SET LOCAL NAMES", "local client_encoding!" },
        { "SET LOCAL names = 'default'", "local names" },
        { "SELECT set_config('a.b', NULL, true)", "local a.b!" },
        { "SELECT set_config('a.b', 'c', true)", "local a.b" },
        { "SELECT set_config('Work_Mem', $1, true)", "local work_mem?" },
        { "SELECT set_config($1, $2, 't')", "local?" },
        { "SELECT set_config('a' || 'b', $2, true)", "local?" },
    };
    EXPECT_ROWS(rows);
}

Test(statement_state, P5_set_config_is_a_setting_whose_value_the_server_knows)
{
    static const struct row rows[] = {
        { "SELECT set_config('App.User', $1, false)", "setting app.user*?" },
        { "SELECT set_config('a.b', NULL, false)", "setting a.b!" },
        { "SELECT set_config('a.b', (NULL)::text, false)", "setting a.b!" },
        { "SELECT set_config('a.b', nullif('', ''), false)", "setting a.b*?" },
        { "SELECT set_config('a.b', 'c' || NULL, false)", "setting a.b*?" },
        { "SELECT pg_catalog.set_config('a.b', 'c', 'off')", "setting a.b*" },
        { "SELECT 1 + length(\"set_config\"(E'a.b', f(1, g(2)), false)), 2", "setting a.b*?" },
        { "INSERT INTO t SELECT set_config('a.b', array['x', 'y'][1], false) FROM u", "setting a.b*?" },
        { "SELECT set_config /* x */ ('a.b', 'c', NULL)", "setting a.b*" },
        { "SELECT set_config -- x\n ('a.b', 'c', false)", "setting a.b*" },
        { "SELECT U&\"set!005fconfig\" UESCAPE '!' ('a.b', 'c', false)", "setting a.b*" },
        { "SELECT set_config('a', 'b', false), set_config('c', 'd', false)", "setting a*, setting c*" },
        { "EXPLAIN ANALYZE SELECT set_config('a', 'b', false)", "setting a*" },
        { "PREPARE p AS SELECT set_config('a', $1, false)", "prepare p, setting a*?" },
        { "SELECT set_config($1, $2, $3)", "pin: unknown setting" },
        { "SELECT set_config('a', 'b', $1)", "pin: unknown setting" },
        { "SELECT set_config(name, value, false) FROM t", "pin: unknown setting" },
        { "SELECT set_config('a' || 'b', 'c', false)", "pin: unknown setting" },
        { "SELECT set_config('a', 'b', 1 = 1)", "pin: unknown setting" },
        { "SELECT set_config(setting_name => 'a', new_value => 'b', is_local => false)", "pin: unknown setting" },
        { "SELECT set_config('seed', '0.5', false)", "pin: random seed" },
        { "SET x FROM CURRENT", "pin: unknown setting" },
        { "SELECT 'set_config(1)', set_config FROM t WHERE (set_config) = 1", "" },
    };
    EXPECT_ROWS(rows);
}

Test(statement_state, P4_prepared_statements_have_names)
{
    static const struct row rows[] = {
        { "PREPARE Abc AS SELECT 1", "prepare abc" },
        { "PREPARE \"A\"\"b\" (int) AS INSERT INTO t VALUES ($1)", "prepare A\"b" },
        { "EXECUTE Abc", "execute abc" },
        { "EXECUTE abc (1, f(2))", "execute abc" },
        { "EXPLAIN EXECUTE abc", "execute abc" },
        { "EXPLAIN ANALYZE VERBOSE EXECUTE abc (1)", "execute abc" },
        { "EXPLAIN (ANALYZE, BUFFERS off) EXECUTE \"Abc\"", "execute Abc" },
        { "CREATE TABLE t AS EXECUTE abc (1)", "execute abc" },
        { "CREATE UNLOGGED TABLE IF NOT EXISTS s.t (a, b) WITH (fillfactor = 10) AS EXECUTE abc WITH NO DATA",
          "execute abc" },
        { "EXPLAIN ANALYZE CREATE TEMP TABLE t AS EXECUTE abc", "execute abc, pin: temporary table" },
        { "DEALLOCATE abc", "deallocate abc" },
        { "DEALLOCATE PREPARE \"Abc\"", "deallocate Abc" },
        { "DEALLOCATE ALL", "deallocate all" },
        { "PREPARE u&\"\\00e9\" AS SELECT 1", "prepare \xc3\xa9" },
        { "PREPARE TRANSACTION 'x'", "" },
        { "CREATE DOMAIN d AS execute COLLATE \"C\"", "" },
        { "CREATE TRIGGER t BEFORE INSERT ON u FOR EACH ROW EXECUTE FUNCTION f()", "" },
        { "SELECT execute FROM prepare", "" },
    };
    EXPECT_ROWS(rows);
}

static void find_name(void *owner, const struct statement_state *state)
{
    *(size_t *)owner = (size_t)(state->name.raw.data - state->statement.data);
}

Test(statement_state, P4_the_name_is_where_it_can_be_replaced)
{
    static const char *const texts[] = { "EXPLAIN EXECUTE abc (1)", "PREPARE abc AS SELECT 1", "DEALLOCATE abc;" };
    struct sql_options options = standard();
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        size_t at = 0;
        statement_states(span_of(texts[i]), &options, find_name, &at);
        cr_expect_eq(at, (size_t)(strstr(texts[i], "abc") - texts[i]), "%s", texts[i]);
    }
}

Test(statement_state, P4_a_name_that_the_server_alone_can_read_pins)
{
    struct words w = { .options = { .standard_conforming_strings = true,
                                    .encoding = encoding_find(span_of("LATIN1")) } };
    statement_states(span_of("LISTEN U&\"\\00e9\""), &w.options, add_words, &w);
    cr_expect(span_is(buffer_span(&w.text), "pin: unreadable name"));
    buffer_free(&w.text);
}

Test(statement_state, P6_channels_have_names)
{
    static const struct row rows[] = {
        { "LISTEN Abc", "listen abc" },
        { "LISTEN \"Abc\"", "listen Abc" },
        { "UNLISTEN abc", "unlisten abc" },
        { "UNLISTEN *", "unlisten all" },
        { "NOTIFY abc", "" },
    };
    EXPECT_ROWS(rows);
}

Test(statement_state, P5_what_cannot_follow_pins)
{
    static const struct row rows[] = {
        { "CREATE TEMP TABLE t (a int)", "pin: temporary table" },
        { "CREATE LOCAL TEMPORARY TABLE t AS SELECT 1", "pin: temporary table" },
        { "CREATE OR REPLACE TEMP VIEW v AS SELECT 1", "pin: temporary table" },
        { "create global temp sequence s", "pin: temporary table" },
        { "CREATE TEMP TABLE t (a int) ON COMMIT DELETE ROWS", "pin: temporary table" },
        { "CREATE TEMP TABLE t AS SELECT * FROM a JOIN b ON (commit)", "pin: temporary table" },
        { "CREATE TABLE pg_temp.t (a int)", "pin: temporary table" },
        { "CREATE FUNCTION \"pg_temp\".f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "pin: temporary table" },
        { "SELECT 1 INTO TEMP t", "pin: temporary table" },
        { "WITH x AS (SELECT 1) SELECT * INTO LOCAL TEMPORARY TABLE t FROM x", "pin: temporary table" },
        { "EXPLAIN ANALYZE SELECT 1 INTO temp t", "pin: temporary table" },
        { "SET search_path = pg_temp, public", "setting search_path, pin: temporary table" },
        { "SELECT pg_advisory_lock(1)", "pin: advisory lock" },
        { "SELECT * FROM t WHERE pg_try_advisory_lock_shared ( id )", "pin: advisory lock" },
        { "INSERT INTO t VALUES (1, (SELECT \"pg_catalog\".\"pg_advisory_lock\"(1, 2)))", "pin: advisory lock" },
        { "EXECUTE p (pg_try_advisory_lock(1))", "execute p, pin: advisory lock" },
        { "COPY (SELECT pg_advisory_lock_shared(1)) TO STDOUT", "pin: advisory lock" },
        { "DECLARE c CURSOR WITH HOLD FOR SELECT 1", "pin: cursor with hold" },
        { "DECLARE c BINARY SCROLL CURSOR WITH HOLD FOR SELECT 1", "pin: cursor with hold" },
        { "LOAD 'auto_explain'", "pin: load" },
        { "SET SEED TO 0.5", "pin: random seed" },
        { "SELECT setseed(0.5)", "pin: random seed" },
        { "SELECT pg_backup_start('x'), pg_start_backup('x')", "pin: backup, pin: backup" },
        { "SELECT pg_replication_origin_session_setup('x')", "pin: replication" },
        { "SELECT pg_create_logical_replication_slot('a', 'b', true)", "pin: replication" },
        { "SELECT dblink_connect('a', 'b')", "pin: foreign connection" },
        { "SELECT dblink_connect_u('a', 'b')", "pin: foreign connection" },
    };
    EXPECT_ROWS(rows);
}

Test(statement_state, P5_what_only_looks_like_it_does_not_pin)
{
    static const struct row rows[] = {
        { "SELECT 1 INTO temp", "" },
        { "SELECT 1 INTO temp FROM t", "" },
        { "SELECT 1 INTO temp.t", "" },
        { "INSERT INTO temp VALUES (1)", "" },
        { "INSERT INTO temp (a) VALUES (1)", "" },
        { "WITH x AS (INSERT INTO temp VALUES (1) RETURNING a) SELECT * FROM x", "" },
        { "MERGE INTO temp t USING u ON true WHEN MATCHED THEN DO NOTHING", "" },
        { "SELECT temp, temporary, load FROM temp WHERE hold = 'LISTEN x'", "" },
        { "SELECT $$CREATE TEMP TABLE t$$, 'pg_advisory_lock(1)' -- pg_advisory_lock(1)", "" },
        { "SELECT pg_advisory_unlock(1), pg_advisory_unlock_all()", "" },
        { "SELECT pg_advisory_lock FROM t", "" },
        { "SELECT upsetseed(1), my_pg_advisory_lock(1)", "" },
        { "UPDATE t SET a = 1", "" },
        { "ALTER ROLE r SET work_mem = 1", "" },
        { "CREATE FUNCTION f() RETURNS int SET work_mem = 1 LANGUAGE sql AS 'SET x = 1'", "" },
        { "", "" },
        { " ; ;", "" },
    };
    EXPECT_ROWS(rows);
}

Test(statement_state, P5_an_update_of_pg_settings_sets_whatever_it_finds)
{
    static const struct row rows[] = {
        { "UPDATE pg_settings SET setting = '1'", "pin: unknown setting" },
        { "update only \"pg_catalog\" . PG_SETTINGS AS s SET setting = '1'", "pin: unknown setting" },
        { "/* x */ UPDATE/* x */pg_catalog.pg_settings SET setting = '1'", "pin: unknown setting" },
        { "UPDATE ONLY (pg_settings) SET setting = '1'", "pin: unknown setting" },
        { "UPDATE only(pg_catalog.pg_settings) SET setting = '1'", "pin: unknown setting" },
        { "UPDATE \"pg_settings\" SET setting = '1'", "pin: unknown setting" },
        { "UPDATE U&\"pg\\005fsettings\" SET setting = '1'", "pin: unknown setting" },
        { "WITH x AS (SELECT 1) UPDATE pg_settings SET setting = '1'", "pin: unknown setting" },
        { "with recursive x AS (SELECT ';SELECT') update only pg_catalog.PG_Settings SET setting = '1'",
          "pin: unknown setting" },
        { "WITH x AS (UPDATE \"pg_settings\" SET setting = '1') SELECT 1", "pin: unknown setting" },
        { "WITH/* x */x AS (SELECT 1)UPDATE U&\"pg\\005fsettings\" SET setting = '1'", "pin: unknown setting" },
        { "BEGIN;\n-- x\nWITH x AS (SELECT 1) UPDATE pg_settings SET setting = '1'", "pin: unknown setting" },
        { "COPY (UPDATE pg_settings SET setting = '1') TO STDOUT", "pin: unknown setting" },
        { "COPY (WITH x AS (SELECT 1) UPDATE pg_settings SET setting = '1' RETURNING 1) TO STDOUT",
          "pin: unknown setting" },
        { "WITH x AS (SELECT * FROM pg_settings) UPDATE t SET a = 1", "" },
        { "WITH x AS (SELECT 1) UPDATE my_pg_settings SET setting = '1'", "" },
        { "UPDATE my_pg_settings SET setting = '1'", "" },
        { "UPDATE pg_settings.t SET setting = '1'", "" },
        { "SELECT * FROM pg_settings FOR UPDATE OF pg_settings", "" },
        { "UPDATE\n  t SET a = 1", "" },
        { "UPDATE x", "" },
        { "UPDATE ", "" },
    };
    EXPECT_ROWS(rows);
}

Test(statement_state, P5_text_that_a_function_runs_is_looked_into)
{
    static const struct row rows[] = {
        { "SELECT query_to_xml('SELECT pg_advisory_lock(1)', true, false, '')", "pin: advisory lock" },
        { "SELECT query_to_xml_and_xmlschema($$SELECT set_config('a.b', 'c', false)$$, true, false, '')",
          "setting a.b*" },
        { "SELECT query_to_xml('SELECT set_config(''a.b'', ''c'', false)', true, false, '')", "pin: unknown setting" },
        { "SELECT * FROM pg_catalog.ts_stat('SELECT setseed(1)::text::tsvector')", "pin: random seed" },
        { "SELECT * FROM ts_stat('SELECT body FROM t')", "" },
        { "SELECT query_to_xml('SELECT 1', true, false, '')", "" },
    };
    EXPECT_ROWS(rows);
}

Test(statement_state, P5_a_search_path_that_is_temporary_makes_temporary_things)
{
    static const struct row rows[] = {
        { "SET search_path = pg_temp", "setting search_path, pin: temporary table" },
        { "SET LOCAL search_path = pg_temp, public", "local search_path, pin: temporary table" },
        { "SELECT set_config('search_path', 'pg_temp', true)", "local search_path, pin: temporary table" },
        { "SELECT set_config('search_path', 'public', true)", "local search_path" },
        { "CREATE TABLE U&\"pg\\005ftemp\".t (a int)", "pin: temporary table" },
        { "SET LOCAL search_path = public", "local search_path" },
        { "CREATE EXTENSION x WITH SCHEMA pg_temp", "pin: temporary table" },
        { "CREATE EXTENSION x SCHEMA \"pg_temp\" VERSION '1'", "pin: temporary table" },
        { "CREATE EXTENSION x SCHEMA public", "" },
        { "SELECT schema.set_config('a.b', 'c', false), schema FROM schema", "setting a.b*" },
    };
    EXPECT_ROWS(rows);
}

Test(statement_state, P5_a_DO_block_is_looked_into)
{
    static const struct row rows[] = {
        { "DO $$ BEGIN PERFORM pg_advisory_lock(1); END $$", "pin: advisory lock" },
        { "DO LANGUAGE plpgsql $x$ BEGIN CREATE TEMP TABLE t (a int); END $x$", "pin: temporary table" },
        { "DO $$ BEGIN EXECUTE 'CREATE TEMP TABLE t (a int)'; END $$", "pin: temporary table" },
        { "DO $$ BEGIN EXECUTE format($q$create temp table %I (a int)$q$, 't'); END $$", "pin: temporary table" },
        { "DO $$ BEGIN CREATE TEMP TABLE t (a int) ON COMMIT DROP; END $$", "" },
        { "DO 'BEGIN EXECUTE ''SET work_mem = 1''; END'", "pin: session command in a DO block" },
        { "DO $$ BEGIN SET work_mem = 1; END $$", "pin: session command in a DO block" },
        { "DO $$ BEGIN IF true THEN LISTEN x; END IF; END $$", "pin: session command in a DO block" },
        { "DO $$ BEGIN EXECUTE 'DECLARE c CURSOR WITH HOLD FOR SELECT 1'; END $$", "pin: cursor with hold" },
        { "DO $$ BEGIN PERFORM set_config('a.b', 'c', false); END $$", "setting a.b*" },
        { "DO E'BEGIN \\x53ET x = 1; END'", "pin: session command in a DO block" },
        { "DO $$ BEGIN EXECUTE 'SE' || 'T work_mem = 1'; END $$", "pin: session command in a DO block" },
        { "DO $$ BEGIN EXECUTE what; END $$", "pin: session command in a DO block" },
        { "DO $$ BEGIN EXECUTE format('%s x = 1', what); END $$", "pin: session command in a DO block" },
        { "DO $$ BEGIN EXECUTE format('ALTER TABLE %I ADD a int', name); GRANT EXECUTE ON FUNCTION f() TO r; END $$",
          "" },
        { "DO $$ BEGIN SET LOCAL work_mem = 1; UPDATE t SET a = 1; END $$", "" },
        { "DO $$ DECLARE load int; BEGIN -- LISTEN x\n RAISE NOTICE 'a'; END $$", "" },
    };
    EXPECT_ROWS(rows);
}

Test(statement_state, R13_a_string_of_statements_says_which_of_them_it_was)
{
    static const struct row rows[] = {
        { "BEGIN; SET a = 1; SELECT 1; CREATE TEMP TABLE t (a int); COMMIT", "1 setting a, 3 pin: temporary table" },
        { ";; LISTEN a;; UNLISTEN *;", "0 listen a, 1 unlisten all" },
        { "SELECT ';/*'; SET x = 1; --*/", "1 setting x" },
    };
    expect_rows(rows, sizeof rows / sizeof *rows, true);
}

/* --- the quick look --------------------------------------------------------------------------- */

Test(statement_state, P5_ordinary_statements_are_passed_by_the_quick_look)
{
    static const char *const texts[] = {
        "SELECT abalance FROM pgbench_accounts WHERE aid = 4711;",
        "UPDATE pgbench_accounts SET abalance = abalance + -7 WHERE aid = 4711;",
        "update\n  t set a = 1",
        "UPDATE orders SET a = 1",
        "UPDATE p SET a = 1",
        "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 2, 3, -4, CURRENT_TIMESTAMP);",
        "BEGIN",
        "commit;",
        "ROLLBACK TO SAVEPOINT x",
        "SELECT 1",
        "",
        ";",
        "BEGIN; SELECT count(*) FROM t; COMMIT;",
        "/* a */ SELECT 1",
        "SELECT \"a\".\"id\", \"a\".\"email\" FROM \"employee\" AS \"a\" WHERE \"a\".\"id\" IN (1, 2) LIMIT 21",
        "WITH x AS (\n    SELECT max(item)\n    FROM company\n) SELECT * FROM x",
        "BEGIN; WITH x AS (SELECT * FROM pg_class) SELECT * FROM x, pg_setting",
        "COPY t (a_b, c) FROM STDIN",
        "SELECT pg_advisory_xact_lock(1)",
        "DELETE FROM t WHERE a && b AND c & 1 = 0",
        "SHOW search_path",
        "FETCH 100 FROM c",
        "SELECT a FROM t -- comment\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct span copy = bytes_exact(span_of(texts[i]));
        cr_expect_not(statement_may_leave_state(copy), "%s", texts[i]);
        bytes_free(copy);
    }
}

Test(statement_state, P5_the_quick_look_finds_it_at_every_place)
{
    static const char *const finds[] = { "set_config(",
                                         "SetSeed  (",
                                         "\"pg_advisory_lock\"(",
                                         "temp",
                                         "TEMP",
                                         "u&\"",
                                         "; set",
                                         "pg_try_advisory_lock_shared\n(",
                                         "dblink_connect_u(" };
    for (size_t f = 0; f < sizeof finds / sizeof *finds; f++) {
        for (size_t before = 0; before < 70; before++) {
            for (size_t after = 0; after < 36; after++) {
                char text[192];
                int size = snprintf(text, sizeof text, "%s%*s%s%*s", before % 2 ? "SELECT " : "SELECT  ", (int)before,
                                    "", finds[f], (int)after, "");
                struct span copy = bytes_exact(span_make(text, (size_t)size));
                cr_assert(statement_may_leave_state(copy), "%s behind %zu, in front of %zu", finds[f], before, after);
                bytes_free(copy);
            }
        }
    }
}
