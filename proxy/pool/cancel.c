/* The table of keys, and cancel requests on their way.
 *
 * The table is one for the process, under one lock: it is touched when a connection begins or ends and when a request comes, never by
 * a query. Its size follows the number of keys.
 *
 * A request is a connection of its own, to the address at which the server itself was reached (another address of the same host may
 * be another server):
 *
 *     dialing --connected--> sent --closed by the upstream--> over
 *        +------ refused, or too late ------------------------> */
#include "proxy/pool/cancel.h"

#include <pthread.h>
#include <stdlib.h>

#include "protocol/memory.h"
#include "protocol/message.h"
#include "proxy/net/conn.h"
#include "proxy/net/dial.h"

/* --- keys ---------------------------------------------------------------------------------------- */

enum { FIRST_BUCKETS = 256 };

struct cancel_key {
    struct cancel_key *next; /* in its bucket */
    struct address address;
    uint32_t process_id;
    size_t secret_size;
    char secret[];
};

static struct {
    pthread_mutex_t lock;
    struct cancel_key **buckets;
    size_t bucket_count; /* a power of two */
    size_t count;
} table = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct cancel_key **bucket_of(uint32_t process_id, struct span secret)
{
    uint64_t hash = 1469598103934665603u ^ process_id;
    for (size_t i = 0; i < secret.size; i++)
        hash = (hash ^ (unsigned char)secret.data[i]) * 1099511628211u;
    return &table.buckets[(hash ^ hash >> 32) & (table.bucket_count - 1)];
}

static struct span secret_of(const struct cancel_key *key)
{
    return span_make(key->secret, key->secret_size);
}

static void put(struct cancel_key *key)
{
    struct cancel_key **bucket = bucket_of(key->process_id, secret_of(key));
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

struct cancel_key *cancel_key_add(uint32_t process_id, struct span secret, const struct address *address)
{
    struct cancel_key *key = or_abort(malloc(sizeof *key + secret.size));
    key->address = *address;
    key->process_id = process_id;
    key->secret_size = secret.size;
    memcpy(key->secret, secret.data, secret.size);

    pthread_mutex_lock(&table.lock);
    if (table.count == table.bucket_count)
        grow_table();
    table.count++;
    put(key);
    pthread_mutex_unlock(&table.lock);
    return key;
}

void cancel_key_remove(struct cancel_key *key)
{
    if (key == NULL)
        return;
    pthread_mutex_lock(&table.lock);
    struct cancel_key **link = bucket_of(key->process_id, secret_of(key));
    while (*link != key)
        link = &(*link)->next;
    *link = key->next;
    if (--table.count == 0) {
        free(table.buckets);
        table.buckets = NULL;
        table.bucket_count = 0;
    }
    pthread_mutex_unlock(&table.lock);
    free(key);
}

void cancel_key_target(const struct cancel_key *key, struct cancel_target *out)
{
    out->address = key->address;
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

bool cancel_key_find(uint32_t process_id, struct span secret, struct cancel_target *out)
{
    pthread_mutex_lock(&table.lock);
    struct cancel_key *key = table.count > 0 ? *bucket_of(process_id, secret) : NULL;
    while (key != NULL && !(key->process_id == process_id && secrets_are_equal(secret_of(key), secret)))
        key = key->next;
    if (key != NULL)
        cancel_key_target(key, out);
    pthread_mutex_unlock(&table.lock);
    return key != NULL;
}

/* --- requests ------------------------------------------------------------------------------------ */

enum { ANSWER_TIMEOUT_US = 10 * 1000 * 1000 };

struct cancel_request {
    struct cancel_requests *all;
    struct cancel_request *next, **link;
    struct cancel_target target;
    struct dial *dial;
    struct conn conn; /* closed until the dial is done */
    struct timer *timer;
    void (*closed)(void *context, const char *error); /* NULL: abandoned */
    void *context;
};

static void request_free(struct cancel_request *r)
{
    *r->link = r->next;
    if (r->next != NULL)
        r->next->link = r->link;
    dial_cancel(r->dial);
    conn_close(&r->conn);
    timer_free(r->timer);
    free(r);
}

static void finish(struct cancel_request *r, const char *error)
{
    if (r->closed != NULL)
        r->closed(r->context, error);
    request_free(r);
}

static void on_timeout(void *context)
{
    finish(context, "the upstream did not close the connection");
}

static void on_upstream_ready(void *owner, bool readable)
{
    struct cancel_request *r = owner;
    struct span input;
    if (!readable)
        return;
    enum conn_result result = conn_receive(&r->conn, &input);
    if (result == CONN_LOST)
        finish(r, NULL);
    else if (result == CONN_INPUT)
        conn_keep(&r->conn, input, input.size); /* nothing is expected, and nothing that comes matters */
}

static void on_dialed(void *context, int fd, const struct address *to, const char *error)
{
    (void)to, (void)error;
    struct cancel_request *r = context;
    r->dial = NULL;
    if (fd < 0) {
        finish(r, "the upstream could not be reached");
        return;
    }
    conn_open(&r->conn, r->all->loop, fd, on_upstream_ready, r);
    struct buffer packet = { 0 };
    message_add_cancel(&packet, r->target.process_id, span_make(r->target.secret, r->target.secret_size));
    conn_send_span(&r->conn, buffer_span(&packet));
    buffer_free(&packet);
    conn_want_input(&r->conn, true);
    timer_start(r->timer, ANSWER_TIMEOUT_US);
}

struct cancel_request *cancel_send(struct cancel_requests *all, const struct cancel_target *target, uint64_t timeout_ms,
                                   void (*closed)(void *context, const char *error), void *context)
{
    struct cancel_request *r = or_abort(malloc(sizeof *r));
    *r = (struct cancel_request){ .all = all,
                                  .next = all->first,
                                  .link = &all->first,
                                  .target = *target,
                                  .conn = { .fd = -1 },
                                  .closed = closed,
                                  .context = context };
    if (r->next != NULL)
        r->next->link = &r->next;
    all->first = r;
    r->timer = timer_new(all->loop, on_timeout, r);
    r->dial = dial_address(all->loop, &target->address, timeout_ms, on_dialed, r);
    return r;
}

void cancel_abandon(struct cancel_request *request)
{
    request->closed = NULL;
}

void cancel_requests_drop(struct cancel_requests *all)
{
    while (all->first != NULL)
        request_free(all->first);
}
