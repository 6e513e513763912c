/* A client of a pool, between taking a server and giving it back.
 *
 *     none --something to send--> waiting --granted--> attached --link_may_release()--> none
 *       |                            |                    |
 *       +--- an idle server is there-+--> attached        +-- lost: cut, and the client with it
 *                                    +-- refused: the session answers by itself
 *
 * What the client said while it waited stays where it is: its input is kept unread, and looked at when the wait has ended. */
#include "proxy/pool/pooled.h"

#include <stdlib.h>

#include "protocol/memory.h"
#include "proxy/ops/log.h"
#include "proxy/pool/pooled_login.h"
#include "proxy/pool/traffic.h"
#include "proxy/session/session.h"

enum { CANCEL_CONNECT_MS = 5000, SPARE_MAX = 2048, LATE_TOLD_EVERY_US = 5 * 1000 * 1000 };

static void on_pinned(void *context, const char *cause)
{
    struct client *c = context;
    pool_count_pin(c->pooled->pool);
    counts_pin(&c->worker->counts, c->pooled->pool->shared->name, cause);
    client_log(c, LOG_INFO, "the client keeps its server until it goes or says DISCARD ALL", cause);
}

/* --- listening ------------------------------------------------------------------------------------------ */

static void on_heard(void *context)
{
    client_settle(context);
}

static void on_listening(void *context, bool ok)
{
    struct client *c = context;
    link_on_listening(c->pooled->link, ok, &c->worker->link_actions);
    pooled_flush(c);
    if (c->state == CLIENT_SESSION)
        traffic_resume(c);
    client_settle(c);
}

static void on_listen(void *context, struct span channel)
{
    struct client *c = context;
    struct pooled *p = c->pooled;
    if (p->listener == NULL)
        p->listener = listen_subscribe(&c->worker->loop, p->pool->database, p->pool->shared->name, on_heard, c);
    listen_add(p->listener, channel, on_listening);
}

static void on_unlisten(void *context, struct span channel)
{
    struct client *c = context;
    if (c->pooled->listener != NULL)
        listen_remove(c->pooled->listener, channel);
}

void pooled_reload(struct client *c)
{
    const struct pooled *p = c->pooled;
    if (p->listener != NULL)
        listen_move(p->listener, p->pool->database, p->pool->shared->name);
}

/* Not inside a message to it, and never more than it reads: what waits is bounded by the queue. */
void pooled_tell_heard(struct client *c)
{
    struct pooled *p = c->pooled;
    struct buffer *queue = listen_queue(p->listener);
    if (c->state != CLIENT_SESSION || c->replies.left > 0)
        return;
    if (listen_is_overrun(p->listener)) {
        client_refuse(c, "53400", "too many notifications are waiting for the client");
        return;
    }
    if (queue->size == 0 || pooled_is_held(p) || !link_is_between(p->link) || conn_queued(&c->conn) > 0)
        return;
    conn_send_span(&c->conn, buffer_span(queue));
    buffer_free(queue);
}

/* --- joining -------------------------------------------------------------------------------------------- */

static void enqueue_awake(struct worker *w, struct pooled *p)
{
    p->next_awake = NULL;
    p->awake_link = w->last_awake;
    *w->last_awake = p;
    w->last_awake = &p->next_awake;
    w->awake_count++;
}

static void dequeue_awake(struct worker *w, struct pooled *p)
{
    *p->awake_link = p->next_awake;
    if (p->next_awake != NULL)
        p->next_awake->awake_link = p->awake_link;
    else
        w->last_awake = p->awake_link;
    w->awake_count--;
}

static struct pooled *new_pooled(struct client *c, struct pool *pool)
{
    struct pooled *p = or_abort(calloc(1, sizeof *p));
    p->client = c;
    p->pool = pool;
    enqueue_awake(c->worker, p);
    return p;
}

static struct link_start start_of(struct client *c, const struct pool *pool)
{
    return (struct link_start){ .statements = c->worker->statements,
                                .scope = pool->shared->number,
                                .keeps_server = pool->database->pool == POOL_SESSION,
                                .prepares_unnamed = pool->database->prepare_unnamed,
                                .on_listen = pool->database->control != NULL ? on_listen : NULL,
                                .on_unlisten = on_unlisten,
                                .on_pinned = on_pinned,
                                .context = c };
}

struct pooled *pooled_new(struct client *c, struct pool *pool, struct parameters *base)
{
    struct pooled *p = new_pooled(c, pool);
    struct link_start start = start_of(c, pool);
    start.base = base;
    p->link = link_new(&start);
    return p;
}

