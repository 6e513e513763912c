/* Cancel requests: whose query does a key stand for, and carrying the request there (P7).
 *
 * PostgreSQL cancels by a second connection that names the backend's process id and a secret. Clients hold the upstream's own pair,
 * so the process keeps one table of the pairs in use; any thread may ask it. */
#ifndef PROXY_POOL_CANCEL_H
#define PROXY_POOL_CANCEL_H

#include "protocol/span.h"
#include "proxy/net/address.h"
#include "proxy/net/loop.h"

/* --- keys ---------------------------------------------------------------------------------------- */

enum { CANCEL_SECRET_MAX = 256 };

/* Where a request has to go, and what it has to say. */
struct cancel_target {
    struct address address;
    uint32_t process_id;
    size_t secret_size;
    char secret[CANCEL_SECRET_MAX];
};

struct cancel_key;

/* Enters a server's key. `secret` has 4 to 256 bytes. From any thread, as all of these. */
struct cancel_key *cancel_key_add(uint32_t process_id, struct span secret, const struct address *address);
/* NULL: nothing. */
void cancel_key_remove(struct cancel_key *key);
void cancel_key_target(const struct cancel_key *key, struct cancel_target *out);
/* False: no server has this key. */
bool cancel_key_find(uint32_t process_id, struct span secret, struct cancel_target *out);

/* --- requests ------------------------------------------------------------------------------------ */

struct cancel_request;

/* The requests that are on their way from one thread. */
struct cancel_requests {
    struct loop *loop;
    struct cancel_request *first;
};

/* Carries a request. `closed` is called, never before this returns, when the upstream has closed the connection, which it does
 * after the signal is sent, or when that could not be done (`error`, else NULL). */
struct cancel_request *cancel_send(struct cancel_requests *all, const struct cancel_target *target, uint64_t timeout_ms,
                                   void (*closed)(void *context, const char *error), void *context);
/* Lets the request go its way; nobody will be told. */
void cancel_abandon(struct cancel_request *request);
/* Drops whatever is on its way. */
void cancel_requests_drop(struct cancel_requests *all);

#endif
