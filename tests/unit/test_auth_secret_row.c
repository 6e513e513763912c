/* What auth queries answer, made by hand. */
#include <criterion/criterion.h>

#include "protocol/wire.h"
#include "proxy/auth/secret_row.h"

enum { NAME = 19, TEXT = 25, INT4 = 23, TIMESTAMP = 1114, TIMESTAMPTZ = 1184 };

/* A result of `count` columns of these types. */
static PGresult *result_of(const Oid *types, int count)
{
    PGresult *r = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    PGresAttDesc columns[4] = { { 0 } };
    for (int i = 0; i < count; i++) {
        columns[i].name = "c";
        columns[i].typid = types[i];
        columns[i].format = 1;
    }
    cr_assert(PQsetResultAttrs(r, count, columns));
    return r;
}

static void set_text(PGresult *r, int row, int column, const char *text)
{
    cr_assert(PQsetvalue(r, row, column, (char *)text, text ? (int)strlen(text) : -1));
}

static void set_time(PGresult *r, uint64_t us)
{
    char bytes[8];
    wire_put_u32(bytes, (uint32_t)(us >> 32));
    wire_put_u32(bytes + 4, (uint32_t)us);
    cr_assert(PQsetvalue(r, 0, 2, bytes, sizeof bytes));
}

Test(auth_secret_row, P9_a_row_gives_the_secret_of_whom_was_asked_for)
{
    PGresult *r = result_of((Oid[]){ NAME, TEXT }, 2);
    struct secret_row row;

    cr_assert(secret_row_read(r, "zoe", &row));
    cr_expect_null(row.secret);
    cr_expect_str_eq(row.why, "there is no such user");

    set_text(r, 0, 0, "zoe");
    set_text(r, 0, 1, "xyzzy");
    cr_assert(secret_row_read(r, "zoe", &row));
    cr_expect_str_eq(row.secret, "xyzzy");
    cr_expect_eq(row.valid_until, UINT64_MAX);
    PQclear(r);
}

Test(auth_secret_row, P9_an_answer_for_another_user_is_nobodys)
{
    static const char *const others[] = { "joe", "Zoe", "zoe ", "zo", "", NULL };

    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        PGresult *r = result_of((Oid[]){ TEXT, TEXT }, 2);
        struct secret_row row;
        set_text(r, 0, 0, others[i]);
        set_text(r, 0, 1, "xyzzy");
        cr_assert(secret_row_read(r, "zoe", &row));
        cr_expect_null(row.secret);
        cr_expect_str_eq(row.why, "the auth query has answered for another user");
        PQclear(r);
    }
}

Test(auth_secret_row, P9_a_user_without_a_password_has_no_secret)
{
    PGresult *r = result_of((Oid[]){ TEXT, TEXT }, 2);
    struct secret_row row;

    set_text(r, 0, 0, "zoe");
    set_text(r, 0, 1, NULL);
    cr_assert(secret_row_read(r, "zoe", &row));
    cr_expect_null(row.secret);
    cr_expect_str_eq(row.why, "the user has no password");
    PQclear(r);
}

Test(auth_secret_row, P9_valid_until_is_a_time_or_for_ever)
{
    static const struct {
        const char *name;
        int64_t us; /* since 2000 */
        uint64_t want;
    } rows[] = {
        { "2000", 0, UINT64_C(946684800000000) },
        { "1970", -INT64_C(946684800000000), 0 },
        { "1969", -INT64_C(946684800000001), 0 },
        { "a little later", 1, UINT64_C(946684800000001) },
        { "infinity", INT64_MAX, UINT64_MAX },
        { "-infinity", INT64_MIN, 0 },
        { "the year 294276", INT64_C(9223371331199999999), UINT64_MAX },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        PGresult *r = result_of((Oid[]){ NAME, TEXT, TIMESTAMPTZ }, 3);
        struct secret_row row;
        set_text(r, 0, 0, "zoe");
        set_text(r, 0, 1, "xyzzy");
        set_time(r, (uint64_t)rows[i].us);
        cr_assert(secret_row_read(r, "zoe", &row));
        cr_expect_eq(row.valid_until, rows[i].want, "%s", rows[i].name);
        PQclear(r);
    }
}

Test(auth_secret_row, P9_no_time_is_for_ever)
{
    PGresult *r = result_of((Oid[]){ NAME, TEXT, TIMESTAMPTZ }, 3);
    struct secret_row row;

    set_text(r, 0, 0, "zoe");
    set_text(r, 0, 1, "xyzzy");
    set_text(r, 0, 2, NULL);
    cr_assert(secret_row_read(r, "zoe", &row));
    cr_expect_eq(row.valid_until, UINT64_MAX);
    PQclear(r);
}

Test(auth_secret_row, P9_a_query_of_another_shape_is_a_mistake)
{
    static const struct {
        const char *name;
        Oid types[4];
        int count, rows;
        const char *want;
    } shapes[] = {
        { "one column", { TEXT }, 1, 1, "two columns" },
        { "no column", { 0 }, 0, 0, "two columns" },
        { "four columns", { TEXT, TEXT, TIMESTAMPTZ, TEXT }, 4, 1, "two columns" },
        { "a number", { INT4, TEXT }, 2, 1, "have to be text" },
        { "a number for a secret", { TEXT, INT4 }, 2, 1, "have to be text" },
        { "a time without a zone", { TEXT, TEXT, TIMESTAMP }, 3, 1, "timestamptz" },
        { "a time as text", { TEXT, TEXT, TEXT }, 3, 1, "timestamptz" },
        { "two rows", { TEXT, TEXT }, 2, 2, "more than one row" },
    };

    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        PGresult *r = result_of(shapes[i].types, shapes[i].count);
        struct secret_row row;
        for (int j = 0; j < shapes[i].rows; j++)
            for (int k = 0; k < shapes[i].count; k++)
                set_text(r, j, k, "zoe");
        cr_expect(!secret_row_read(r, "zoe", &row), "%s", shapes[i].name);
        cr_expect_not_null(strstr(row.why, shapes[i].want), "%s: %s", shapes[i].name, row.why);
        cr_expect_null(row.secret);
        PQclear(r);
    }
}
