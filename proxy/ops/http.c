/* libevent's evhttp, a table of paths, and answers that may take until all workers have been asked.
 *
 * Nobody who can merely send packets here should be able to do more than read: only GET and HEAD, small heads, no bodies, not too many
 * connections, and who is slow is gone (http_guard.h). A page that some other site serves cannot read anything either: the browser is told
 * to keep what it gets to this origin, and on a loopback address a Host that is a name other than localhost is refused, for it can only be
 * a trick. */
#include "proxy/ops/http.h"

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <stdio.h>
#include <unistd.h>

#include "protocol/memory.h"
#include "proxy/net/listener.h"
#include "proxy/ops/http_guard.h"
#include "proxy/ops/json_write.h"
#include "proxy/ops/log.h"
#include "proxy/ops/metrics.h"
#include "proxy/ops/page.h"
#include "proxy/ops/readiness.h"
#include "proxy/ops/recent.h"
#include "proxy/ops/state_json.h"
#include "proxy/pool/pool.h"

enum { TIMEOUT_S = 10, HEAD_MOST = 8192, BODY_MOST = 1024, REST_US = 200 * 1000 };
enum { OK = 200, FORBIDDEN = 403, NOT_FOUND = 404, METHOD_NOT_ALLOWED = 405, UNAVAILABLE = 503 };

#define JSON "application/json"
#define TEXT "text/plain; charset=utf-8"

/* A request that waits for its answer. */
struct answer {
    struct answer *next, **link;
    struct evhttp_request *request;
    const char *type;
    void (*append)(struct buffer *b, const struct snapshot *s, const struct config *config);
    struct snapshot_question *question; /* NULL, or what it waits for */
    struct readiness_wait *wait;        /* likewise */
};

static struct {
    struct loop *loop;
    struct config *config; /* a reference; NULL: closed */
    struct evhttp *http;   /* NULL: off */
    struct http_guard *guard;
    char *address; /* where that is, as the config had it; NULL: nowhere */
    bool is_loopback;
    struct evconnlistener *listener;
    struct timer *rest; /* runs while there are no descriptors left */
    struct readiness *readiness;
    struct answer *answers;
    bool draining;
} server;

/* --- replies --------------------------------------------------------------------------------------- */

static void add_headers(struct evhttp_request *request, const char *type)
{
    static const char *const headers[][2] = {
        { "Cache-Control", "no-store" },
        { "Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
                                     "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'" },
        { "Cross-Origin-Resource-Policy", "same-origin" },
        { "Referrer-Policy", "no-referrer" },
        { "X-Content-Type-Options", "nosniff" },
    };
    struct evkeyvalq *out = evhttp_request_get_output_headers(request);
    evhttp_add_header(out, "Content-Type", type);
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
        evhttp_add_header(out, headers[i][0], headers[i][1]);
}

static void reply(struct evhttp_request *request, int status, const char *type, struct span body)
{
    struct evbuffer *bytes = or_abort(evbuffer_new());
    char length[24];
    snprintf(length, sizeof length, "%zu", body.size);
    add_headers(request, type);
    evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Length", length);
    if (evhttp_request_get_command(request) != EVHTTP_REQ_HEAD)
        evbuffer_add(bytes, body.data, body.size);
    evhttp_send_reply(request, status, NULL, bytes);
    evbuffer_free(bytes);
}

static void reply_text(struct evhttp_request *request, int status, const char *text)
{
    struct buffer line = { 0 };
    buffer_format(&line, "%s\n", text);
    reply(request, status, TEXT, buffer_span(&line));
    buffer_free(&line);
}

/* --- answers that take time ------------------------------------------------------------------------- */

static struct answer *answer_new(struct evhttp_request *request)
{
    struct answer *a = or_abort(calloc(1, sizeof *a));
    *a = (struct answer){ .next = server.answers, .link = &server.answers, .request = request };
    if (a->next != NULL)
        a->next->link = &a->next;
    server.answers = a;
    return a;
}

static void answer_free(struct answer *a)
{
    *a->link = a->next;
    if (a->next != NULL)
        a->next->link = a->link;
    free(a);
}

