/* The prepared statements of one client, by the names that it gave them. */
#ifndef PROXY_LINK_HANDLES_H
#define PROXY_LINK_HANDLES_H

#include "proxy/link/statements.h"

/* A client that prepares more than so many is told that it has too many. */
enum { HANDLES_MAX = 10000 };

struct handle {
    struct handle *next;
    struct shared_statement *statement; /* a reference */
    uint32_t hash;
    uint32_t changes; /* of the statement, that the client knows of */
    char name[];      /* NUL-terminated */
};

struct handles {
    struct handle **buckets;
    size_t bucket_count, count;
};

/* NULL: the client has none of that name. */
struct shared_statement *handles_find(const struct handles *h, struct span name);
/* Whether its columns have changed since the client was last told of it, as it is now: rows would not be what it takes them for. */
bool handles_tell_change(const struct handles *h, struct span name);
/* The columns of the statement with this id have changed. The client has been told. */
void handles_note_change(const struct handles *h, uint64_t id);
/* One whose statement has this name on servers; NULL: none of the client's has. Looks at all of them. */
const struct handle *handles_find_there(const struct handles *h, struct span name);
/* `name` stands for `take`, whose reference is taken, or (NULL) for nothing any more. What it stood for before, a reference
 * that is the caller's now, or NULL. */
struct shared_statement *handles_set(struct handles *h, struct span name, struct shared_statement *take);
void handles_free(struct handles *h, struct statements *all);

#endif
