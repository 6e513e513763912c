/* The prepared statements of one client, by the names that it gave them. */
#ifndef PROXY_LINK_HANDLES_H
#define PROXY_LINK_HANDLES_H

#include "proxy/link/statements.h"

/* A client that prepares more than so many, or so much, or so long a text, is told so. */
enum { HANDLES_MAX = 10000, HANDLES_BYTES_MAX = 64 * 1024 * 1024, HANDLE_BYTES_MAX = 16 * 1024 * 1024 };

struct handle {
    struct handle *next;
    struct shared_statement *statement; /* a reference */
    uint32_t hash;
    uint32_t changes; /* of the statement, that the client knows of */
    char name[];      /* NUL-terminated */
};

struct handles {
    struct handle **buckets;
    size_t bucket_count, count, bytes;
};

/* One more of so many bytes, with its name. */
static inline bool handles_have_room(const struct handles *h, size_t size)
{
    return h->count < HANDLES_MAX && size <= HANDLE_BYTES_MAX && h->bytes + size <= HANDLES_BYTES_MAX;
}

/* NULL: the client has none of that name. */
struct shared_statement *handles_find(const struct handles *h, struct span name);
/* Whether its columns have changed since the client was last told of it, as it is now: rows would not be what it takes them for. */
bool handles_tell_change(const struct handles *h, struct span name);
/* The columns of the statement with this id have changed, and nobody knows to what. The client has been told. */
void handles_note_change(const struct handles *h, uint64_t id);
/* The client knows them as they are now, if the name still stands for that statement. */
void handles_see(const struct handles *h, struct span name, const struct shared_statement *s);
/* What the client knows of them is not what they are. */
void handles_outdate(const struct handles *h, struct span name);
/* One whose statement has this name on servers; NULL: none of the client's has. Looks at all of them. */
const struct handle *handles_find_there(const struct handles *h, struct span name);
/* `name` stands for `take`, whose reference is taken, or (NULL) for nothing any more. What it stood for before, a reference
 * that is the caller's now, or NULL. */
struct shared_statement *handles_set(struct handles *h, struct span name, struct shared_statement *take);
void handles_free(struct handles *h, struct statements *all);

#endif
