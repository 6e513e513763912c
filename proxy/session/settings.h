/* The settings that a client made inside an open request, outside its own transactions (R16).
 *
 * The client saw each SET succeed, and on plain PostgreSQL it would have been committed there and then. The rollback of the request
 * undoes them on the server; so they are remembered as they were written and said again behind the ROLLBACK. What the client's own
 * savepoints or the failure of its string have undone is forgotten, for that would be gone on plain PostgreSQL, too. */
#ifndef PROXY_SESSION_SETTINGS_H
#define PROXY_SESSION_SETTINGS_H

#include "protocol/buffer.h"

struct setting {
    char *name; /* folded; "" for forms without one */
    char *sql;
    size_t depth; /* how many savepoints stood when it was made */
    bool fresh;   /* in the Query, or the messages up to Sync, that has not ended yet */
};

/* More of them in one request are refused. */
enum { SETTINGS_MAX = 1000 };

struct settings {
    struct setting *list;
    size_t count, capacity;
};

/* Copies both. */
void settings_remember(struct settings *s, struct span name, struct span sql, size_t depth);
/* Its Query, or the messages up to Sync, have ended. When that went well, the newest statement for a name takes the place of the older. */
void settings_end_unit(struct settings *s, bool failed);
/* `depth` savepoints stand now: those behind them were released. */
void settings_release(struct settings *s, size_t depth);
/* The server rolled back to the savepoint at place `depth`, counted from 1. */
void settings_rollback_to(struct settings *s, size_t depth);
void settings_forget(struct settings *s);
void settings_free(struct settings *s);
/* All of them as one string of statements, appended; nothing when there are none. */
void settings_append(const struct settings *s, struct buffer *out);

#endif