/* --- sleeping ------------------------------------------------------------------------------------------- */

bool pooled_may_sleep(const struct client *c)
{
    const struct pooled *p = c->pooled;
    if (p == NULL || c->server != NULL || pooled_is_waiting(p) || p->listener != NULL || p->cut)
        return false;
    return p->backlog.size == 0 && link_may_sleep(p->link);
}

void pooled_sleep(struct client *c, struct link_asleep *out)
{
    struct pooled *p = c->pooled;
    dequeue_awake(c->worker, p);
    link_sleep(p->link, out);
    buffer_free(&p->backlog);
    free(p);
    c->pooled = NULL;
}

void pooled_wake(struct client *c, struct pool *pool, struct cancel_key *key, const struct link_asleep *asleep)
{
    struct link_start start = start_of(c, pool);
    c->pooled = new_pooled(c, pool);
    c->pooled->key = key;
    c->pooled->link = link_wake(asleep, &start);
}

struct client *pooled_next_awake(struct worker *w)
{
    struct pooled *p = w->first_awake;
    dequeue_awake(w, p);
    enqueue_awake(w, p);
    return p->client;
}

/* A client's server is the first part of a pool's. */
static struct pool_server *server_of(const struct client *c)
{
    return (struct pool_server *)c->server;
}

/* --- the backlog -------------------------------------------------------------------------------------- */

static void add_to_backlog(struct client *c, struct span bytes)
{
    struct buffer *backlog = &c->pooled->backlog;
    struct spare_backlogs *spares = &c->worker->spare_backlogs;
    if (backlog->data == NULL && spares->count > 0)
        *backlog = spares->list[--spares->count];
    buffer_append_span(backlog, bytes);
}

static void drop_backlog(struct client *c)
{
    struct buffer *backlog = &c->pooled->backlog;
    struct spare_backlogs *spares = &c->worker->spare_backlogs;
    if (spares->count == SPARE_BACKLOGS || backlog->capacity > SPARE_MAX) {
        buffer_free(backlog);
        return;
    }
    buffer_clear(backlog);
    spares->list[spares->count++] = *backlog;
    *backlog = (struct buffer){ 0 };
}

/* --- taking ------------------------------------------------------------------------------------------- */

void pooled_attach(struct client *c, struct pool_server *s)
{
    c->server = &s->server;
    pool_server_own(s, client_on_server_ready, c);
    link_attach(c->pooled->link, s->record, &c->worker->link_actions);
}

static void send_backlog(struct client *c)
{
    struct pooled *p = c->pooled;
    link_on_client(p->link, buffer_span(&p->backlog), &c->worker->link_actions);
    pooled_flush(c);
    drop_backlog(c);
}

/* --- waiting ------------------------------------------------------------------------------------------ */

static void refuse_backlog(struct client *c, const struct pool_refusal *why)
{
    struct pooled *p = c->pooled;
    link_refuse(p->link, buffer_span(&p->backlog));
    buffer_free(&p->backlog);
    traffic_refuse(c, why->sqlstate, why->message);
}

static void on_granted(struct client *c, struct pool_server *s)
{
    pooled_attach(c, s);
    if (c->pooled->backlog.size > 0)
        send_backlog(c);
    else
        pooled_flush(c);
    if (c->state == CLIENT_CLOSING)
        c->server_lingering = pooled_begin_end(c);
    else if (c->state == CLIENT_SESSION)
        traffic_end_hearing(c);
    else
        pooled_login_on_granted(c);
}

/* Else the words would be taken for those about the client's own password. */
static const char *detail_of(const struct pool_refusal *why)
{
    bool is_about_login = strncmp(why->sqlstate, "28", 2) == 0;
    return is_about_login ? "This is about pgatomic's own login to the upstream. The client was let in." : "";
}

/* The client's, which has a session as soon as it is logged in. */
static const char *user_of(const struct client *c)
{
    struct session_facts facts;
    if (c->session == NULL)
        return c->login->user;
    session_tell_facts(c->session, &facts);
    return facts.user;
}

/* Where one is late many are, for as long as whatever holds the servers lasts: a line every few seconds, which counts those that got none. */
static void tell_late(struct client *c)
{
    struct pool *p = c->pooled->pool;
    uint64_t now_us = loop_now_us(&c->worker->loop);
    if (p->late_told_us > 0 && now_us < p->late_told_us + LATE_TOLD_EVERY_US) {
        p->late_untold++;
        return;
    }
    LOG(LOG_WARN, "a client has waited for a server longer than queue_timeout", log_text("client", c->name),
        log_text("database", p->shared->name), log_text("user", user_of(c)),
        log_ms("waited_ms", now_us - c->pooled->wait.since_us), log_number("others", p->late_untold));
    p->late_told_us = now_us;
    p->late_untold = 0;
}

