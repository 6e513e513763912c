/* A connection to the upstream: connecting, and the key by which it is cancelled.
 *
 *     dialing --connected--> what its owner makes of it --accepted--> a server
 *        ^                           |         |
 *        +------- rejected ----------+         +--late--> its owner rejects it
 *
 * Who is reached may be a machine that takes connections and says nothing more. As in libpq each of several hosts has connect_timeout for
 * the login, too; then it is the next one's turn. One that is alone gets more: whoever gave it up would only ask it again. */
#include "proxy/pool/server.h"

#include <stdio.h>
#include <stdlib.h>

#include "protocol/memory.h"

void server_init(struct server *s, struct loop *l, void (*on_ready)(void *owner, bool readable), void *owner)
{
    *s = (struct server){ .conn = { .fd = -1 }, .loop = l, .on_ready = on_ready, .owner = owner };
}

struct server *server_new(struct loop *l, void (*on_ready)(void *owner, bool readable), void *owner)
{
    struct server *s = or_abort(malloc(sizeof *s));
    server_init(s, l, on_ready, owner);
    return s;
}

void server_free(struct server *s)
{
    if (s == NULL)
        return;
    server_close(s);
    free(s);
}

enum { ALONE_MS = 15 * 1000, WORDS_SIZE = 1000 };

static void on_patience_over(void *context)
{
    struct server *s = context;
    s->on_late(s->owner);
}

static void forget_timer(struct server *s)
{
    timer_free(s->timer);
    s->timer = NULL;
}

static void on_dialed(void *context, const struct secure_connection *made, const char *error)
{
    struct server *s = context;
    if (made != NULL && s->on_late != NULL) {
        secure_dial_keep(s->dial);
        timer_start(s->timer, s->patience_ms * 1000);
    } else {
        s->dial = NULL;
    }
    if (made != NULL) {
        s->way = made->way;
        conn_open(&s->conn, s->loop, made->fd, s->on_ready, s->owner);
        conn_continue_tls(&s->conn, made->tls);
    }
    s->on_connected(s->owner, error);
}

void server_connect(struct server *s, struct resolver *r, const struct database *database,
                    void (*on_connected)(void *owner, const char *error))
{
    struct secure_targets targets = secure_targets_of(database);
    s->on_connected = on_connected;
    s->patience_ms = database->connect_timeout_ms + (database->hosts[1] == NULL ? ALONE_MS : 0);
    if (s->on_late != NULL && s->timer == NULL)
        s->timer = timer_new(s->loop, on_patience_over, s);
    s->dial = secure_dial_hosts(s->loop, r, &targets, on_dialed, s);
}

void server_accept(struct server *s)
{
    secure_dial_cancel(s->dial);
    s->dial = NULL;
    forget_timer(s);
}

void server_reject(struct server *s, const char *why)
{
    char words[WORDS_SIZE];
    snprintf(words, sizeof words, "%s", why);
    timer_stop(s->timer);
    conn_close(&s->conn);
    secure_dial_next(s->dial, words);
}

bool server_has_stand_in(const struct database *d, struct span sqlstate)
{
    return span_is(sqlstate, "57P03") && d->hosts[1] != NULL;
}

void server_close(struct server *s)
{
    server_accept(s);
    cancel_key_remove(s->key);
    s->key = NULL;
    conn_close(&s->conn);
}

void server_set_key(struct server *s, uint32_t process_id, struct span secret)
{
    cancel_key_remove(s->key);
    s->key = cancel_key_add(process_id, secret, &s->way);
}

const char *server_loss(const struct server *s, const char *closed, char words[SERVER_LOSS_SIZE])
{
    const char *error = conn_error(&s->conn);
    if (error[0] == '\0')
        return closed;
    snprintf(words, SERVER_LOSS_SIZE, "the connection to the upstream was lost: %s", error);
    return words;
}

size_t server_certificate_hash(const struct server *s, unsigned char hash[TLS_HASH_MAX])
{
    return s->conn.tls != NULL ? tls_server_hash(s->conn.tls, hash) : 0;
}