static void on_snapshot(void *context, const struct snapshot *s)
{
    struct answer *a = context;
    struct buffer body = { 0 };
    a->append(&body, s, server.config);
    reply(a->request, OK, a->type, buffer_span(&body));
    buffer_free(&body);
    answer_free(a);
}

static void answer_from_snapshot(struct evhttp_request *request, const char *type, enum snapshot_scope scope,
                                 void (*append)(struct buffer *, const struct snapshot *, const struct config *))
{
    struct answer *a = answer_new(request);
    a->type = type;
    a->append = append;
    a->question = snapshot_ask(server.loop, scope, on_snapshot, a);
    if (a->question != NULL)
        return;
    reply_text(request, UNAVAILABLE, "stopping");
    answer_free(a);
}

static void on_readiness(void *context, const char *why_not)
{
    struct answer *a = context;
    if (why_not == NULL)
        reply_text(a->request, OK, "ready");
    else
        reply_text(a->request, UNAVAILABLE, why_not);
    answer_free(a);
}

/* --- paths ------------------------------------------------------------------------------------------ */

static void answer_page(struct evhttp_request *request)
{
    reply(request, OK, "text/html; charset=utf-8", span_make(page_html, (size_t)(page_html_end - page_html)));
}

static void answer_css(struct evhttp_request *request)
{
    reply(request, OK, "text/css; charset=utf-8", span_make(page_css, (size_t)(page_css_end - page_css)));
}

static void answer_js(struct evhttp_request *request)
{
    reply(request, OK, "text/javascript; charset=utf-8", span_make(page_js, (size_t)(page_js_end - page_js)));
}

static void answer_state(struct evhttp_request *request)
{
    answer_from_snapshot(request, JSON, SNAPSHOT_REQUESTS, state_json_append);
}

static void answer_metrics(struct evhttp_request *request)
{
    answer_from_snapshot(request, METRICS_CONTENT_TYPE, SNAPSHOT_COUNTS, metrics_append);
}

static void answer_events(struct evhttp_request *request)
{
    struct buffer body = { 0 };
    json_open(&body, NULL, '{');
    recent_append_json(&body, "events", RECENT_MOST);
    json_close(&body, '}');
    reply(request, OK, JSON, buffer_span(&body));
    buffer_free(&body);
}

static void answer_health(struct evhttp_request *request)
{
    reply_text(request, OK, "alive");
}

static void answer_readiness(struct evhttp_request *request)
{
    const char *why_not = server.draining ? "draining" : pools_are_paused() ? "paused" : NULL;
    if (why_not != NULL) {
        reply_text(request, UNAVAILABLE, why_not);
        return;
    }
    /* It may be answered, and gone, before this returns. */
    struct answer *a = answer_new(request);
    struct readiness_wait *wait = readiness_ask(server.readiness, server.config, on_readiness, a);
    if (wait != NULL)
        a->wait = wait;
}

static const struct {
    const char *path;
    void (*answer)(struct evhttp_request *request);
} paths[] = {
    { "/", answer_page },          { "/page.css", answer_css },
    { "/page.js", answer_js },     { "/state.json", answer_state },
    { "/events", answer_events },  { "/metrics", answer_metrics },
    { "/healthz", answer_health }, { "/readyz", answer_readiness },
};

/* "localhost", "127.0.0.1:9632", "[::1]:9632", or none at all. */
static bool is_host_honest(const char *host)
{
    char name[64];
    struct in6_addr ignored;
    if (host == NULL || host[0] == '[' || !server.is_loopback)
        return true;
    size_t size = strcspn(host, ":");
    if (size >= sizeof name)
        return false;
    memcpy(name, host, size);
    name[size] = '\0';
    return strcasecmp(name, "localhost") == 0 || inet_pton(AF_INET, name, &ignored) == 1;
}

