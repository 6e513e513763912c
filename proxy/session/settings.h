/* The settings that a client made inside an open request, outside its own transactions (R16).
 *
 * The client saw each SET succeed, and on plain PostgreSQL it would have been committed there and then. The rollback of the request
 * undoes them on the server; so they are remembered as they were written and said again behind the ROLLBACK. */
#ifndef PROXY_SESSION_SETTINGS_H
#define PROXY_SESSION_SETTINGS_H

#include "protocol/buffer.h"

struct setting {
    char *name; /* folded; "" for forms without one */
    char *sql;
};

struct settings {
    struct setting *list;
    size_t count, capacity;
};

/* The newest statement for a name takes the place of the older. Copies both. */
void settings_remember(struct settings *s, struct span name, struct span sql);
void settings_forget(struct settings *s);
void settings_free(struct settings *s);
/* All of them as one string of statements, appended; nothing when there are none. */
void settings_append(const struct settings *s, struct buffer *out);

#endif
