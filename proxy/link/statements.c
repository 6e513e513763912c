#include "proxy/link/statements.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "protocol/memory.h"
#include "protocol/statement_state.h"
#include "proxy/link/meaning.h"

/* Of the statements of a worker's clients, whoever uses them. */
#define BYTES_MAX ((size_t)1024 * 1024 * 1024)

enum {
    UNUSED_MAX = 1000, /* kept for who comes back */
    UNUSED_BYTES_MAX = 4 * 1024 * 1024,
    FIRST_BUCKETS = 64,
    MEANINGS_MAX = 1000, /* that are known; then all are forgotten */
    MEANING_BUCKETS = 64,
    MEANING_SIZE_MAX = 4096 /* longer settings are nobody else's */
};

/* What some settings were given as their number. */
struct meaning {
    struct meaning *next;
    uint64_t number;
    size_t size;
    char settings[];
};

struct statements {
    struct shared_statement **buckets;
    size_t bucket_count; /* a power of two */
    size_t count, bytes, bytes_max;
    struct shared_statement *newest_unused, *oldest_unused;
    size_t unused_count, unused_bytes;
    struct meaning *meanings[MEANING_BUCKETS];
    size_t meaning_count;
    uint64_t last_meaning; /* 0 is that of no settings */
    uint64_t of_one;       /* how many statements were nobody else's */
};

struct statements *statements_new(void)
{
    return statements_new_of(BYTES_MAX);
}

