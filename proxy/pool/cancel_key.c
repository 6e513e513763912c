/* The table of keys.
 *
 * It is one for the process, under one lock: it is touched when a connection begins or ends and when a request comes, never by a query. Its
 * size follows the number of keys. What a minted key leads to belongs to its holder's thread; so the table tells other threads only which
 * thread that is, and there, where alone the key can be removed, it is looked up again. */
#include "proxy/pool/cancel_key.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

#include "protocol/memory.h"

enum { FIRST_BUCKETS = 256, SHORT_SECRET = 4, LONG_SECRET = 32, LONG_SECRETS_SINCE_MINOR = 2 };

/* Of minted keys there are as many as clients, so they are kept small. */
struct cancel_key {
    struct cancel_key *next;      /* in its bucket */
    struct cancel_requests *home; /* of a minted key; NULL: it is a server's own */
    union {
        struct secure_way *way; /* of a server's own; owned */
        void *holder;           /* of a minted one */
    };
    uint32_t process_id;
    uint16_t secret_size;
    char secret[];
};

static struct {
    pthread_mutex_t lock;
    struct cancel_key **buckets;
    size_t bucket_count; /* a power of two */
    size_t count;
} table = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Secrets are no part of it, so that a process id can be looked for alone. */
static struct cancel_key **bucket_of(uint32_t process_id)
{
    uint64_t hash = process_id * UINT64_C(0x9e3779b97f4a7c15);
    return &table.buckets[(hash >> 32) & (table.bucket_count - 1)];
}

static void put(struct cancel_key *key)
{
    struct cancel_key **bucket = bucket_of(key->process_id);
    key->next = *bucket;
    *bucket = key;
}

static void grow_table(void)
{
    struct cancel_key **old = table.buckets;
    size_t old_count = table.bucket_count;
    table.bucket_count = old_count == 0 ? FIRST_BUCKETS : old_count * 2;
    table.buckets = or_abort(calloc(table.bucket_count, sizeof *table.buckets));
    for (size_t i = 0; i < old_count; i++) {
        while (old[i] != NULL) {
            struct cancel_key *key = old[i];
            old[i] = key->next;
            put(key);
        }
    }
    free(old);
}

static void enter(struct cancel_key *key)
{
    if (table.count == table.bucket_count)
        grow_table();
    table.count++;
    put(key);
}

static struct cancel_key *key_new(size_t secret_size)
{
    struct cancel_key *key = or_abort(calloc(1, sizeof *key + secret_size));
    key->secret_size = (uint16_t)secret_size;
    return key;
}

struct cancel_key *cancel_key_add(uint32_t process_id, struct span secret, const struct secure_way *way)
{
    struct cancel_key *key = key_new(secret.size);
    key->way = or_abort(malloc(sizeof *key->way));
    *key->way = *way;
    key->process_id = process_id;
    memcpy(key->secret, secret.data, secret.size);

    pthread_mutex_lock(&table.lock);
    enter(key);
    pthread_mutex_unlock(&table.lock);
    return key;
}

static void fill_at_random(void *to, size_t size)
{
    ssize_t got = getrandom(to, size, 0);
    assert(got == (ssize_t)size);
}

static bool is_in_use(uint32_t process_id)
{
    struct cancel_key *key = table.count > 0 ? *bucket_of(process_id) : NULL;
    while (key != NULL && key->process_id != process_id)
        key = key->next;
    return key != NULL;
}

/* Drivers take it for a positive number, and PostgreSQL's own never are 0. */
static uint32_t unused_process_id(void)
{
    uint32_t process_id;
    do {
        fill_at_random(&process_id, sizeof process_id);
        process_id &= INT32_MAX;
    } while (process_id == 0 || is_in_use(process_id));
    return process_id;
}

struct cancel_key *cancel_key_mint(struct cancel_requests *requests, uint16_t protocol_minor, void *holder)
{
    struct cancel_key *key = key_new(protocol_minor >= LONG_SECRETS_SINCE_MINOR ? LONG_SECRET : SHORT_SECRET);
    key->home = requests;
    key->holder = holder;
    fill_at_random(key->secret, key->secret_size);

    pthread_mutex_lock(&table.lock);
    key->process_id = unused_process_id();
    enter(key);
    pthread_mutex_unlock(&table.lock);
    return key;
}

void cancel_key_remove(struct cancel_key *key)
{
    if (key == NULL)
        return;
    pthread_mutex_lock(&table.lock);
    struct cancel_key **link = bucket_of(key->process_id);
    while (*link != key)
        link = &(*link)->next;
    *link = key->next;
    if (--table.count == 0) {
        free(table.buckets);
        table.buckets = NULL;
        table.bucket_count = 0;
    }
    pthread_mutex_unlock(&table.lock);
    if (key->home == NULL)
        free(key->way);
    free(key);
}

uint32_t cancel_key_process_id(const struct cancel_key *key)
{
    return key->process_id;
}

struct span cancel_key_secret(const struct cancel_key *key)
{
    return span_make(key->secret, key->secret_size);
}

void cancel_key_target(const struct cancel_key *key, struct cancel_target *out)
{
    out->way = *key->way;
    out->process_id = key->process_id;
    out->secret_size = key->secret_size;
    memcpy(out->secret, key->secret, key->secret_size);
}

/* Every byte is looked at, so that the time taken says nothing about how much of a guess was right. */
static bool secrets_are_equal(struct span a, struct span b)
{
    unsigned char difference = a.size != b.size;
    for (size_t i = 0; i < a.size && i < b.size; i++)
        difference |= (unsigned char)(a.data[i] ^ b.data[i]);
    return difference == 0;
}

/* With the lock held. */
static struct cancel_key *find(uint32_t process_id, struct span secret)
{
    struct cancel_key *key = table.count > 0 ? *bucket_of(process_id) : NULL;
    while (key != NULL && !(key->process_id == process_id && secrets_are_equal(cancel_key_secret(key), secret)))
        key = key->next;
    return key;
}

bool cancel_key_find(uint32_t process_id, struct span secret, struct cancel_target *out)
{
    pthread_mutex_lock(&table.lock);
    struct cancel_key *key = find(process_id, secret);
    bool found = key != NULL && key->home == NULL;
    if (found)
        cancel_key_target(key, out);
    pthread_mutex_unlock(&table.lock);
    return found;
}

struct cancel_requests *cancel_key_home(uint32_t process_id, struct span secret)
{
    pthread_mutex_lock(&table.lock);
    struct cancel_key *key = find(process_id, secret);
    struct cancel_requests *home = key != NULL ? key->home : NULL;
    pthread_mutex_unlock(&table.lock);
    return home;
}

struct cancel_guard *cancel_key_aim(uint32_t process_id, struct span secret, struct cancel_target *out)
{
    pthread_mutex_lock(&table.lock);
    struct cancel_key *key = find(process_id, secret);
    pthread_mutex_unlock(&table.lock);
    return key != NULL && key->home != NULL ? key->home->aim(key->holder, out) : NULL;
}
