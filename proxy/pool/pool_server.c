/* A server in the pool's own hands.
 *
 *     connecting --dialed--> login --ReadyForQuery--> READY: idle, or a client's
 *      |  ^                    |                       |  ^
 *      |  +---- next host -----+                       |  +--- CLEANING <--- comes back with something on it
 *      |                       |                       |
 *      +------- closed <-------+---- idle for too long-+
 *
 * In each state its messages are read by one function, a frame at a time; nobody else's bytes are among them. What an idle server says is
 * recorded, logged or dropped: notices, parameters that a reload of its config has changed, and last words, which nobody waits for. Whoever
 * says those gets no client any more, though its end may be a moment behind them. */
#include <stdlib.h>

#include "config/users.h"
#include "protocol/memory.h"
#include "protocol/message.h"
#include "proxy/auth/random.h"
#include "proxy/ops/log.h"
#include "proxy/pool/pool.h"
#include "proxy/pool/server_login.h"
#include "proxy/worker.h"

enum { CLEANING_US = 15 * 1000 * 1000, MESSAGE_MOST = 1 << 20 };

static void on_login_ready(void *owner, bool readable);
static void on_login_late(void *owner);
static void on_cleaning_ready(void *owner, bool readable);

/* --- ending ------------------------------------------------------------------------------------------- */

static void stop_timer(struct pool_server *s)
{
    timer_free(s->timer);
    s->timer = NULL;
}

static void leave_state(struct pool_server *s)
{
    struct pool *p = s->pool;
    if (s->state == POOL_SERVER_CONNECTING)
        p->connecting_count--;
    else if (s->state == POOL_SERVER_CLEANING)
        p->cleaning_count--;
    else if (s->idle_link != NULL)
        pool_unlink_idle(s);
    s->state = POOL_SERVER_READY;
}

static void unlink_server(struct pool_server *s)
{
    *s->link = s->next;
    if (s->next != NULL)
        s->next->link = s->link;
}

static void link_server(struct pool_server *s, struct pool *p)
{
    s->pool = p;
    s->next = p->servers;
    s->link = &p->servers;
    if (s->next != NULL)
        s->next->link = &s->next;
    p->servers = s;
}

void pool_server_close(struct pool_server *s)
{
    struct pool *p = s->pool;
    bool was_retired = s->retired;
    leave_state(s);
    unlink_server(s);
    stopwatch_add(&s->server.watch, loop_now_us(&p->worker->loop), &p->query_us, &p->transaction_us);
    cancel_guard_dissolve(&p->worker->cancels, &s->guard);
    stop_timer(s);
    server_close(&s->server);
    server_login_free(s->login);
    link_server_free(s->record);
    if (s->config != NULL)
        config_release(s->config);
    free(s);
    atomic_fetch_sub(&p->shared->servers, 1);
    if (was_retired)
        atomic_fetch_sub(&p->shared->retired, 1);
    pool_on_room(p);
    pool_let_go(p->shared);
}

/* Says farewell, as a client does that has nothing more to ask. */
static void retire(struct pool_server *s)
{
    struct buffer farewell = { 0 };
    message_add_terminate(&farewell);
    conn_send_span(&s->server.conn, buffer_span(&farewell));
    buffer_free(&farewell);
    pool_server_close(s);
}

void pool_discard(struct pool_server *s)
{
    s->pool->active_count--;
    pool_server_close(s);
}

/* --- reading ------------------------------------------------------------------------------------------- */

enum heard { HEARD_MORE, HEARD_ENOUGH };

/* Hands what has come to `hear`, a frame at a time; the body of a ReadyForQuery is gone by then. False: the connection has ended, or says what
 * the protocol does not know. After HEARD_ENOUGH the server may be anybody's, and is not touched any more. */
static bool read_frames(struct pool_server *s, enum heard (*hear)(struct pool_server *s, const struct frame *f))
{
    struct span input;
    size_t used = 0;
    enum conn_result result = conn_receive(&s->server.conn, &input);
    if (result != CONN_INPUT)
        return result == CONN_NOTHING;
    for (;;) {
        struct frame f;
        switch (frame_next_whole(backend_messages, span_make(input.data + used, input.size - used), MESSAGE_MOST, &f,
                                 NULL)) {
        case FRAME_MORE:
            conn_keep(&s->server.conn, input, used);
            return true;
        case FRAME_BAD:
            return false;
        case FRAME_OK:
            used += f.bytes.size;
        }
        bool may_be_enough = f.type == 'Z'; /* and what follows is for whoever has the server then */
        if (may_be_enough)
            conn_keep(&s->server.conn, input, used);
        if (hear(s, &f) == HEARD_ENOUGH)
            return true;
        if (may_be_enough) {
            input = conn_kept(&s->server.conn);
            used = 0;
        }
    }
}

