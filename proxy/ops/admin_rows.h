/* Rows of a result, written column by column as the client wants each: in text or in binary.
 *
 *     rows_begin(&r);  rows_text(&r, name);  rows_number(&r, count);  rows_end(&r);
 *
 * There are two types: text, which is the same in both formats, and int8. */
#ifndef PROXY_OPS_ADMIN_ROWS_H
#define PROXY_OPS_ADMIN_ROWS_H

#include <stdbool.h>

#include "protocol/buffer.h"

struct admin_column {
    const char *name;
    bool is_number;
};

enum { ADMIN_COLUMNS_MOST = 64 };

struct admin_rows {
    struct buffer *out;
    const struct admin_column *columns; /* the last one's name is NULL */
    uint64_t binary;                    /* bit n: column n is wanted in binary */
    size_t count;                       /* of rows */
    size_t start, column;               /* of the row under way */
};

size_t admin_columns_count(const struct admin_column *columns);
/* Appends a RowDescription. */
void rows_describe(struct buffer *out, const struct admin_column *columns, uint64_t binary);

void rows_begin(struct admin_rows *r);
void rows_text(struct admin_rows *r, const char *value);
void rows_span(struct admin_rows *r, struct span value);
void rows_number(struct admin_rows *r, uint64_t value);
void rows_bool(struct admin_rows *r, bool value);  /* as text: yes or no */
void rows_time(struct admin_rows *r, uint64_t us); /* a time (clock.h), by the wall clock, as text; 0: NULL */
void rows_id(struct admin_rows *r, const unsigned char *id);
void rows_null(struct admin_rows *r);
void rows_end(struct admin_rows *r); /* every column was written */

#endif
