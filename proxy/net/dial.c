/* Connecting, one address after the other.
 *
 *     next host --name--> RESOLVING --answer--> next address --connect--> CONNECTING --writable--> done
 *         ^                                         ^  |                        |
 *         |                                         +--|---- refused, too late -+
 *         +---------------- no more addresses ---------+
 *
 * A dial ends exactly once: by calling `done` without its being kept, or by dial_cancel(). What is known at once is told a moment later, from the
 * loop, so that whoever dials never meets its own callback on the way. */
#include "proxy/net/dial.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/util.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "protocol/memory.h"
#include "protocol/buffer.h"
#include "proxy/net/socket.h"

struct dial {
    struct loop *loop;
    struct resolver *resolver;
    struct dial_targets targets;
    dial_done *done;
    void *context;

    size_t *order;   /* of the hosts; NULL: as they stand */
    size_t turn;     /* the host whose addresses are in `list` is the one of the turn before this */
    bool is_telling; /* `done` is being called */
    bool kept;
    struct resolver_wait *wait;
    struct address *list;
    size_t count, at; /* list[at] is the next to try */
    struct address trying;
    int fd; /* -1: not connecting */
    struct event *event;
    struct buffer errors;
};

static void try_next(struct dial *d);

static void stop_connecting(struct dial *d)
{
    if (d->event != NULL)
        event_free(d->event);
    d->event = NULL;
    if (d->fd >= 0)
        close(d->fd);
    d->fd = -1;
}

static void dial_free(struct dial *d)
{
    stop_connecting(d);
    if (d->wait != NULL)
        resolver_forget(d->wait);
    buffer_free(&d->errors);
    free(d->order);
    free(d->list);
    free(d);
}

void dial_cancel(struct dial *d)
{
    if (d != NULL && d->is_telling)
        d->kept = false;
    else if (d != NULL)
        dial_free(d);
}

static void watch(struct dial *d, short what, event_callback_fn on_event)
{
    d->event = or_abort(event_new(d->loop->base, d->fd, what, on_event, d));
}

/* Every address has failed. */
static void on_exhausted(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct dial *d = arg;
    buffer_append_u8(&d->errors, '\0');
    d->done(d->context, -1, NULL, d->errors.data);
    dial_free(d);
}

static void add_error(struct dial *d, const char *where, uint16_t port, const char *why)
{
    if (d->errors.size > 0)
        buffer_append_text(&d->errors, "\n");
    if (where[0] == '/')
        buffer_format(&d->errors, "connection to server on socket \"%s\" failed: %s", where, why);
    else
        buffer_format(&d->errors, "connection to server at \"%s\", port %u failed: %s", where, port, why);
}

static void add_connect_error(struct dial *d, const char *why)
{
    char text[ADDRESS_TEXT_SIZE];
    address_format(&d->trying, text);
    uint16_t port;
    char *host = memory_copy_span(address_split(text, &port));
    add_error(d, host, port, why);
    free(host);
}

/* --- connecting ----------------------------------------------------------------------------------- */

static void connected(struct dial *d)
{
    int fd = d->fd;
    d->fd = -1; /* the callee's now */
    stop_connecting(d);
    d->is_telling = true;
    d->kept = false;
    d->done(d->context, fd, &d->trying, NULL);
    d->is_telling = false;
    if (!d->kept)
        dial_free(d);
}

void dial_keep(struct dial *d)
{
    d->kept = true;
}

/* Of one address there is one host. */
size_t dial_host(const struct dial *d)
{
    if (d->turn == 0)
        return 0;
    return d->order != NULL ? d->order[d->turn - 1] : d->turn - 1;
}

static void failed(struct dial *d, const char *why)
{
    stop_connecting(d);
    add_connect_error(d, why);
    try_next(d);
}

static void on_connect(evutil_socket_t fd, short what, void *arg)
{
    struct dial *d = arg;
    int why = 0;
    socklen_t size = sizeof why;
    if (what & EV_TIMEOUT)
        failed(d, "timeout expired");
    else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &size) < 0 || why != 0)
        failed(d, strerror(why != 0 ? why : errno));
    else
        connected(d);
}

static void wait_for_connect(struct dial *d)
{
    struct timeval timeout = { .tv_sec = (time_t)(d->targets.timeout_ms / 1000),
                               .tv_usec = (suseconds_t)(d->targets.timeout_ms % 1000 * 1000) };
    watch(d, EV_WRITE, on_connect);
    event_add(d->event, d->targets.timeout_ms > 0 ? &timeout : NULL);
}

