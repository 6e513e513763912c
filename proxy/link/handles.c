#include "proxy/link/handles.h"

#include <stdlib.h>

#include "protocol/memory.h"

enum { FIRST_BUCKETS = 8 };

static uint32_t hash_of(struct span name)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < name.size; i++)
        hash = (hash ^ (unsigned char)name.data[i]) * 16777619u;
    return hash;
}

/* The link to the one of this name, or to the end of its chain. There are buckets. */
static struct handle **place_of(const struct handles *h, struct span name, uint32_t hash)
{
    struct handle **at = &h->buckets[hash & (h->bucket_count - 1)];
    while (*at != NULL && !((*at)->hash == hash && span_is(name, (*at)->name)))
        at = &(*at)->next;
    return at;
}

struct shared_statement *handles_find(const struct handles *h, struct span name)
{
    if (h->count == 0)
        return NULL;
    const struct handle *found = *place_of(h, name, hash_of(name));
    return found != NULL ? found->statement : NULL;
}

static struct handle *find(const struct handles *h, struct span name)
{
    return h->count > 0 ? *place_of(h, name, hash_of(name)) : NULL;
}

bool handles_tell_change(const struct handles *h, struct span name)
{
    struct handle *found = find(h, name);
    if (found == NULL || found->changes == found->statement->changes)
        return false;
    found->changes = found->statement->changes;
    return true;
}

void handles_note_change(const struct handles *h, uint64_t id)
{
    struct shared_statement *changed = NULL;
    for (size_t i = 0; i < h->bucket_count; i++) {
        for (struct handle *at = h->buckets[i]; at != NULL; at = at->next) {
            if (at->statement->id != id)
                continue;
            if (changed == NULL)
                at->statement->changes++;
            changed = at->statement;
            if (changed->columns != COLUMNS_UNKNOWN)
                changed->columns = COLUMNS_CHANGED;
            at->changes = changed->changes;
        }
    }
}

void handles_see(const struct handles *h, struct span name, const struct shared_statement *s)
{
    struct handle *found = find(h, name);
    if (found != NULL && found->statement == s)
        found->changes = s->changes;
}

void handles_outdate(const struct handles *h, struct span name)
{
    struct handle *found = find(h, name);
    if (found != NULL)
        found->changes = found->statement->changes - 1;
}

const struct handle *handles_find_there(const struct handles *h, struct span name)
{
    for (size_t i = 0; i < h->bucket_count; i++)
        for (const struct handle *at = h->buckets[i]; at != NULL; at = at->next)
            if (span_is(name, at->statement->name))
                return at;
    return NULL;
}

static void grow(struct handles *h)
{
    struct handle **old = h->buckets;
    size_t old_count = h->bucket_count;
    h->bucket_count = old_count > 0 ? old_count * 2 : FIRST_BUCKETS;
    h->buckets = or_abort(calloc(h->bucket_count, sizeof(struct handle *)));
    for (size_t i = 0; i < old_count; i++) {
        while (old[i] != NULL) {
            struct handle *moved = old[i], **bucket = &h->buckets[moved->hash & (h->bucket_count - 1)];
            old[i] = moved->next;
            moved->next = *bucket;
            *bucket = moved;
        }
    }
    free(old);
}

static struct handle *new_handle(struct span name, uint32_t hash)
{
    struct handle *made = or_abort(malloc(sizeof *made + name.size + 1));
    *made = (struct handle){ .hash = hash };
    if (name.size > 0)
        memcpy(made->name, name.data, name.size);
    made->name[name.size] = '\0';
    return made;
}

struct shared_statement *handles_set(struct handles *h, struct span name, struct shared_statement *take)
{
    if (h->count >= h->bucket_count)
        grow(h);
    uint32_t hash = hash_of(name);
    struct handle **at = place_of(h, name, hash), *found = *at;
    struct shared_statement *before = found != NULL ? found->statement : NULL;
    h->bytes -= before != NULL ? name.size + before->size : 0;
    h->bytes += take != NULL ? name.size + take->size : 0;
    if (take == NULL) {
        if (found != NULL) {
            *at = found->next;
            h->count--;
            free(found);
        }
        return before;
    }
    if (found == NULL) {
        *at = found = new_handle(name, hash);
        h->count++;
    }
    found->statement = take;
    found->changes = take->changes;
    return before;
}

void handles_free(struct handles *h, struct statements *all)
{
    for (size_t i = 0; i < h->bucket_count; i++) {
        while (h->buckets[i] != NULL) {
            struct handle *first = h->buckets[i];
            h->buckets[i] = first->next;
            statements_release(all, first->statement);
            free(first);
        }
    }
    free(h->buckets);
    *h = (struct handles){ 0 };
}
