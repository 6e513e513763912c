/* Cancel requests on their way.
 *
 * A request to a server is a connection of its own, to the address at which the server itself was reached (another address of the same host may
 * be another server):
 *
 *     dialing --connected--> sent --closed by the upstream--> over
 *        +------ refused, too late, or dropped by its guard --->
 *
 * One for a minted key has to ask the key's holder first, on its thread. It sends an errand there, which comes back when all is done:
 *
 *     this thread      waiting .........................................> over
 *        errand           +--> aim? --> a request of that thread's --> answer +
 *
 * The errand names the request by a number and not by its address, for the one who waits may have left. One to other processes asks them in
 * turn, in PostgreSQL's own words: who does not know the key hangs up at once. */
#include "proxy/pool/cancel.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "protocol/memory.h"
#include "protocol/message.h"
#include "proxy/net/conn.h"
#include "proxy/net/dial.h"
#include "proxy/pool/cancel_key.h"

enum { CONNECT_MS = 10 * 1000, ANSWER_US = 10 * 1000 * 1000, ERRAND_US = CONNECT_MS * 1000 + ANSWER_US };

/* Travels between threads. */
struct errand {
    struct cancel_requests *from, *to;
    uint64_t id; /* of the request that waits for it, among those of `from` */
    uint32_t process_id;
    size_t secret_size;
    char secret[CANCEL_SECRET_MAX];
    const char *error;
};

struct cancel_request {
    struct cancel_requests *all;
    struct cancel_request *next, **link;
    uint64_t id;
    struct cancel_target target;
    struct secure_dial *dial;
    struct conn conn; /* closed until the dial is done */
    struct timer *timer;
    bool sent;
    struct cancel_guard *guard; /* NULL: nobody has to wait for its end */
    struct errand *errand;      /* for which it is made; NULL: it is made for `closed` */
    struct address *peers;      /* that are still to be asked, the next one last */
    size_t peer_count;
    cancel_closed *closed; /* NULL: abandoned */
    void *context;
};

static struct cancel_request *request_new(struct cancel_requests *all, cancel_closed *closed, void *context)
{
    struct cancel_request *r = or_abort(calloc(1, sizeof *r));
    r->all = all;
    r->id = ++all->last_id;
    r->conn.fd = -1;
    r->closed = closed;
    r->context = context;
    r->next = all->first;
    r->link = &all->first;
    if (r->next != NULL)
        r->next->link = &r->next;
    all->first = r;
    return r;
}

static void leave_guard(struct cancel_request *r)
{
    struct cancel_guard *guard = r->guard;
    r->guard = NULL;
    if (guard == NULL || --guard->pending > 0 || !guard->released)
        return;
    guard->released = false;
    guard->on_clear(guard->owner);
}

static void request_free(struct cancel_request *r)
{
    *r->link = r->next;
    if (r->next != NULL)
        r->next->link = r->link;
    secure_dial_cancel(r->dial);
    conn_close(&r->conn);
    timer_free(r->timer);
    leave_guard(r);
    free(r->errand);
    free(r->peers);
    free(r);
}

static void answer_errand(struct errand *e, const char *error);
static void ask_next_peer(struct cancel_request *r);

static void finish(struct cancel_request *r, const char *error)
{
    if (r->peer_count > 0) {
        ask_next_peer(r);
        return;
    }
    struct errand *errand = r->errand;
    r->errand = NULL;
    cancel_closed *closed = r->closed;
    void *context = r->context;
    request_free(r);
    if (errand != NULL)
        answer_errand(errand, error);
    if (closed != NULL)
        closed(context, error);
}

/* --- a connection to the server -------------------------------------------------------------------- */

static void on_timeout(void *context)
{
    struct cancel_request *r = context;
    r->peer_count = 0;
    finish(r, "no answer came in time");
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

static bool is_trusted(const struct cancel_request *r, int fd)
{
    struct ucred owner;
    socklen_t size = sizeof owner;
    if (r->peers == NULL) /* the upstream, which the config names */
        return true;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &owner, &size) == 0 && owner.uid == geteuid();
}

static void on_dialed(void *context, const struct secure_connection *made, const char *error)
{
    (void)error;
    struct cancel_request *r = context;
    r->dial = NULL;
    if (made != NULL) {
        conn_open(&r->conn, r->all->loop, made->fd, on_upstream_ready, r);
        conn_continue_tls(&r->conn, made->tls);
    }
    if (made == NULL || !is_trusted(r, made->fd)) {
        if (r->peers != NULL)
            cancel_peer_remove(&r->target.way.address);
        finish(r, "the upstream could not be reached");
        return;
    }
    struct buffer packet = { 0 };
    message_add_cancel(&packet, r->target.process_id, span_make(r->target.secret, r->target.secret_size));
    conn_send_span(&r->conn, buffer_span(&packet));
    buffer_free(&packet);
    conn_want_input(&r->conn, true);
    r->sent = true;
    timer_start(r->timer, ANSWER_US);
}

static void begin(struct cancel_request *r, uint64_t timeout_ms)
{
    if (r->timer == NULL)
        r->timer = timer_new(r->all->loop, on_timeout, r);
    r->dial = secure_dial_way(r->all->loop, &r->target.way, timeout_ms, on_dialed, r);
}

struct cancel_request *cancel_send(struct cancel_requests *all, const struct cancel_target *target, uint64_t timeout_ms,
                                   cancel_closed *closed, void *context)
{
    struct cancel_request *r = request_new(all, closed, context);
    r->target = *target;
    begin(r, timeout_ms);
    return r;
}

void cancel_abandon(struct cancel_request *request)
{
    request->closed = NULL;
}

