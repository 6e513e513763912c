#include <criterion/criterion.h>
#include <stdio.h>

#include "protocol/sql_lexer.h"
#include "protocol/sql_words.h"
#include "tests/unit/bytes.h"

static struct sql_options standard(void)
{
    return (struct sql_options){ .standard_conforming_strings = true, .encoding = encoding_utf8() };
}

/* One letter for each kind of token. */
static char letter_of(enum sql_token_kind kind)
{
    switch (kind) {
    case SQL_END:
        return '.';
    case SQL_WORD:
        return 'w';
    case SQL_NAME:
        return 'n';
    case SQL_STRING:
        return 's';
    case SQL_BITS:
        return 'b';
    case SQL_NUMBER:
        return '1';
    case SQL_PARAMETER:
        return '$';
    case SQL_SYMBOL:
        return '+';
    case SQL_BROKEN:
        return '!';
    }
    return '?';
}

enum { TOKENS_MAX = 64 };

/* The kinds of the text's tokens, a letter each. */
static void kinds_of(struct span text, const struct sql_options *options, char kinds[TOKENS_MAX])
{
    struct span copy = bytes_exact(text);
    struct sql_lexer l;
    sql_lexer_init(&l, copy, options);
    size_t count = 0, at = 0;
    for (struct sql_token t = sql_lexer_next(&l); t.kind != SQL_END; t = sql_lexer_next(&l)) {
        cr_assert_lt(count, TOKENS_MAX - 1);
        cr_assert_gt(t.text.size, 0, "a token moves on");
        cr_assert_geq((size_t)(t.text.data - copy.data), at, "tokens do not overlap");
        at = (size_t)(t.text.data - copy.data) + t.text.size;
        cr_assert_eq(at, l.at);
        kinds[count++] = letter_of(t.kind);
    }
    kinds[count] = 0;
    bytes_free(copy);
}

Test(sql_lexer, tokens_are_those_of_the_servers_scanner)
{
    static const struct {
        const char *name, *sql, *want;
    } rows[] = {
        { "nothing", " \t\r\n\f", "" },
        { "words and symbols", "SELECT a.b, c$d_9 FROM (é)", "ww+w+ww+w+" },
        { "numbers", "1 1.5 .5 1e3 1E-3 0x1F 1_000 5. 1.2.3", "1111111111" },
        { "a range in PL/pgSQL", "1..10", "1+1" },
        { "a sign is no part of a number", "-1", "+1" },
        { "no exponent, but a comment", "1e--3\n4", "11" },
        { "parameters", "$1 $22+$3", "$$+$" },
        { "strings", "'a' '' 'it''s' E'\\'' n'x' $$ $x$ $$", "sssswss" },
        { "a backslash is a letter", "'\\' 'a'", "ss" },
        { "a backslash is none in E''", "E'\\' 'a'", "sw!" },
        { "two backslashes", "E'\\\\' a", "sw" },
        { "the last byte is a backslash", "E'\\", "!" },
        { "bits", "B'01' x'1F' B'1''1'", "bbbs" },
        { "unicode", "U&'\\0061' u&\"a\" U&x u & 'x'", "snw+ww+s" },
        { "an E that ends a word", "nameE'\\'", "ws" },
        { "an E behind a dollar quote", "$$x$$E'\\''", "ss" },
        { "names", "\"a\" \"a\"\"b\" \"\"", "nnn" },
        { "tags", "$a$ $b$ $$ $a $a$ x", "sw" },
        { "a tag that cannot be one", "$1a$ $a-b$", "$w+w+w" },
        { "a tag overlaps with its end", "$$a$$$$b$$", "ss" },
        { "a dollar in a word opens nothing", "a$b$ c", "ww" },
        { "line comments", "a -- b 'c\n d --", "ww" },
        { "a carriage return ends one", "a -- b\rc", "ww" },
        { "nested comments", "a /* /* */ ' */ b /**/ c /***/ d /*/ */ e", "wwwww" },
        { "a comment inside an operator", "a +/* b */- c", "w++w" },
        { "unfinished", "a /* /* */", "w!" },
        { "unfinished string", "a 'b", "w!" },
        { "unfinished name", "a \"b\"\"", "w!" },
        { "unfinished dollar quote", "a $x$ $x", "w!" },
        { "cast", "a::b : :c", "w+w++w" },
        { "pieces", "'a'\n'b' 'c'", "ss" },
        { "pieces with comments between them", "'a' -- x\n -- y\n 'b'", "s" },
        { "no piece behind a block comment", "'a' /* \n */ 'b'", "ss" },
        { "no piece without a quote of its own", "'a'\nE'b'", "ss" },
        { "a piece of E'' has escapes too", "E'a'\n'\\'' b", "sw" },
        { "pieces end with the text", "'a' \n", "s" },
        { "pieces end in a comment", "'a' \n --", "s" },
        { "bits have pieces", "B'1'\n'0' b", "bw" },
    };
    struct sql_options options = standard();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char kinds[TOKENS_MAX];
        kinds_of(span_of(rows[i].sql), &options, kinds);
        cr_expect_str_eq(kinds, rows[i].want, "%s: %s, not %s", rows[i].name, kinds, rows[i].want);
    }
}

