#include "proxy/link/statements.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "protocol/memory.h"
#include "protocol/statement_state.h"

enum {
    UNUSED_MAX = 1000, /* kept for who comes back */
    UNUSED_BYTES_MAX = 4 * 1024 * 1024,
    FIRST_BUCKETS = 64
};

struct statements {
    struct shared_statement **buckets;
    size_t bucket_count; /* a power of two */
    size_t count;
    struct shared_statement *newest_unused, *oldest_unused;
    size_t unused_count, unused_bytes;
};

struct statements *statements_new(void)
{
    struct statements *all = or_abort(calloc(1, sizeof *all));
    all->bucket_count = FIRST_BUCKETS;
    all->buckets = or_abort(calloc(FIRST_BUCKETS, sizeof(struct shared_statement *)));
    return all;
}

void statements_free(struct statements *all)
{
    if (all == NULL)
        return;
    for (size_t i = 0; i < all->bucket_count; i++) {
        while (all->buckets[i] != NULL) {
            struct shared_statement *s = all->buckets[i];
            all->buckets[i] = s->next_in_bucket;
            free(s);
        }
    }
    free(all->buckets);
    free(all);
}

/* --- the table --------------------------------------------------------------------------------------- */

/* FNV-1a over words. Only a client's own texts share its chains with others', and their number is bounded. */
static uint64_t hash_of(struct span body)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    size_t at = 0;
    for (; at + 8 <= body.size; at += 8) {
        uint64_t word;
        memcpy(&word, body.data + at, 8);
        hash = (hash ^ word) * UINT64_C(0x100000001b3);
        hash ^= hash >> 29;
    }
    for (; at < body.size; at++)
        hash = (hash ^ (unsigned char)body.data[at]) * UINT64_C(0x100000001b3);
    return hash ^ hash >> 32;
}

static struct shared_statement **bucket_of(const struct statements *all, uint64_t hash)
{
    return &all->buckets[hash & (all->bucket_count - 1)];
}

static void grow(struct statements *all)
{
    struct shared_statement **old = all->buckets;
    size_t old_count = all->bucket_count;
    all->bucket_count *= 2;
    all->buckets = or_abort(calloc(all->bucket_count, sizeof(struct shared_statement *)));
    for (size_t i = 0; i < old_count; i++) {
        while (old[i] != NULL) {
            struct shared_statement *s = old[i], **bucket = bucket_of(all, s->hash);
            old[i] = s->next_in_bucket;
            s->next_in_bucket = *bucket;
            *bucket = s;
        }
    }
    free(old);
}

static void drop(struct statements *all, struct shared_statement *s)
{
    struct shared_statement **at = bucket_of(all, s->hash);
    while (*at != s)
        at = &(*at)->next_in_bucket;
    *at = s->next_in_bucket;
    all->count--;
    free(s);
}

/* --- those that nobody uses ---------------------------------------------------------------------------- */

static void take_from_unused(struct statements *all, struct shared_statement *s)
{
    *(s->newer != NULL ? &s->newer->older : &all->newest_unused) = s->older;
    *(s->older != NULL ? &s->older->newer : &all->oldest_unused) = s->newer;
    s->newer = s->older = NULL;
    all->unused_count--;
    all->unused_bytes -= s->size;
}

static void add_to_unused(struct statements *all, struct shared_statement *s)
{
    s->older = all->newest_unused;
    *(s->older != NULL ? &s->older->newer : &all->oldest_unused) = s;
    all->newest_unused = s;
    all->unused_count++;
    all->unused_bytes += s->size;
    while (all->unused_count > UNUSED_MAX || (all->unused_bytes > UNUSED_BYTES_MAX && all->unused_count > 0)) {
        struct shared_statement *oldest = all->oldest_unused;
        take_from_unused(all, oldest);
        drop(all, oldest);
    }
}

/* --- sharing ------------------------------------------------------------------------------------------- */

static uint64_t next_id(void)
{
    static atomic_uint_fast64_t last;
    return atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) + 1;
}

static struct shared_statement *find(const struct statements *all, struct span body, uint64_t hash, bool by_sql,
                                     const struct sql_options *options)
{
    for (struct shared_statement *s = *bucket_of(all, hash); s != NULL; s = s->next_in_bucket)
        if (s->hash == hash && s->by_sql == by_sql && s->encoding == options->encoding &&
            s->standard_conforming_strings == options->standard_conforming_strings &&
            span_equal(span_make(s->body, s->size), body))
            return s;
    return NULL;
}

static void on_state(void *owner, const struct statement_state *state)
{
    (void)state;
    *(bool *)owner = true;
}

/* The quick look knows nothing of the end of a PREPARE. */
static bool leaves_state(const struct shared_statement *s, const struct sql_options *options)
{
    bool found = false;
    if (!s->by_sql)
        return statement_may_leave_state(shared_statement_text(s));
    statement_states(shared_statement_text(s), options, on_state, &found);
    return found;
}

static struct shared_statement *add(struct statements *all, struct span body, uint64_t hash, bool by_sql,
                                    const struct sql_options *options)
{
    if (all->count >= all->bucket_count)
        grow(all);
    struct shared_statement *s = or_abort(malloc(sizeof *s + body.size)), **bucket = bucket_of(all, hash);
    *s = (struct shared_statement){ .next_in_bucket = *bucket,
                                    .id = next_id(),
                                    .hash = hash,
                                    .encoding = options->encoding,
                                    .standard_conforming_strings = options->standard_conforming_strings,
                                    .size = body.size,
                                    .by_sql = by_sql };
    statement_server_name(s->id, s->name);
    memcpy(s->body, body.data, body.size);
    s->leaves_state = leaves_state(s, options);
    *bucket = s;
    all->count++;
    return s;
}

void statement_server_name(uint64_t id, char name[STATEMENT_NAME_SIZE])
{
    snprintf(name, STATEMENT_NAME_SIZE, "pgatomic_%llu", (unsigned long long)id);
}

struct shared_statement *statements_share(struct statements *all, struct span body, bool by_sql,
                                          const struct sql_options *options)
{
    uint64_t hash = hash_of(body);
    struct shared_statement *s = find(all, body, hash, by_sql, options);
    if (s == NULL)
        s = add(all, body, hash, by_sql, options);
    else if (s->references == 0)
        take_from_unused(all, s);
    s->references++;
    return s;
}

void statements_release(struct statements *all, struct shared_statement *s)
{
    if (--s->references == 0)
        add_to_unused(all, s);
}
