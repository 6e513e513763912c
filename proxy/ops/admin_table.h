/* What SHOW shows: tables, each with its columns and the function that fills it.
 *
 * Columns are called as PgBouncer's are, where it has them. */
#ifndef PROXY_OPS_ADMIN_TABLE_H
#define PROXY_OPS_ADMIN_TABLE_H

#include "proxy/ops/admin_rows.h"
#include "proxy/ops/snapshot.h"

struct admin_table {
    const char *subject, *help;
    enum snapshot_scope scope; /* of the snapshot that it is made from */
    void (*fill)(struct admin_rows *r, const struct snapshot *s, const struct config *config);
    const struct admin_column *columns; /* the last one's name is NULL */
};

/* A column, and the end of a list of them. */
#define TEXT(column)  \
    {                 \
        column, false \
    }
#define NUMBER(column) \
    {                  \
        column, true   \
    }
#define END         \
    {               \
        NULL, false \
    }

/* Lists of tables; the last one's subject is NULL. */
extern const struct admin_table admin_request_tables[]; /* requests, events and what the config says of them */
extern const struct admin_table admin_pool_tables[];    /* clients, servers, pools */

/* NULL: nothing of that name is shown. `subject` in any case. */
const struct admin_table *admin_table_find(struct span subject);
/* The one at this place, in the order of SHOW HELP; NULL: there are not so many. */
const struct admin_table *admin_table_at(size_t index);

#endif
