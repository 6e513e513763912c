/* How the tests of statements look at one. */
#ifndef TESTS_UNIT_STATEMENTS_H
#define TESTS_UNIT_STATEMENTS_H

#include <criterion/criterion.h>
#include <stdio.h>

#include "protocol/statement.h"
#include "tests/unit/bytes.h"

static inline struct sql_options standard(void)
{
    return (struct sql_options){ .standard_conforming_strings = true, .encoding = encoding_utf8() };
}

/* The first statement of a copy in a block of exactly the text's size, which the caller frees. */
static inline struct span first(const char *sql, struct statement *out)
{
    struct sql_options options = standard();
    struct span copy = bytes_exact(span_of(sql));
    size_t offset = 0;
    memset(out, 0xA5, sizeof *out);
    cr_assert(statement_next(copy, &offset, &options, out), "%s", sql);
    return copy;
}

static inline enum statement_kind kind_of(const char *sql)
{
    struct statement s;
    bytes_free(first(sql, &s));
    return s.kind;
}

/* The decoded value, or "(none)", "(null)", "(bad)", "$n". */
static inline const char *value(const struct operand *o, char room[512])
{
    struct sql_options options = standard();
    struct buffer b = { 0 };
    switch (o->kind) {
    case OPERAND_NONE:
        return "(none)";
    case OPERAND_NULL:
        return "(null)";
    case OPERAND_PARAMETER:
        snprintf(room, 512, "$%u", o->parameter);
        return room;
    case OPERAND_NAME:
    case OPERAND_TEXT:
    case OPERAND_WORD:
        break;
    }
    bool decoded = operand_decode(o, &options, &b);
    snprintf(room, 512, "%.*s", (int)b.size, b.data);
    buffer_free(&b);
    return decoded ? room : "(bad)";
}

#define EXPECT_VALUE(operand, want, sql)                                     \
    do {                                                                     \
        char room[512];                                                      \
        const char *got = value(operand, room);                              \
        cr_expect_str_eq(got, want, "%s: <%s>, not <%s>", (sql), got, want); \
    } while (0)

struct kind_row {
    const char *sql;
    enum statement_kind want;
};

static inline void expect_kinds(const struct kind_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        enum statement_kind got = kind_of(rows[i].sql);
        cr_expect_eq(got, rows[i].want, "%s: kind %d, not %d", rows[i].sql, (int)got, (int)rows[i].want);
    }
}

#define EXPECT_KINDS(rows) expect_kinds(rows, sizeof rows / sizeof *rows)

#endif
