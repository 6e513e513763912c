#include "proxy/auth/secret_row.h"

#include <string.h>

#include "protocol/wire.h"

/* Types, by their numbers in pg_type. */
enum { TYPE_NAME = 19, TYPE_TEXT = 25, TYPE_VARCHAR = 1043, TYPE_TIMESTAMPTZ = 1184 };

#define EPOCH_US (UINT64_C(946684800) * 1000000) /* PostgreSQL's, the year 2000 */

static bool is_text(const PGresult *result, int column)
{
    Oid type = PQftype(result, column);
    return type == TYPE_NAME || type == TYPE_TEXT || type == TYPE_VARCHAR;
}

/* A timestamptz is a count of µs since 2000; its ends stand for -infinity and infinity. */
static uint64_t read_time(const PGresult *result)
{
    if (PQgetisnull(result, 0, 2) || PQgetlength(result, 0, 2) != 8)
        return UINT64_MAX;
    const char *value = PQgetvalue(result, 0, 2);
    int64_t us = (int64_t)((uint64_t)wire_get_u32(value) << 32 | wire_get_u32(value + 4));
    if (us >= INT64_MAX - (int64_t)EPOCH_US)
        return UINT64_MAX;
    return us < -(int64_t)EPOCH_US ? 0 : (uint64_t)(us + (int64_t)EPOCH_US);
}

static const char *check_shape(const PGresult *result)
{
    int columns = PQnfields(result);
    if (columns < 2 || columns > 3)
        return "it has to give two columns, name and secret, or three, with the time until which it is valid";
    if (!is_text(result, 0) || !is_text(result, 1))
        return "its first two columns, name and secret, have to be text";
    if (columns == 3 && PQftype(result, 2) != TYPE_TIMESTAMPTZ)
        return "its third column, the time until which the secret is valid, has to be a timestamptz";
    if (PQntuples(result) > 1)
        return "it gave more than one row";
    return NULL;
}

bool secret_row_read(const PGresult *result, const char *user, struct secret_row *out)
{
    *out = (struct secret_row){ .why = check_shape(result), .valid_until = UINT64_MAX };
    if (out->why != NULL)
        return false;
    if (PQntuples(result) == 0)
        out->why = "there is no such user";
    else if (PQgetisnull(result, 0, 0) || strcmp(PQgetvalue(result, 0, 0), user) != 0)
        out->why = "the auth query has answered for another user";
    else if (PQgetisnull(result, 0, 1))
        out->why = "the user has no password";
    else
        out->secret = PQgetvalue(result, 0, 1);
    if (out->secret != NULL && PQnfields(result) == 3)
        out->valid_until = read_time(result);
    return true;
}
