/* A result as aligned text. */
#ifndef PROXY_OPS_TABLE_H
#define PROXY_OPS_TABLE_H

#include <libpq-fe.h>
#include <stdio.h>

/* The names of the first `columns` columns and the rows below them, in UTF-8, control characters escaped. */
void table_print(const PGresult *result, int columns, FILE *out);

#endif
