/* Cancel requests: whose query does a key stand for, and carrying the request there (P7).
 *
 * PostgreSQL cancels by a second connection that names a process id and a secret. Clients of dedicated servers hold the upstream's own
 * pair; clients of a pool hold one that was minted here, which stands for the client and not for a server, for it runs on many (P3). The
 * process keeps one table of all pairs in use; any thread may ask it.
 *
 * Other processes of pgatomic, whose place this one has taken, may still have clients: a request with a key that is in use nowhere here
 * is passed on to them (P12). */
#ifndef PROXY_POOL_CANCEL_H
#define PROXY_POOL_CANCEL_H

#include "protocol/span.h"
#include "proxy/net/address.h"
#include "proxy/net/loop.h"
#include "proxy/net/secure_dial.h"

enum { CANCEL_SECRET_MAX = 256 };

struct cancel_key;
struct cancel_request;
struct cancel_target;

struct cancel_guard;

/* A cancel request for `holder` is here: what does it run on at this moment? Called on the holder's own thread. The guard of the server
 * that it holds, and `out` says how that is cancelled; or NULL: it runs on nothing. A holder that waits for a server ends its wait
 * (57014) before it says that. */
typedef struct cancel_guard *cancel_aim(void *holder, struct cancel_target *out);

/* The requests that are on their way from one thread. */
struct cancel_requests {
    struct loop *loop;
    cancel_aim *aim; /* of all who hold minted keys on this thread */
    struct cancel_request *first;
    uint64_t last_id;
    bool ended;
};

/* Where a request has to go, and what it has to say. */
struct cancel_target {
    struct secure_way way;
    uint32_t process_id;
    size_t secret_size;
    char secret[CANCEL_SECRET_MAX];
};

/* --- a server's own key ---------------------------------------------------------------------------- */

/* Enters a server's key. `secret` has 4 to 256 bytes. From any thread, as all of these. */
struct cancel_key *cancel_key_add(uint32_t process_id, struct span secret, const struct secure_way *way);
/* NULL: nothing. A minted one is removed on its holder's thread. */
void cancel_key_remove(struct cancel_key *key);
/* Of a server's own key. */
void cancel_key_target(const struct cancel_key *key, struct cancel_target *out);
/* False: no server has this key. */
bool cancel_key_find(uint32_t process_id, struct span secret, struct cancel_target *out);

/* --- minted keys ----------------------------------------------------------------------------------- */

/* A fresh pair for a client: a process id that no other key has, and a random secret of 4 bytes, or of 32 where the minor version of its
 * protocol allows for long ones (3.2). `requests` are those of the holder's thread, on which this is called. */
struct cancel_key *cancel_key_mint(struct cancel_requests *requests, uint16_t protocol_minor, void *holder);
/* What its BackendKeyData says. */
uint32_t cancel_key_process_id(const struct cancel_key *key);
struct span cancel_key_secret(const struct cancel_key *key);

/* Stands between a pooled server and its next client: a request that is on its way may still hit, and must not hit a stranger. Belongs to
 * the server; a zeroed one with its owner filled in is ready. To be used on the thread of the client that holds the server. */
struct cancel_guard {
    unsigned pending; /* requests on their way */
    bool released;
    void (*on_clear)(void *owner);
    void *owner;
};

/* A request from cancel_send() is for this guard's server. */
void cancel_guard_await(struct cancel_guard *guard, struct cancel_request *request);
/* The client lets go of the server. Requests that have not been sent yet, and of which nobody waits to be told, are dropped. True: anybody
 * may have the server now; false: nobody may before on_clear was called. */
bool cancel_guard_release(struct cancel_requests *requests, struct cancel_guard *guard);
/* The server is gone, and the guard with it. */
void cancel_guard_dissolve(struct cancel_requests *requests, struct cancel_guard *guard);

/* --- requests ------------------------------------------------------------------------------------ */

/* `error` NULL: the request has done what it could. */
typedef void cancel_closed(void *context, const char *error);

/* Carries a request to a server. `closed` is called, never before this returns, when the upstream has closed the connection, which it does
 * after the signal is sent, or when that could not be done. */
struct cancel_request *cancel_send(struct cancel_requests *all, const struct cancel_target *target, uint64_t timeout_ms,
                                   cancel_closed *closed, void *context);
/* Carries a request that has come in to whatever its key stands for. With `pass_on`, one whose key is in use nowhere here goes to the
 * other processes. NULL: there is nowhere to carry it. */
struct cancel_request *cancel_carry(struct cancel_requests *all, uint32_t process_id, struct span secret, bool pass_on,
                                    cancel_closed *closed, void *context);
/* Lets the request go its way; nobody will be told. */
void cancel_abandon(struct cancel_request *request);
/* Drops whatever is on its way; nothing more will leave. Before the loops of all threads are destroyed. */
void cancel_requests_drop(struct cancel_requests *all);

/* --- other processes ------------------------------------------------------------------------------- */

enum { CANCEL_PEERS_MAX = 8 };

/* A process of pgatomic listens at `address`, an abstract unix socket, for cancel requests to the clients that it still has. When there are
 * too many, the oldest is forgotten; one that refuses a connection is gone, and forgotten too. From any thread. */
void cancel_peer_add(const struct address *address);
void cancel_peer_remove(const struct address *address);
/* The newest first. Returns how many. */
size_t cancel_peers(struct address out[CANCEL_PEERS_MAX]);

#endif