static void try_address(struct dial *d, const struct address *to)
{
    d->trying = *to;
    d->fd = socket(to->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (d->fd < 0) {
        failed(d, strerror(errno));
        return;
    }
    socket_set_up(d->fd, to, d->targets.tcp != NULL ? d->targets.tcp : &tcp_options_usual);
    if (connect(d->fd, &to->any, to->size) == 0) {
        watch(d, EV_WRITE, on_connect);
        event_active(d->event, EV_WRITE, 1);
    } else if (errno == EINPROGRESS) {
        wait_for_connect(d);
    } else {
        failed(d, strerror(errno));
    }
}

/* --- hosts ---------------------------------------------------------------------------------------- */

static void set_list(struct dial *d, const struct address *list, size_t count)
{
    free(d->list);
    d->list = or_abort(malloc(count * sizeof *list));
    memcpy(d->list, list, count * sizeof *list);
    d->count = count;
    d->at = 0;
}

static void on_found(void *context, const struct address *list, size_t count, const char *error)
{
    struct dial *d = context;
    d->wait = NULL;
    uint16_t port = d->targets.ports[dial_host(d)];
    if (count == 0) {
        buffer_format(&d->errors, "%scould not translate host name \"%s\" to address: %s",
                      d->errors.size > 0 ? "\n" : "", d->targets.hosts[dial_host(d)], error);
    } else {
        set_list(d, list, count);
        for (size_t i = 0; i < count; i++)
            address_set_port(&d->list[i], port);
    }
    try_next(d);
}

static void look_up_host(struct dial *d, const char *host, uint16_t port)
{
    struct address address;
    if (host[0] == '/' && !address_set_unix(&address, host, port)) {
        add_error(d, host, port, "the path is too long for a socket");
        try_next(d);
    } else if (host[0] == '/' || address_set_ip(&address, host, port)) {
        set_list(d, &address, 1);
        try_next(d);
    } else {
        /* When the answer is known already, on_found has run by now, and the dial may wait for another name. */
        struct resolver_wait *wait = resolver_find(d->resolver, host, on_found, d);
        if (wait != NULL)
            d->wait = wait;
    }
}

static void try_next(struct dial *d)
{
    if (d->at < d->count) {
        try_address(d, &d->list[d->at++]);
    } else if (d->targets.hosts != NULL && d->targets.hosts[d->turn] != NULL) {
        d->turn++;
        look_up_host(d, d->targets.hosts[dial_host(d)], d->targets.ports[dial_host(d)]);
    } else {
        watch(d, 0, on_exhausted);
        event_active(d->event, 0, 1);
    }
}

void dial_next(struct dial *d, const char *why)
{
    add_connect_error(d, why);
    try_next(d);
}

void dial_again(struct dial *d)
{
    struct address same = d->trying;
    try_address(d, &same);
}

static void shuffle(struct dial *d)
{
    size_t count = 0;
    while (d->targets.hosts[count] != NULL)
        count++;
    d->order = or_abort(calloc(count + 1, sizeof *d->order));
    for (size_t i = 0; i < count; i++) { /* each takes the place of one that came before it, or its own */
        size_t random;
        evutil_secure_rng_get_bytes(&random, sizeof random);
        size_t place = random % (i + 1);
        d->order[i] = d->order[place];
        d->order[place] = i;
    }
}

static struct dial *dial_new(struct loop *l, dial_done *done, void *context)
{
    struct dial *d = or_abort(calloc(1, sizeof *d));
    d->loop = l;
    d->done = done;
    d->context = context;
    d->fd = -1;
    return d;
}

struct dial *dial_hosts(struct loop *l, struct resolver *r, const struct dial_targets *targets, dial_done *done,
                        void *context)
{
    struct dial *d = dial_new(l, done, context);
    d->resolver = r;
    d->targets = *targets;
    if (targets->shuffled)
        shuffle(d);
    try_next(d);
    return d;
}

struct dial *dial_address(struct loop *l, const struct address *to, uint64_t timeout_ms, const struct tcp_options *tcp,
                          dial_done *done, void *context)
{
    struct dial *d = dial_new(l, done, context);
    d->targets.timeout_ms = timeout_ms;
    d->targets.tcp = tcp;
    set_list(d, to, 1);
    try_next(d);
    return d;
}