Test(sql_lexer, R13_backslashes_escape_when_standard_conforming_strings_is_off)
{
    struct sql_options options = standard();
    char kinds[TOKENS_MAX];
    options.standard_conforming_strings = false;
    kinds_of(span_of("'\\'' a 'b'\n'\\'' c"), &options, kinds);
    cr_expect_str_eq(kinds, "swsw");
    kinds_of(span_of("B'\\' x"), &options, kinds);
    cr_expect_str_eq(kinds, "bw", "bits have none");
    kinds_of(span_of("\"\\\" x $$\\$$ y"), &options, kinds);
    cr_expect_str_eq(kinds, "nwsw", "nor have names and dollar quotes");
}

/* 0x5C, a backslash, is the second byte of 表 in Shift JIS; 0x7C, a bar, of ポ. */
Test(sql_lexer, R13_second_bytes_that_look_like_ASCII_are_no_ASCII)
{
    static const struct {
        const char *encoding;
        struct span sql;
        const char *want;
    } rows[] = {
        { "SJIS", BYTES_INIT("E'\x95\x5c' a"), "sw" },
        { "SJIS", BYTES_INIT("E'\x95\\\\' a"), "!" },
        { "SJIS", BYTES_INIT("\x83\x7c x"), "ww" },
        { "SJIS", BYTES_INIT("E'\xb1' a"), "sw" }, /* half-width kana: one byte */
        { "BIG5", BYTES_INIT("E'\xb3\x5c' a"), "sw" },
        { "GBK", BYTES_INIT("E'\x81\x5c' a"), "sw" },
        { "UHC", BYTES_INIT("E'\x81\x41' a"), "sw" },
        { "GB18030", BYTES_INIT("E'\x81\x30\x81\x30' \x81\x5c"), "sw" },
        { "LATIN1", BYTES_INIT("E'\x95\x5c' a"), "!" },
        { "SQL_ASCII", BYTES_INIT("E'\x95\x5c' a"), "!" },
        { "UTF8", BYTES_INIT("E'\xc3\xa9\\' a"), "!" },
        { "SJIS", BYTES_INIT("E'\x95"), "!" }, /* the last character is cut */
        { "SJIS", BYTES_INIT("\x95"), "w" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sql_options options = { true, encoding_find(span_of(rows[i].encoding)) };
        char kinds[TOKENS_MAX];
        kinds_of(rows[i].sql, &options, kinds);
        cr_expect_str_eq(kinds, rows[i].want, "%zu %s: %s, not %s", i, rows[i].encoding, kinds, rows[i].want);
    }
}

Test(sql_lexer, a_statement_begins_behind_everything_that_is_empty)
{
    static const struct {
        const char *sql;
        size_t want;
    } rows[] = {
        { "", 0 },         { "  ", 2 },     { ";;", 2 },   { " ; -- x\n;/* y */ a", 17 },
        { "/* a */b", 7 }, { "/* a", 0 },   { "-- a", 4 }, { "- a", 0 },
        { "/a", 0 },       { "\v\f;a", 3 },
    };
    struct sql_options options = standard();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct span copy = bytes_exact(span_of(rows[i].sql));
        struct sql_lexer l;
        sql_lexer_init(&l, copy, &options);
        cr_expect_eq(sql_skip_empty(&l, 0), rows[i].want, "%s", rows[i].sql);
        bytes_free(copy);
    }
}

