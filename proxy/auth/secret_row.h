/* What an auth query has answered: the name, the secret, and perhaps until when it is valid. */
#ifndef PROXY_AUTH_SECRET_ROW_H
#define PROXY_AUTH_SECRET_ROW_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

struct secret_row {
    const char *secret;   /* borrowed from the result; NULL: there is none, or it is nobody's */
    const char *why;      /* without a secret: why not */
    uint64_t valid_until; /* µs since 1970; UINT64_MAX: for ever */
};

/* `result` is in the binary format. False: it is not what an auth query gives, and out->why says how. */
bool secret_row_read(const PGresult *result, const char *user, struct secret_row *out);

#endif