static void record_parameter(struct pool_server *s, const struct frame *f)
{
    struct span name, value;
    if (message_read_parameter_status(frame_body(f), &name, &value))
        link_server_on_parameter(s->record, name, value);
}

static void log_last_words(struct pool_server *s, const struct frame *f)
{
    struct message_error e;
    if (message_read_error(frame_body(f), &e))
        LOG(LOG_WARN, "an idle server has said an error", log_text("database", s->pool->shared->name),
            log_text("user", s->pool->shared->user), log_span("sqlstate", e.sqlstate), log_span("detail", e.message));
}

static enum heard hear_idle(struct pool_server *s, const struct frame *f)
{
    if (f->type == 'S')
        record_parameter(s, f);
    else if (f->type == 'E')
        log_last_words(s, f);
    if (f->type != 'S' && f->type != 'N' && f->type != 'A')
        s->unwell = true;
    return HEARD_MORE;
}

void pool_on_idle_ready(void *owner, bool readable)
{
    struct pool_server *s = owner;
    if (readable && (!read_frames(s, hear_idle) || s->unwell))
        pool_server_close(s);
}

/* --- connecting ----------------------------------------------------------------------------------------- */

static void fail_to_connect(struct pool_server *s, const char *sqlstate, const char *message)
{
    struct pool *p = s->pool;
    pool_hold(p->shared);
    pool_connect_failed(p, sqlstate, message);
    pool_server_close(s);
    pool_after_failure(p);
    pool_let_go(p->shared);
}

/* Those of the upstream string, when it names a user, or of the users file for him; else of whoever logged in as the pool's user. */
static void find_credentials(const struct pool_server *s, struct credentials *to)
{
    const struct database *d = s->database;
    const char *kept = d->user != NULL && s->config->users != NULL ? users_password(s->config->users, d->user) : NULL;
    if (d->user == NULL)
        pool_copy_credentials(s->pool, to);
    else if (d->password != NULL)
        credentials_set_text(to, CREDENTIALS_PASSWORD, span_of(d->password));
    else if (kept != NULL)
        credentials_set_secret(to, span_of(kept));
}

static void begin_login(struct pool_server *s)
{
    struct pool *p = s->pool;
    const struct database *d = s->database;
    struct credentials credentials = { 0 };
    struct buffer out = { 0 };
    unsigned char hash[TLS_HASH_MAX];
    size_t hash_size = d->channel_binding != CHANNEL_BINDING_DISABLE ? server_certificate_hash(&s->server, hash) : 0;
    find_credentials(s, &credentials);
    struct server_login_start start = {
        .user = span_of(p->shared->user),
        .database = span_of(config_dbname(d, p->shared->name)),
        .credentials = &credentials,
        .certificate_hash = span_make((const char *)hash, hash_size),
        .binding_required = d->channel_binding == CHANNEL_BINDING_REQUIRE,
        .why_nothing =
            d->user != NULL ? ", whom upstream names without password=, and the users file has no plain one" : NULL,
        .minor = p->minor_refused ? 0 : 2,
        .random = auth_random_kernel,
        .record = s->record,
    };
    s->login = server_login_new(&start, &out);
    credentials_wipe(&credentials);
    conn_send_span(&s->server.conn, buffer_span(&out));
    conn_want_input(&s->server.conn, true);
    buffer_free(&out);
}

static void dial(struct pool_server *s);

static void on_connected(void *owner, const char *error)
{
    struct pool_server *s = owner;
    if (error == NULL) {
        begin_login(s);
        return;
    }
    if (s->database->target_session == TARGET_PREFER_STANDBY && !s->any_will_do) {
        s->any_will_do = true;
        dial(s);
        return;
    }
    struct buffer words = { 0 };
    buffer_format(&words, "could not connect to the upstream: %s", error);
    buffer_append_u8(&words, '\0');
    fail_to_connect(s, "08006", words.data);
    buffer_free(&words);
}

static void dial(struct pool_server *s)
{
    server_connect(&s->server, s->pool->worker->resolver, s->database, on_connected);
}

void pool_server_connect(struct pool *p)
{
    struct pool_server *s = or_abort(calloc(1, sizeof *s));
    server_init(&s->server, &p->worker->loop, on_login_ready, s);
    s->server.on_late = on_login_late;
    s->record = link_server_new();
    s->state = POOL_SERVER_CONNECTING;
    s->generation = p->generation;
    s->config = config_retain(p->config);
    s->database = p->database; /* which may be another one before the login is over */
    s->guard.owner = s;
    p->connecting_count++;
    pool_hold(p->shared);
    link_server(s, p);
    dial(s);
}