/* The end is found sixteen bytes at a time, and a quote is told by looking back: so everything has to stand at every offset. */
Test(sql_lexer, the_end_is_found_wherever_it_stands)
{
    static const struct {
        const char *statement, *blank, *rest;
    } rows[] = {
        { "a", "", "" },
        { "a", "", ";" },
        { "a", " \n", ";b" },
        { "';'", "", ";b" },
        { "E'\\';'", "", ";b" },
        { "xE'\\'", "", ";b" },
        { "U&'\\'", "", ";b" },
        { "xU&'\\'", "", ";b" },
        { "B'1'';'", "", ";b" },
        { "\";\"\";\"", "", ";b" },
        { "$$;$$", "", ";b" },
        { "$$;$$E'\\';'", "", ";b" },
        { "$x$;$$;$x;$x$", "", ";b" },
        { "x$$", "", ";b" },
        { "$1", "", ";b" },
        { "a", "--;\n", ";b" },
        { "a", "/*;*/", ";b" },
        { "a-b/c", "", ";b" },
        { "a", " /**/ /**/ -- x\n ", ";b" },
        { "a /**/ c", " /**/", ";b" },
        { "/a", "", ";b" },
        { "a#%&b", "", ";b" },
        { "E'a'\n'\\';'", "", ";b" },
        { "a /* b;", "", "" },
        { "a ';b ", "", "" },
        { "a $x$;$x ", "", "" },
        { "a \";", "", "" },
        { "a", " -- b;", "" },
        { "a", " -- b \r\n ", ";c" },
        { "a", "--\t\r--\n", ";c" },
        { "a (", "", ";b" },
    };
    struct sql_options options = standard();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t before = 0; before < 40; before++) {
            char text[128];
            snprintf(text, sizeof text, "%*s%s%s%s", (int)before, before > 1 ? "z " : "", rows[i].statement,
                     rows[i].blank, rows[i].rest);
            size_t end = before + strlen(rows[i].statement);
            size_t next = end + strlen(rows[i].blank) + (rows[i].rest[0] == ';');
            struct span copy = bytes_exact(span_of(text));
            struct sql_lexer l;
            sql_lexer_init(&l, copy, &options);
            struct sql_extent e = sql_find_end(&l, 0);
            cr_assert_eq(e.end, end, "'%s' ends at %zu, not %zu", text, e.end, end);
            cr_assert_eq(sql_find_next(&l, 0), next, "what follows '%s'", text);
            cr_assert_eq(e.next, next, "what follows '%s' is at %zu, not %zu", text, e.next, next);
            bytes_free(copy);
        }
    }
}

Test(sql_lexer, R13_CREATE_may_hold_semicolons_of_its_own)
{
    static const struct {
        const char *name, *sql; /* up to the first `;;` it is one statement */
    } rows[] = {
        { "a rule's actions", "create rule r as on insert to t do also (select 1; notify x);; rest" },
        { "nested parentheses", "create or replace rule r as on insert to t do (insert into t values (1); ());; rest" },
        { "parentheses that never opened", "create table t );; rest" },
        { "a body", "create function f() returns int begin atomic select 1; select 2; end;; rest" },
        { "an empty body", "CREATE OR REPLACE PROCEDURE p() BEGIN ATOMIC END;; rest" },
        { "comments everywhere", "create/**/or--\nreplace/**/function f()begin/*;*/atomic;end/**/;; rest" },
        { "CASE has an END too", "create function f() begin atomic select case when a then 1 end; end;; rest" },
        { "a column called end", "create function f() begin atomic select 1 as end; select 2 end; end;; rest" },
        { "END at the start of nothing", "create function f() begin atomic (select 1) end; end;; rest" },
        { "a body in a body",
          "create function f() begin atomic create function g() begin atomic select 1; end; select 2; end;; rest" },
        { "rules in a body",
          "create function f() begin atomic create rule r as on select to t do (a; end); end;; rest" },
        { "an argument called begin", "create function f(begin atomic) returns int as 'x';; rest" },
        { "a result called begin", "create function f() returns begin.atomic as 'x';; rest" },
        { "a quoted body", "create function f() returns begin \"x\" atomic as 'x';; rest" },
        { "no routine", "create table begin atomic;; rest" },
        { "no routine either", "create or function f() begin atomic;; rest" },
        { "not replaced", "create or replace or function f() begin atomic;; rest" },
    };
    struct sql_options options = standard();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct span copy = bytes_exact(span_of(rows[i].sql));
        struct sql_lexer l;
        sql_lexer_init(&l, copy, &options);
        size_t want = (size_t)(strstr(rows[i].sql, ";;") - rows[i].sql);
        struct sql_extent e = sql_find_create_end(&l, 0);
        cr_expect_eq(e.next, want + 1, "%s: %zu, not %zu", rows[i].name, e.next, want + 1);
        cr_expect_leq(e.end, want, "%s", rows[i].name);
        bytes_free(copy);
    }
}

