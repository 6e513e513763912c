/* A connection to the upstream. */
#ifndef PROXY_POOL_SERVER_H
#define PROXY_POOL_SERVER_H

#include "config/config.h"
#include "proxy/net/conn.h"
#include "proxy/net/secure_dial.h"
#include "proxy/pool/cancel.h"
#include "proxy/pool/stopwatch.h"

struct server {
    struct conn conn;         /* closed until it is connected */
    struct secure_dial *dial; /* NULL: not connecting */
    struct secure_way way;    /* how it is connected */
    struct cancel_key *key;   /* NULL: the upstream gave none */
    struct loop *loop;
    struct stopwatch watch;
    struct timer *timer; /* from connected to accepted or rejected, for `patience_ms` at most */
    uint64_t patience_ms;
    /* NULL: whoever is reached is taken. Else its owner says server_accept() or server_reject() when it is connected; the latter, too,
     * when it hears here that it has had its time. */
    void (*on_late)(void *owner);
    void (*on_connected)(void *owner, const char *error); /* `error` NULL: it is */
    void (*on_ready)(void *owner, bool readable);
    void *owner;
};

/* One that is part of something else; server_close() ends it. */
void server_init(struct server *s, struct loop *l, void (*on_ready)(void *owner, bool readable), void *owner);
struct server *server_new(struct loop *l, void (*on_ready)(void *owner, bool readable), void *owner);
/* Closes what is open. NULL: nothing. */
void server_free(struct server *s);
/* Connects to the first host of `database` that answers, and then calls on_connected. `database` outlives the attempt. */
void server_connect(struct server *s, struct resolver *r, const struct database *database,
                    void (*on_connected)(void *owner, const char *error));
/* The server that was reached is one that is wanted. */
void server_accept(struct server *s);
static inline bool server_is_accepted(const struct server *s)
{
    return s->dial == NULL;
}
/* It is not, for this reason, which may be the connection's own: goes on with the next one, and then calls on_connected again. */
void server_reject(struct server *s, const char *why);
/* Whoever answers a login with this SQLSTATE starts up or shuts down, and there are other hosts that may not. */
bool server_has_stand_in(const struct database *d, struct span sqlstate);
/* Closes the connection, or gives up connecting, and forgets its key. */
void server_close(struct server *s);
static inline bool server_is_open(const struct server *s)
{
    return conn_is_open(&s->conn);
}
enum { SERVER_LOSS_SIZE = 512 };
/* Why it was lost (CONN_LOST), for the one who had it: `closed`, or in `words` what the system knows better. */
const char *server_loss(const struct server *s, const char *closed, char words[SERVER_LOSS_SIZE]);
/* What a login can be bound to: of the certificate that the server has shown (tls_certificate_hash()). Returns its size; 0: there is none. */
size_t server_certificate_hash(const struct server *s, unsigned char hash[TLS_HASH_MAX]);
/* Remembers how its queries are cancelled. */
void server_set_key(struct server *s, uint32_t process_id, struct span secret);

#endif