struct statements *statements_new_of(size_t bytes_max)
{
    struct statements *all = or_abort(calloc(1, sizeof *all));
    all->bytes_max = bytes_max;
    all->bucket_count = FIRST_BUCKETS;
    all->buckets = or_abort(calloc(FIRST_BUCKETS, sizeof(struct shared_statement *)));
    return all;
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

static uint64_t mix(uint64_t hash, uint64_t number)
{
    return hash ^ number * UINT64_C(0x9e3779b97f4a7c15);
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
    all->bytes -= sizeof *s + s->size;
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

static void drop_oldest_unused(struct statements *all)
{
    struct shared_statement *oldest = all->oldest_unused;
    take_from_unused(all, oldest);
    drop(all, oldest);
}

static void add_to_unused(struct statements *all, struct shared_statement *s)
{
    s->older = all->newest_unused;
    *(s->older != NULL ? &s->older->newer : &all->oldest_unused) = s;
    all->newest_unused = s;
    all->unused_count++;
    all->unused_bytes += s->size;
    while (all->unused_count > UNUSED_MAX || (all->unused_bytes > UNUSED_BYTES_MAX && all->unused_count > 0))
        drop_oldest_unused(all);
}

/* --- sharing ------------------------------------------------------------------------------------------- */

static uint64_t next_id(void)
{
    static atomic_uint_fast64_t last;
    return atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) + 1;
}

/* What a statement is known by. */
struct key {
    struct span body;
    uint64_t hash, meaning;
    const struct sql_options *options;
    uint32_t scope;
    bool by_sql;
};

static struct shared_statement *find(const struct statements *all, const struct key *key)
{
    for (struct shared_statement *s = *bucket_of(all, key->hash); s != NULL; s = s->next_in_bucket)
        if (s->hash == key->hash && s->by_sql == key->by_sql && s->meaning == key->meaning && s->scope == key->scope &&
            s->encoding == key->options->encoding &&
            s->standard_conforming_strings == key->options->standard_conforming_strings &&
            span_equal(span_make(s->body, s->size), key->body))
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

/* NULL: there is no room. */
static struct shared_statement *add(struct statements *all, const struct key *key)
{
    size_t size = sizeof(struct shared_statement) + key->body.size;
    while (size > all->bytes_max - all->bytes && all->unused_count > 0)
        drop_oldest_unused(all);
    if (size > all->bytes_max - all->bytes)
        return NULL;
    all->bytes += size;
    if (all->count >= all->bucket_count)
        grow(all);
    struct shared_statement *s = or_abort(malloc(size)), **bucket = bucket_of(all, key->hash);
    *s = (struct shared_statement){ .next_in_bucket = *bucket,
                                    .id = next_id(),
                                    .hash = key->hash,
                                    .meaning = key->meaning,
                                    .encoding = key->options->encoding,
                                    .standard_conforming_strings = key->options->standard_conforming_strings,
                                    .size = key->body.size,
                                    .scope = key->scope,
                                    .by_sql = key->by_sql };
    statement_server_name(s->id, s->name);
    memcpy(s->body, key->body.data, key->body.size);
    s->leaves_state = leaves_state(s, key->options);
    s->says_names = !s->by_sql && statement_says_names(shared_statement_text(s), key->options);
    *bucket = s;
    all->count++;
    return s;
}

/* Nobody else will find it. Many such may have the same text: they are not to stand in one bucket. */
static struct shared_statement *add_of_one(struct statements *all, struct key *key)
{
    key->meaning = MEANING_OF_ONE;
    key->hash = mix(key->hash, ++all->of_one);
    return add(all, key);
}

void statement_server_name(uint64_t id, char name[STATEMENT_NAME_SIZE])
{
    snprintf(name, STATEMENT_NAME_SIZE, "pgatomic_%llu", (unsigned long long)id);
}

static struct span text_of(const struct key *key)
{
    size_t size = key->by_sql ? key->body.size : strnlen(key->body.data, key->body.size);
    return span_make(key->body.data, size);
}

/* Its text means something else to each client, or each time. */
static bool is_of_one(const struct key *key)
{
    struct span text = text_of(key);
    return key->meaning == MEANING_OF_ONE || meaning_is_of_the_moment(text, key->options) ||
           (!key->by_sql && statement_says_names(text, key->options));
}

struct shared_statement *statements_share(struct statements *all, uint32_t scope, struct span body, bool by_sql,
                                          const struct sql_options *options, uint64_t meaning)
{
    struct key key = { body, mix(mix(hash_of(body), meaning), scope), meaning, options, scope, by_sql };
    struct shared_statement *s = meaning != MEANING_OF_ONE ? find(all, &key) : NULL;
    if (s != NULL && s->references == 0)
        take_from_unused(all, s);
    else if (s == NULL && is_of_one(&key))
        s = add_of_one(all, &key);
    else if (s == NULL)
        s = add(all, &key);
    if (s != NULL)
        s->references++;
    return s;
}

void statements_release(struct statements *all, struct shared_statement *s)
{
    if (--s->references > 0)
        return;
    if (s->meaning == MEANING_OF_ONE)
        drop(all, s);
    else
        add_to_unused(all, s);
}

/* --- meanings ------------------------------------------------------------------------------------------ */

static void forget_meanings(struct statements *all)
{
    for (size_t i = 0; i < MEANING_BUCKETS; i++) {
        while (all->meanings[i] != NULL) {
            struct meaning *m = all->meanings[i];
            all->meanings[i] = m->next;
            free(m);
        }
    }
    all->meaning_count = 0;
}

static uint64_t add_meaning(struct statements *all, struct span settings)
{
    if (all->meaning_count == MEANINGS_MAX)
        forget_meanings(all);
    struct meaning *m = or_abort(malloc(sizeof *m + settings.size));
    struct meaning **bucket = &all->meanings[hash_of(settings) % MEANING_BUCKETS];
    *m = (struct meaning){ .next = *bucket, .number = ++all->last_meaning, .size = settings.size };
    memcpy(m->settings, settings.data, settings.size);
    *bucket = m;
    all->meaning_count++;
    return m->number;
}

static uint64_t find_or_add_meaning(struct statements *all, struct span settings)
{
    const struct meaning *m = all->meanings[hash_of(settings) % MEANING_BUCKETS];
    while (m != NULL && !span_equal(span_make(m->settings, m->size), settings))
        m = m->next;
    return m != NULL ? m->number : add_meaning(all, settings);
}

uint64_t statements_meaning(struct statements *all, const struct parameters *settings)
{
    struct buffer words = { 0 };
    uint64_t number = 0;
    meaning_append_settings(settings, &words);
    if (words.size > MEANING_SIZE_MAX)
        number = MEANING_OF_ONE;
    else if (words.size > 0)
        number = find_or_add_meaning(all, buffer_span(&words));
    buffer_free(&words);
    return number;
}

/* --- the end ------------------------------------------------------------------------------------------- */

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
    forget_meanings(all);
    free(all->buckets);
    free(all);
}