static void on_request(struct evhttp_request *request, void *context)
{
    (void)context;
    http_guard_on_request(server.guard, request);
    enum evhttp_cmd_type method = evhttp_request_get_command(request);
    if (!is_host_honest(evhttp_find_header(evhttp_request_get_input_headers(request), "Host"))) {
        reply_text(request, FORBIDDEN, "pgatomic listens on this machine only: ask for localhost or its address");
        return;
    }
    if (method != EVHTTP_REQ_GET && method != EVHTTP_REQ_HEAD) {
        evhttp_add_header(evhttp_request_get_output_headers(request), "Allow", "GET, HEAD");
        reply_text(request, METHOD_NOT_ALLOWED, "nothing can be changed here");
        return;
    }
    const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(request));
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (path != NULL && strcmp(path, paths[i].path) == 0) {
            paths[i].answer(request);
            return;
        }
    reply_text(request, NOT_FOUND, "there are /, /metrics, /events, /healthz and /readyz");
}

/* --- the address ------------------------------------------------------------------------------------- */

/* A connection that waits while no descriptor is left would make the loop spin. */
static void on_accept_failed(struct evconnlistener *listener, void *context)
{
    (void)context;
    evconnlistener_disable(listener);
    timer_start(server.rest, REST_US);
}

static void on_rested(void *context)
{
    (void)context;
    evconnlistener_enable(server.listener);
}

static struct evhttp *serve(struct loop *l, int fd, struct evconnlistener **listener)
{
    struct evhttp *http = or_abort(evhttp_new(l->base));
    struct evhttp_bound_socket *bound = or_abort(evhttp_accept_socket_with_handle(http, fd));
    *listener = evhttp_bound_socket_get_listener(bound);
    evconnlistener_set_error_cb(*listener, on_accept_failed);
    evhttp_set_timeout(http, TIMEOUT_S);
    evhttp_set_max_headers_size(http, HEAD_MOST);
    evhttp_set_max_body_size(http, BODY_MOST);
    evhttp_set_allowed_methods(http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST | EVHTTP_REQ_PUT |
                                         EVHTTP_REQ_DELETE | EVHTTP_REQ_OPTIONS | EVHTTP_REQ_PATCH);
    evhttp_set_gencb(http, on_request, NULL);
    return http;
}

/* What waits is answered now: libevent frees the requests of connections that it closes, and we should forget ours. */
static void answer_all(void)
{
    for (struct answer *a; (a = server.answers) != NULL;) {
        snapshot_forget(a->question);
        readiness_forget(a->wait);
        reply_text(a->request, UNAVAILABLE, "stopping");
        answer_free(a);
    }
}

static void stop_serving(void)
{
    answer_all();
    if (server.http == NULL)
        return;
    evhttp_free(server.http);
    http_guard_free(server.guard);
    readiness_free(server.readiness);
    timer_free(server.rest);
    free(server.address);
    server.address = NULL;
    server.http = NULL;
    server.guard = NULL;
    server.listener = NULL;
    server.readiness = NULL;
    server.rest = NULL;
}

static void start_serving(int fd, const struct listen_address *address)
{
    server.address = memory_copy_text(address->text);
    server.is_loopback = strncmp(address->host, "127.", 4) == 0 || strcmp(address->host, "::1") == 0;
    server.readiness = readiness_new(server.loop);
    server.rest = timer_new(server.loop, on_rested, NULL);
    server.http = serve(server.loop, fd, &server.listener);
    server.guard = http_guard_new(server.loop, server.http);
}

static void take_config(struct config *config)
{
    struct config *before = server.config;
    server.config = config_retain(config);
    if (before != NULL)
        config_release(before);
}

bool http_open(struct loop *l, struct config *config, char *error, size_t error_size)
{
    const struct listen_address *wanted = &config->http;
    bool is_on = wanted->text[0] != '\0', is_new = strcmp(server.address ? server.address : "", wanted->text) != 0;
    struct address address;
    int fd = -1;
    server.loop = l;
    if (is_new && is_on)
        fd = listener_socket(wanted->host, wanted->port, false, &address, error, error_size);
    if (is_new && (fd >= 0 || !is_on))
        stop_serving();
    if (fd >= 0)
        start_serving(fd, wanted);
    take_config(config);
    return !is_new || !is_on || fd >= 0;
}

int http_descriptor(void)
{
    return server.listener != NULL ? evconnlistener_get_fd(server.listener) : -1;
}

void http_drain(void)
{
    server.draining = true;
}

void http_close(void)
{
    stop_serving();
    if (server.config != NULL)
        config_release(server.config);
    server.config = NULL;
}