void cancel_requests_drop(struct cancel_requests *all)
{
    all->ended = true;
    while (all->first != NULL) {
        all->first->guard = NULL; /* its server goes as well */
        request_free(all->first);
    }
}

/* --- guards ---------------------------------------------------------------------------------------- */

void cancel_guard_await(struct cancel_guard *guard, struct cancel_request *request)
{
    guard->pending++;
    request->guard = guard;
}

/* Ends requests that have not been sent yet: what they were to cancel is over. */
static void recall(struct cancel_requests *all, struct cancel_guard *guard)
{
    struct cancel_request *r = all->first;
    while (r != NULL) {
        struct cancel_request *next = r->next;
        if (r->guard == guard && !r->sent && r->closed == NULL)
            finish(r, NULL);
        r = next;
    }
}

bool cancel_guard_release(struct cancel_requests *requests, struct cancel_guard *guard)
{
    if (guard->pending > 0)
        recall(requests, guard);
    guard->released = guard->pending > 0;
    return !guard->released;
}

void cancel_guard_dissolve(struct cancel_requests *requests, struct cancel_guard *guard)
{
    guard->released = false;
    if (guard->pending > 0)
        recall(requests, guard);
    for (struct cancel_request *r = requests->first; r != NULL; r = r->next)
        if (r->guard == guard)
            r->guard = NULL;
    guard->pending = 0;
}

/* --- errands ----------------------------------------------------------------------------------------- */

static void on_answered(void *context)
{
    struct errand *e = context;
    struct cancel_request *r = e->from->first;
    while (r != NULL && r->id != e->id)
        r = r->next;
    if (r != NULL)
        finish(r, e->error);
    free(e);
}

static void answer_errand(struct errand *e, const char *error)
{
    e->error = error;
    loop_post(e->from->loop, on_answered, e);
}

/* On the holder's thread. Once requests were dropped the process ends, and nobody waits for an answer. */
static void on_asked(void *context)
{
    struct errand *e = context;
    struct cancel_target target;
    if (e->to->ended) {
        free(e);
        return;
    }
    struct cancel_guard *guard = cancel_key_aim(e->process_id, span_make(e->secret, e->secret_size), &target);
    if (guard == NULL) {
        answer_errand(e, NULL);
        return;
    }
    struct cancel_request *r = cancel_send(e->to, &target, CONNECT_MS, NULL, NULL);
    r->errand = e;
    cancel_guard_await(guard, r);
}

static struct cancel_request *send_errand(struct cancel_requests *all, struct cancel_requests *home,
                                          uint32_t process_id, struct span secret, cancel_closed *closed, void *context)
{
    struct cancel_request *r = request_new(all, closed, context);
    r->timer = timer_new(all->loop, on_timeout, r);
    timer_start(r->timer, ERRAND_US);
    struct errand *e = or_abort(malloc(sizeof *e));
    *e = (struct errand){ all, home, r->id, process_id, secret.size, { 0 }, NULL };
    memcpy(e->secret, secret.data, secret.size);
    loop_post(home->loop, on_asked, e);
    return r;
}

/* --- other processes ----------------------------------------------------------------------------------- */

static struct {
    pthread_mutex_t lock;
    struct address list[CANCEL_PEERS_MAX]; /* the newest first */
    size_t count;
} others = { .lock = PTHREAD_MUTEX_INITIALIZER };

void cancel_peer_add(const struct address *address)
{
    cancel_peer_remove(address);
    pthread_mutex_lock(&others.lock);
    if (others.count < CANCEL_PEERS_MAX)
        others.count++;
    memmove(others.list + 1, others.list, (others.count - 1) * sizeof *others.list);
    others.list[0] = *address;
    pthread_mutex_unlock(&others.lock);
}

void cancel_peer_remove(const struct address *address)
{
    pthread_mutex_lock(&others.lock);
    size_t kept = 0;
    for (size_t i = 0; i < others.count; i++)
        if (!address_equal(&others.list[i], address))
            others.list[kept++] = others.list[i];
    others.count = kept;
    pthread_mutex_unlock(&others.lock);
}

size_t cancel_peers(struct address out[CANCEL_PEERS_MAX])
{
    pthread_mutex_lock(&others.lock);
    size_t count = others.count;
    memcpy(out, others.list, count * sizeof *out);
    pthread_mutex_unlock(&others.lock);
    return count;
}

static void ask_next_peer(struct cancel_request *r)
{
    conn_close(&r->conn);
    r->target.way.address = r->peers[--r->peer_count];
    begin(r, CONNECT_MS);
}

static struct cancel_request *ask_peers(struct cancel_requests *all, uint32_t process_id, struct span secret,
                                        cancel_closed *closed, void *context)
{
    struct address list[CANCEL_PEERS_MAX];
    size_t count = cancel_peers(list);
    if (count == 0)
        return NULL;
    struct cancel_request *r = request_new(all, closed, context);
    r->target.process_id = process_id;
    r->target.secret_size = secret.size;
    memcpy(r->target.secret, secret.data, secret.size);
    r->peers = or_abort(malloc(count * sizeof *r->peers));
    r->peer_count = count;
    for (size_t i = 0; i < count; i++)
        r->peers[i] = list[count - 1 - i];
    ask_next_peer(r);
    return r;
}

struct cancel_request *cancel_carry(struct cancel_requests *all, uint32_t process_id, struct span secret, bool pass_on,
                                    cancel_closed *closed, void *context)
{
    struct cancel_target target;
    if (cancel_key_find(process_id, secret, &target))
        return cancel_send(all, &target, CONNECT_MS, closed, context);
    struct cancel_requests *home = cancel_key_home(process_id, secret);
    if (home != NULL)
        return send_errand(all, home, process_id, secret, closed, context);
    return pass_on ? ask_peers(all, process_id, secret, closed, context) : NULL;
}