static void on_refused(struct client *c, const struct pool_refusal *why)
{
    if (why->late)
        tell_late(c);
    switch (c->state) {
    case CLIENT_SESSION:
        refuse_backlog(c, why);
        return;
    case CLIENT_CLOSING:
        c->server_lingering = false;
        return;
    case CLIENT_LOGIN:
        client_refuse_in_detail(c, why->sqlstate, why->message, detail_of(why));
        return;
    case CLIENT_STARTUP:
    case CLIENT_CONNECTING:
    case CLIENT_RAW:
    case CLIENT_ADMIN:
    case CLIENT_CANCELLING:
        return;
    }
}

static void on_wait_ended(void *context, struct pool_server *s, const struct pool_refusal *why)
{
    struct client *c = context;
    if (s != NULL)
        on_granted(c, s);
    else
        on_refused(c, why);
    client_settle(c);
}

void pooled_wait(struct client *c)
{
    pool_wait(c->pooled->pool, &c->pooled->wait, on_wait_ended, c);
}

void pooled_refuse(struct client *c, const char *sqlstate, const char *message)
{
    struct pool_refusal why = { .sqlstate = sqlstate, .message = message };
    pool_wait_leave(c->pooled->pool, &c->pooled->wait);
    refuse_backlog(c, &why);
}

/* --- to the server -------------------------------------------------------------------------------------- */

/* No server is taken only to be told that its client goes. */
static bool is_farewell(struct span bytes)
{
    return bytes.size == 5 && bytes.data[0] == 'X';
}

/* There is no server. */
static void take_server_for(struct client *c, struct span bytes)
{
    struct pooled *p = c->pooled;
    size_t refused = pooled_is_waiting(p) ? 0 : link_drop_refused(p->link, bytes);
    bytes = span_make(bytes.data + refused, bytes.size - refused);
    if (bytes.size == 0 || p->cut || (is_farewell(bytes) && !pooled_is_waiting(p)))
        return;
    struct pool_server *s = pooled_is_waiting(p) ? NULL : pool_take(p->pool);
    if (s != NULL) {
        pooled_attach(c, s);
        link_on_client(p->link, bytes, &c->worker->link_actions);
        return;
    }
    add_to_backlog(c, bytes);
    if (!pooled_is_waiting(p))
        pooled_wait(c);
}

void pooled_to_server(struct client *c, struct span bytes)
{
    if (bytes.size == 0)
        return;
    if (c->server != NULL)
        link_on_client(c->pooled->link, bytes, &c->worker->link_actions);
    else
        take_server_for(c, bytes);
}

void pooled_flush(struct client *c)
{
    struct actions *a = &c->worker->link_actions;
    if (a->count == 0)
        return;
    traffic_send_to_server(c, a);
    actions_clear(a);
}

/* --- from the server ------------------------------------------------------------------------------------ */

/* What the link has made is gone when it is asked again. */
static void hear_own_piece(struct client *c, const struct link_piece *piece)
{
    traffic_hear(c, actions_keep(&c->worker->actions, piece->bytes), false);
}

/* How many bytes of the input are done with. */
static size_t hear_pieces(struct client *c, struct span input)
{
    struct link *l = c->pooled->link;
    struct link_piece piece;
    size_t used = 0;
    while (c->server != NULL) {
        struct span rest = span_make(input.data + used, input.size - used);
        bool more = link_on_server(l, rest, &piece, &c->worker->link_actions);
        used += piece.skip;
        if (!more)
            break;
        if (piece.own) {
            hear_own_piece(c, &piece);
            continue;
        }
        bool last = piece.skip + piece.bytes.size == rest.size;
        size_t taken = traffic_hear(c, piece.bytes, last);
        used += taken;
        if (c->server != NULL)
            link_took(l, taken);
        if (taken < piece.bytes.size || (last && !link_has_due(l)))
            break;
    }
    return used;
}

/* True: the link cannot go on with this server, and it is lost now. */
static bool check_link(struct client *c)
{
    const char *why = link_error(c->pooled->link);
    if (c->server == NULL || why == NULL)
        return false;
    traffic_lose_server(c, why);
    return true;
}

void pooled_on_server_bytes(struct client *c, struct span input)
{
    struct server *s = c->server;
    size_t used = hear_pieces(c, input);
    pooled_flush(c);
    check_link(c);
    traffic_end_hearing(c);
    if (c->server == s)
        conn_keep(&s->conn, input, used);
}

