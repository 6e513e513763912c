/* The list of actions and its arena.
 *
 * A list lives as long as the thread that performs it and is filled and cleared for every batch of input, so clearing gives
 * back only what a batch needed beyond the usual: the list keeps its capacity, the arena its first chunk, and a steady
 * stream of ordinary queries allocates nothing.
 *
 * Two adjacent spans for one side become one action. That is right as long as nothing between them has to happen between
 * them: bytes for the other side do not matter, everything else does (events are published before the reply that
 * tells of their COMMIT, E6). */
#include "proxy/session/actions.h"

#include <stdlib.h>

#include "protocol/memory.h"

enum { CHUNK_SIZE = 4096, FIRST_CAPACITY = 16 };

struct arena_chunk {
    struct arena_chunk *next; /* older chunks; the first one that was made is the last of the chain */
    size_t size, capacity;
    char data[];
};

static struct arena_chunk *chunk_new(size_t capacity, struct arena_chunk *next)
{
    struct arena_chunk *chunk = or_abort(malloc(sizeof *chunk + capacity));
    chunk->next = next;
    chunk->size = 0;
    chunk->capacity = capacity;
    return chunk;
}

static void let_go(struct action *action)
{
    notification_list_free(action->events);
    if (action->request != NULL)
        request_release(action->request);
}

void actions_clear(struct actions *a)
{
    for (size_t i = 0; a->has_other && i < a->count; i++)
        let_go(&a->list[i]);
    a->count = 0;
    a->has_other = false;
    if (a->chunks == NULL)
        return;
    while (a->chunks->next != NULL) {
        struct arena_chunk *newest = a->chunks;
        a->chunks = newest->next;
        free(newest);
    }
    a->chunks->size = 0;
}

void actions_free(struct actions *a)
{
    actions_clear(a);
    free(a->chunks);
    free(a->list);
    *a = (struct actions){ 0 };
}

struct action *actions_add(struct actions *a, enum action_kind kind)
{
    if (a->count == a->capacity) {
        a->capacity = a->capacity == 0 ? FIRST_CAPACITY : a->capacity * 2;
        a->list = or_abort(realloc(a->list, a->capacity * sizeof *a->list));
    }
    struct action *action = &a->list[a->count++];
    *action = (struct action){ .kind = kind };
    a->has_other |= kind != ACTION_TO_SERVER && kind != ACTION_TO_CLIENT;
    return action;
}

/* The last action of the side `kind`, with nothing but the other side's bytes behind it; NULL: there is none. */
static inline struct action *last_of(struct actions *a, enum action_kind kind, enum action_kind other)
{
    for (size_t i = a->count; i-- > 0;) {
        if (a->list[i].kind == kind)
            return &a->list[i];
        if (a->list[i].kind != other)
            return NULL;
    }
    return NULL;
}

static inline void add_bytes(struct actions *a, enum action_kind kind, enum action_kind other, struct span bytes)
{
    if (bytes.size == 0)
        return;
    struct action *last = last_of(a, kind, other);
    if (last != NULL && last->bytes.data + last->bytes.size == bytes.data)
        last->bytes.size += bytes.size;
    else
        actions_add(a, kind)->bytes = bytes;
}

void actions_to_server(struct actions *a, struct span bytes)
{
    add_bytes(a, ACTION_TO_SERVER, ACTION_TO_CLIENT, bytes);
}

void actions_to_client(struct actions *a, struct span bytes)
{
    add_bytes(a, ACTION_TO_CLIENT, ACTION_TO_SERVER, bytes);
}

char *actions_room(struct actions *a, size_t size)
{
    struct arena_chunk *chunk = a->chunks;
    if (chunk == NULL || chunk->capacity - chunk->size < size)
        a->chunks = chunk = chunk_new(size > CHUNK_SIZE ? size : CHUNK_SIZE, chunk);
    chunk->size += size;
    return chunk->data + chunk->size - size;
}

struct span actions_keep(struct actions *a, struct span bytes)
{
    char *copy = actions_room(a, bytes.size);
    if (bytes.size > 0)
        memcpy(copy, bytes.data, bytes.size);
    return span_make(copy, bytes.size);
}