Test(sql_lexer, a_body_that_never_ends_takes_the_rest)
{
    struct sql_options options = standard();
    struct sql_lexer l;
    sql_lexer_init(&l, span_of("create function f() begin atomic select 1; select 2 "), &options);
    struct sql_extent e = sql_find_create_end(&l, 0);
    cr_expect_eq(e.next, l.text.size);
    cr_expect_eq(e.end, l.text.size - 1);
}

Test(sql_lexer, words_are_compared_without_case)
{
    cr_expect(sql_word_is(span_of("SeLeCt"), "select"));
    cr_expect_not(sql_word_is(span_of("selec"), "select"));
    cr_expect_not(sql_word_is(span_of("selects"), "select"));
    cr_expect_not(sql_word_is(span_of("\x13\x05lect"), "select"), "only letters have a case");
}

Test(sql_lexer, a_keyword_is_told_by_its_first_eight_letters_and_its_end)
{
    static const struct {
        const char *sql;
        uint64_t key;
        size_t end;
    } rows[] = {
        { "BEGIN", SQL_KEY('b', 'e', 'g', 'i', 'n', 0, 0, 0), 5 },
        { "begin;", SQL_KEY('b', 'e', 'g', 'i', 'n', 0, 0, 0), 5 },
        { "Begin work", SQL_KEY('b', 'e', 'g', 'i', 'n', 0, 0, 0), 5 },
        { "begin_work", 0, 10 },
        { "begin$1 x", 0, 7 },
        { "begin1", 0, 6 },
        { "beginé", 0, 7 },
        { "rollback", SQL_KEY('r', 'o', 'l', 'l', 'b', 'a', 'c', 'k'), 8 },
        { "ROLLBACK to", SQL_KEY('r', 'o', 'l', 'l', 'b', 'a', 'c', 'k'), 8 },
        { "Deallocate all", SQL_KEY('d', 'e', 'a', 'l', 'l', 'o', 'c', 'a'), 10 },
        { "deallocat_", SQL_KEY('d', 'e', 'a', 'l', 'l', 'o', 'c', 'a'), 10 },
        { "", 0, 0 },
        { "(select", 0, 0 },
        { "1", 0, 0 },
        { "_a", 0, 2 },
        { "a@b[c`d{", SQL_KEY('a', 0, 0, 0, 0, 0, 0, 0), 1 },
        { "z[", SQL_KEY('z', 0, 0, 0, 0, 0, 0, 0), 1 },
        { "\x13", 0, 0 },
    };
    struct sql_options options = standard();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct span copy = bytes_exact(span_of(rows[i].sql));
        struct sql_lexer l;
        size_t end;
        sql_lexer_init(&l, copy, &options);
        cr_expect_eq(sql_keyword_key(&l, 0, &end), rows[i].key, "%s", rows[i].sql);
        cr_expect_eq(end, rows[i].end, "%s ends at %zu", rows[i].sql, end);
        bytes_free(copy);
    }
}

Test(sql_words, keywords_know_where_they_may_stand)
{
    cr_expect(sql_word_can_be_name(span_of("savepoint")));
    cr_expect(sql_word_can_be_name(span_of("between")), "kept for columns, but a name");
    cr_expect_not(sql_word_can_be_name(span_of("SELECT")));
    cr_expect_not(sql_word_can_be_name(span_of("verbose")));
    cr_expect(sql_word_can_be_value(span_of("verbose")));
    cr_expect_not(sql_word_can_be_value(span_of("user")));
    cr_expect(sql_word_can_be_bare_label(span_of("user")));
    cr_expect_not(sql_word_can_be_bare_label(span_of("From")));
    cr_expect(sql_word_can_be_bare_label(span_of("a_word_that_is_longer_than_any_keyword")));
    static const char *const reserved[] = { "all", "analyse", "current_timestamp", "with", "window", "do", "or" };
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
        cr_expect_not(sql_word_can_be_value(span_of(reserved[i])), "%s: is the table sorted?", reserved[i]);
}