/* --- cancelling ------------------------------------------------------------------------------------------ */

bool pooled_cancel(struct client *c, cancel_closed *closed)
{
    struct pooled *p = c->pooled;
    if (pooled_is_waiting(p))
        pooled_refuse(c, "57014", "canceling statement due to user request");
    if (c->server == NULL || c->server->key == NULL)
        return false;
    struct cancel_target target;
    cancel_key_target(c->server->key, &target);
    c->cancel = cancel_send(&c->worker->cancels, &target, CANCEL_CONNECT_MS, closed, c);
    cancel_guard_await(&server_of(c)->guard, c->cancel);
    return true;
}

void pooled_on_cancelled(struct client *c)
{
    if (c->server == NULL)
        return;
    link_on_cancelled(c->pooled->link, &c->worker->link_actions);
    pooled_flush(c);
}

struct cancel_guard *pooled_aim(void *holder, struct cancel_target *out)
{
    struct client *c = holder;
    if (c->state != CLIENT_SESSION || c->asleep != NULL)
        return NULL;
    if (pooled_is_waiting(c->pooled)) {
        pooled_refuse(c, "57014", "canceling statement due to user request");
        client_settle(c);
        return NULL;
    }
    if (c->server == NULL || c->server->key == NULL || link_is_settling(c->pooled->link))
        return NULL;
    cancel_key_target(c->server->key, out);
    return &server_of(c)->guard;
}

/* --- giving back ------------------------------------------------------------------------------------------ */

void pooled_hear_due(struct client *c)
{
    pooled_on_server_bytes(c, conn_kept(&c->server->conn));
}

void pooled_release(struct client *c)
{
    struct pool_server *s = server_of(c);
    stopwatch_see(&s->server.watch, SESSION_RESTS, &c->worker->loop);
    link_detach(c->pooled->link);
    c->server = NULL;
    c->server_lingering = false;
    pool_give_back(s);
}

void pooled_cut(struct client *c)
{
    c->pooled->cut = true;
    if (c->server == NULL)
        return;
    struct pool_server *s = server_of(c);
    link_detach(c->pooled->link);
    c->server = NULL;
    c->server_lingering = false;
    pool_discard(s);
}

/* --- the end ------------------------------------------------------------------------------------------------ */

/* What was sent before Terminate still finishes (P8), so who said that still gets the server that it waits for. */
bool pooled_begin_end(struct client *c)
{
    struct pooled *p = c->pooled;
    if (pooled_is_waiting(p) && c->terminated && c->worker->phase == WORKER_RUNNING)
        return true;
    if (pooled_is_waiting(p))
        pool_wait_leave(p->pool, &p->wait);
    if (c->server == NULL)
        return false;
    c->replies.left = 0; /* nobody hears the rest of a message that was under way */
    bool clean = link_end(p->link, &c->worker->link_actions) && !c->server->conn.ending;
    pooled_flush(c);
    if (!clean)
        pooled_cut(c);
    return clean;
}

size_t pooled_skip_pieces(struct client *c, struct span input)
{
    struct link *l = c->pooled->link;
    struct link_piece piece;
    size_t used = 0;
    while (link_on_server(l, span_make(input.data + used, input.size - used), &piece, &c->worker->link_actions)) {
        used += piece.skip;
        if (piece.own)
            continue;
        link_took(l, piece.bytes.size);
        used += piece.bytes.size;
    }
    pooled_flush(c);
    return used + piece.skip;
}

void pooled_on_ending_input(struct client *c)
{
    struct server *s = c->server;
    struct span input;
    switch (conn_receive(&s->conn, &input)) {
    case CONN_NOTHING:
        return;
    case CONN_LOST:
        pooled_cut(c);
        return;
    case CONN_INPUT:
        conn_keep(&s->conn, input, pooled_skip_pieces(c, input));
        break;
    }
    if (link_error(c->pooled->link) != NULL)
        pooled_cut(c);
}

void pooled_abandon(struct client *c)
{
    struct pooled *p = c->pooled;
    if (pooled_is_waiting(p))
        pool_wait_leave(p->pool, &p->wait);
    pooled_cut(c);
}

void pooled_free(struct client *c)
{
    struct pooled *p = c->pooled;
    if (p == NULL)
        return;
    pooled_abandon(c);
    cancel_key_remove(p->key);
    link_free(p->link);
    listen_unsubscribe(p->listener);
    buffer_free(&p->backlog);
    pool_leave(p->pool);
    dequeue_awake(c->worker, p);
    free(p);
    c->pooled = NULL;
}