static void finish_login(struct pool_server *s)
{
    struct pool *p = s->pool;
    struct span secret;
    if (server_login_key(s->login, &s->process_id, &secret))
        server_set_key(&s->server, s->process_id, secret);
    server_login_free(s->login);
    s->login = NULL;
    server_accept(&s->server);
    config_release(s->config);
    s->config = NULL;
    s->database = NULL;
    leave_state(s);
    s->connected_us = loop_now_us(&p->worker->loop);
    p->backoff_us = 0;
    LOG(LOG_DEBUG, "a server of the pool is connected", log_text("database", p->shared->name),
        log_text("user", p->shared->user), log_number("process_id", s->process_id));
    pool_server_ready(s);
}

/* Another of the upstream's servers may be the one. `why` may be the login's. */
static void go_on_to_next(struct pool_server *s, const char *why)
{
    server_reject(&s->server, why);
    server_login_free(s->login);
    s->login = NULL;
    link_server_free(s->record);
    s->record = link_server_new();
}

/* This one cannot be logged into. */
static void pass_over(struct pool_server *s, const char *why)
{
    if (s->database->hosts[1] != NULL)
        LOG(LOG_WARN, "a host of the upstream is passed over", log_text("database", s->pool->shared->name),
            log_text("user", s->pool->shared->user), log_text("detail", why));
    go_on_to_next(s, why);
}

static void on_login_late(void *owner)
{
    pass_over(owner, "timeout expired during the login");
}

static void take_or_reject(struct pool_server *s)
{
    const char *why = s->any_will_do ? NULL : server_login_mismatch(s->login, s->database->target_session);
    if (why == NULL)
        finish_login(s);
    else
        go_on_to_next(s, why);
}

/* A server that knows no minor versions is asked again in the words of 3.0, from then on at once. */
static void give_up_login(struct pool_server *s)
{
    const struct server_login_fault *fault = server_login_fault(s->login);
    if (server_has_stand_in(s->database, span_of(fault->sqlstate))) {
        pass_over(s, fault->message);
        return;
    }
    if (!fault->refuses_version) {
        fail_to_connect(s, fault->sqlstate, fault->message);
        return;
    }
    s->pool->minor_refused = true;
    server_login_free(s->login);
    s->login = NULL;
    server_close(&s->server);
    dial(s);
}

static enum heard hear_login(struct pool_server *s, const struct frame *f)
{
    struct buffer out = { 0 };
    enum auth_state state = server_login_on_frame(s->login, f, &out);
    conn_send_span(&s->server.conn, buffer_span(&out));
    buffer_free(&out);
    switch (state) {
    case AUTH_MORE:
        return HEARD_MORE;
    case AUTH_OK:
        take_or_reject(s);
        return HEARD_ENOUGH;
    case AUTH_FAILED:
        give_up_login(s);
        return HEARD_ENOUGH;
    }
    return HEARD_ENOUGH;
}

static void on_login_ready(void *owner, bool readable)
{
    struct pool_server *s = owner;
    if (!readable || read_frames(s, hear_login))
        return;
    char words[SERVER_LOSS_SIZE];
    pass_over(s, server_loss(&s->server, "server closed the connection unexpectedly during the login", words));
}

/* --- cleaning ------------------------------------------------------------------------------------------- */

static void on_cleaning_late(void *context)
{
    pool_server_close(context);
}

static void end_cleaning(struct pool_server *s)
{
    stop_timer(s);
    leave_state(s);
    pool_server_ready(s);
}

static enum heard hear_cleaning(struct pool_server *s, const struct frame *f)
{
    switch (f->type) {
    case 'S':
        record_parameter(s, f);
        return HEARD_MORE;
    case 'E':
        log_last_words(s, f);
        s->unwell = true;
        return HEARD_MORE;
    case 'Z':
        if (s->unwell) {
            pool_server_close(s);
            return HEARD_ENOUGH;
        }
        s->reset_due = false;
        link_server_on_reset(s->record);
        end_cleaning(s);
        return HEARD_ENOUGH;
    default:
        return HEARD_MORE;
    }
}

static void on_cleaning_ready(void *owner, bool readable)
{
    struct pool_server *s = owner;
    if (readable && !read_frames(s, hear_cleaning))
        pool_server_close(s);
}

static void reset(struct pool_server *s)
{
    struct buffer out = { 0 };
    message_add_query(&out, span_of("DISCARD ALL"));
    conn_send_span(&s->server.conn, buffer_span(&out));
    buffer_free(&out);
}

