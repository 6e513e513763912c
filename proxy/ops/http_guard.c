/* evhttp tells nobody when a connection ends. But it takes the bufferevents that we make for it, and forgets their callbacks when it is done
 * with them: so we keep a reference to each, and look whether it is still in use. To end a connection is to shut its socket down,
 * upon which evhttp closes it as if the peer had gone.
 *
 * The socket is closed with the last reference, which is ours: before that its number must not become somebody else's, for the
 * bufferevent watches it to the end. */
#include "proxy/ops/http_guard.h"

#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "protocol/memory.h"
#include "proxy/ops/log.h"

enum { SECOND_US = 1000 * 1000, INPUT_MOST = 64 * 1024 };

struct guest {
    struct guest *next;
    struct bufferevent *stream; /* a reference */
    struct loop *loop;
    uint64_t deadline_us;
    bool ended; /* by us, and evhttp has yet to notice */
};

struct http_guard {
    struct loop *loop;
    struct guest *guests; /* the newest comes first */
    struct timer *sweep;  /* runs while there are any */
};

static void give_time(struct guest *guest, uint64_t seconds)
{
    guest->deadline_us = loop_now_us(guest->loop) + seconds * SECOND_US;
}

static bool is_over(const struct guest *guest)
{
    void *owner = NULL;
    bufferevent_getcb(guest->stream, NULL, NULL, NULL, &owner);
    return owner == NULL;
}

/* Closes those that are over; returns how many are left. */
static size_t close_old(struct http_guard *g)
{
    size_t left = 0;
    for (struct guest **link = &g->guests, *guest; (guest = *link) != NULL;) {
        if (!is_over(guest)) {
            left++;
            link = &guest->next;
            continue;
        }
        *link = guest->next;
        bufferevent_decref(guest->stream);
        free(guest);
    }
    return left;
}

static void end(struct guest *guest, const char *why)
{
    guest->ended = true;
    shutdown(bufferevent_getfd(guest->stream), SHUT_RDWR);
    LOG(LOG_DEBUG, "HTTP connection closed", log_text("detail", why));
}

static void end_first_to_go(struct http_guard *g)
{
    struct guest *first = NULL;
    for (struct guest *guest = g->guests; guest != NULL; guest = guest->next)
        if (!guest->ended && (first == NULL || guest->deadline_us <= first->deadline_us))
            first = guest;
    if (first != NULL)
        end(first, "there are too many");
}

static void on_sweep(void *context)
{
    struct http_guard *g = context;
    uint64_t now_us = loop_now_us(g->loop);
    if (close_old(g) == 0)
        return;
    for (struct guest *guest = g->guests; guest != NULL; guest = guest->next)
        if (!guest->ended && now_us >= guest->deadline_us)
            end(guest, "it took too long");
    timer_start(g->sweep, SECOND_US);
}

/* evhttp gives it its socket when this has returned. */
static struct bufferevent *on_connection(struct event_base *base, void *context)
{
    struct http_guard *g = context;
    if (close_old(g) >= HTTP_CONNECTIONS_MOST)
        end_first_to_go(g);
    struct guest *guest = or_abort(calloc(1, sizeof *guest));
    *guest = (struct guest){ .next = g->guests, .loop = g->loop };
    guest->stream = or_abort(bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE));
    bufferevent_incref(guest->stream);
    bufferevent_setwatermark(guest->stream, EV_READ, 0, INPUT_MOST); /* also when nobody reads it any more */
    give_time(guest, HTTP_HEAD_S);
    g->guests = guest;
    if (!timer_is_running(g->sweep))
        timer_start(g->sweep, SECOND_US);
    return guest->stream;
}

static void on_answered(struct evhttp_request *request, void *context)
{
    (void)request;
    give_time(context, HTTP_HEAD_S);
}

void http_guard_on_request(struct http_guard *g, struct evhttp_request *request)
{
    struct bufferevent *stream = evhttp_connection_get_bufferevent(evhttp_request_get_connection(request));
    for (struct guest *guest = g->guests; guest != NULL; guest = guest->next) {
        if (guest->stream != stream)
            continue;
        give_time(guest, HTTP_ANSWER_S);
        evhttp_request_set_on_complete_cb(request, on_answered, guest);
    }
}

struct http_guard *http_guard_new(struct loop *l, struct evhttp *http)
{
    struct http_guard *g = or_abort(calloc(1, sizeof *g));
    g->loop = l;
    g->sweep = timer_new(l, on_sweep, g);
    evhttp_set_bevcb(http, on_connection, g);
    return g;
}

void http_guard_free(struct http_guard *g)
{
    if (g == NULL)
        return;
    close_old(g);
    timer_free(g->sweep);
    free(g);
}