/* The cancel requests that may have hit it have done so. */
static void on_guard_clear(void *owner)
{
    struct pool_server *s = owner;
    if (s->reset_due)
        reset(s);
    else
        end_cleaning(s);
}

void pool_server_clean(struct pool_server *s)
{
    struct pool *p = s->pool;
    if (s->retired || p->closed || pool_is_paused(p) || link_server_is_out_of_step(s->record)) {
        retire(s);
        return;
    }
    s->state = POOL_SERVER_CLEANING;
    s->reset_due = p->resets_always || link_server_needs_reset(s->record);
    p->cleaning_count++;
    s->guard.on_clear = on_guard_clear;
    s->timer = timer_new(&p->worker->loop, on_cleaning_late, s);
    timer_start(s->timer, CLEANING_US);
    pool_server_own(s, on_cleaning_ready, s);
    conn_want_input(&s->server.conn, true);
    if (cancel_guard_release(&p->worker->cancels, &s->guard))
        on_guard_clear(s);
}

/* --- moving ---------------------------------------------------------------------------------------------- */

void pool_server_leave(struct pool_server *s)
{
    unlink_server(s);
    buffer_append_span(&s->kept, conn_kept(&s->server.conn));
    s->fd = conn_release(&s->server.conn, &s->tls);
}

void pool_server_arrive(struct pool_server *s, struct pool *p)
{
    link_server(s, p);
    s->server.loop = &p->worker->loop;
    conn_open(&s->server.conn, s->server.loop, s->fd, pool_on_idle_ready, s);
    if (s->tls != NULL)
        conn_continue_tls(&s->server.conn, s->tls);
    s->tls = NULL;
    conn_keep(&s->server.conn, buffer_span(&s->kept), 0);
    buffer_free(&s->kept);
}

/* --- what has to go ---------------------------------------------------------------------------------------- */

static bool is_of_the_past(const struct pool *p, const struct pool_server *s)
{
    return s->generation != p->generation;
}

/* Numbers that follow each other, as those of backends of one burst do, lie far apart when each is multiplied by this (2^32 over the square of
 * the golden ratio) and only 32 bits are kept. */
enum { SPREADING_FACTOR = 0x61c88647, LIFETIME_SHARES = 1024 };

uint64_t pool_lifetime_us(uint64_t server_lifetime_ms, uint32_t process_id)
{
    uint64_t lifetime_us = server_lifetime_ms * 1000;
    uint64_t share = (uint32_t)(process_id * (uint32_t)SPREADING_FACTOR) / (UINT32_MAX / LIFETIME_SHARES + 1);
    return lifetime_us - lifetime_us / 10 / LIFETIME_SHARES * share;
}

static bool is_too_old(const struct pool *p, const struct pool_server *s, uint64_t now_us)
{
    uint64_t lifetime_us = pool_lifetime_us(p->database->server_lifetime_ms, s->process_id);
    return is_of_the_past(p, s) || (lifetime_us > 0 && now_us >= s->connected_us + lifetime_us);
}

/* A reload may have lowered the limit. */
static bool is_one_too_many(const struct pool *p)
{
    struct pool_shared *x = p->shared;
    return atomic_load(&x->servers) > atomic_load(&x->limit) + atomic_load(&x->retired);
}

static bool is_idle_for_too_long(const struct pool *p, const struct pool_server *s, uint64_t now_us)
{
    uint64_t timeout_us = p->database->server_idle_timeout_ms * 1000;
    return timeout_us > 0 && now_us >= s->idle_since_us + timeout_us &&
           atomic_load(&p->shared->servers) > p->database->min_size;
}

static void sweep_one(struct pool_server *s, uint64_t now_us)
{
    struct pool *p = s->pool;
    if (s->state == POOL_SERVER_CONNECTING) {
        if (is_of_the_past(p, s))
            pool_server_close(s);
        return;
    }
    if (!s->retired && (pool_is_paused(p) || is_too_old(p, s, now_us) || is_one_too_many(p))) {
        s->retired = true;
        atomic_fetch_add(&p->shared->retired, 1);
    }
    bool goes = s->retired || p->closed || is_idle_for_too_long(p, s, now_us);
    if (s->idle_link != NULL && goes)
        retire(s);
}

void pool_sweep(struct pool *p, uint64_t now_us)
{
    bool was_serving = p->serving;
    p->serving = true; /* who gets a server may close others, and the list is walked here */
    for (struct pool_server *s = p->servers, *next; s != NULL; s = next) {
        next = s->next;
        sweep_one(s, now_us);
    }
    p->serving = was_serving;
}
