/* Webhooks: one POST an event, by libcurl on the dispatcher's loop.
 *
 *     deliver() ──▶ post ──▶ curl multi ──▶ judge() ──▶ delivery_done()
 *
 * libcurl keeps the connections, speaks HTTP/1.1 and 2, and verifies https. It says which sockets to watch and when to wake it, and is
 * told what has happened; everything else is its own. Only 2xx is success: a redirect is none, for an event must not go where nobody has
 * configured it. Of an answer only the first bytes are kept, to be the reason of a failure. */
#include <curl/curl.h>
#include <event2/event.h>
#include <pthread.h>
#include <string.h>

#include "protocol/memory.h"
#include "proxy/clock.h"
#include "proxy/events/sink.h"
#include "proxy/events/webhook_message.h"
#include "proxy/events/webhook_sign.h"
#include "proxy/ops/json.h"
#include "proxy/ops/log.h"
#include "proxy/version.h"

enum {
    WINDOW = 32,              /* posts at once, and so the most connections over HTTP/1.1 */
    LONGEST_ANSWER = 1 << 20, /* what comes behind is not waited for */
    LONGEST_REASON = 200
};

struct post {
    struct post *next; /* among the idle ones, or those on their way */
    struct webhook *webhook;
    struct delivery *delivery;
    CURL *easy;
    struct curl_slist *headers;
    struct webhook_message message;
    struct buffer answer;
    size_t answered; /* bytes */
    char error[CURL_ERROR_SIZE];
};

struct webhook {
    const struct sink *config;
    struct loop *loop;
    CURLM *multi;
    struct timer *timer;
    struct buffer key; /* of the signatures; empty: none */
    bool has_bad_key;
    bool has_secret_url; /* then an answer might repeat it, and is not shown */
    struct post *idle, *busy;
};

static bool is_said(const char *text)
{
    return text != NULL && text[0] != '\0';
}

/* --- sockets and time, as libcurl wants them --------------------------------------------------------- */

static void finish_posts(struct webhook *w);

static void act(struct webhook *w, curl_socket_t fd, int what)
{
    int running;
    curl_multi_socket_action(w->multi, fd, what, &running);
    finish_posts(w);
}

static void on_socket_event(evutil_socket_t fd, short what, void *context)
{
    act(context, fd, (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0));
}

static void on_time(void *context)
{
    act(context, CURL_SOCKET_TIMEOUT, 0);
}

static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *watch)
{
    (void)easy;
    struct webhook *w = context;
    if (watch != NULL)
        event_free(watch);
    struct event *fresh = NULL;
    if (what != CURL_POLL_REMOVE) {
        int events = EV_PERSIST | (what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0);
        fresh = or_abort(event_new(w->loop->base, fd, (short)events, on_socket_event, w));
        event_add(fresh, NULL);
    }
    curl_multi_assign(w->multi, fd, fresh);
    return 0;
}

static int set_timer(CURLM *multi, long ms, void *context)
{
    (void)multi;
    struct webhook *w = context;
    if (ms < 0)
        timer_stop(w->timer);
    else
        timer_start(w->timer, (uint64_t)ms * 1000);
    return 0;
}

/* --- one post ---------------------------------------------------------------------------------------- */

static size_t on_answer(char *data, size_t one, size_t size, void *context)
{
    (void)one;
    struct post *p = context;
    size_t kept = p->answer.size < LONGEST_REASON ? LONGEST_REASON - p->answer.size : 0;
    buffer_append(&p->answer, data, size < kept ? size : kept);
    p->answered += size;
    return p->answered <= LONGEST_ANSWER ? size : 0;
}

/* What is the same for all posts of a sink. */
static void set_options(struct post *p)
{
    const struct sink *config = p->webhook->config;
    CURL *easy = p->easy;
    curl_easy_setopt(easy, CURLOPT_URL, config->url);
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS, CURLPROTO_HTTP | CURLPROTO_HTTPS);
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L); /* close() does not wait for a name server */
#endif
    curl_easy_setopt(easy, CURLOPT_PROXY, ""); /* whatever the environment says */
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(easy, CURLOPT_PIPEWAIT, config->parts.tls ? 1L : 0L);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (is_said(config->ca))
        curl_easy_setopt(easy, CURLOPT_CAINFO, config->ca);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)config->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "pgatomic/" PGATOMIC_VERSION);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_answer);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, p);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, p->error);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, p);
}

static struct post *post_new(struct webhook *w)
{
    struct post *p = or_abort(calloc(1, sizeof *p));
    p->webhook = w;
    p->easy = or_abort(curl_easy_init());
    set_options(p);
    return p;
}

static void post_free(struct post *p)
{
    curl_easy_cleanup(p->easy);
    curl_slist_free_all(p->headers);
    webhook_message_free(&p->message);
    buffer_free(&p->answer);
    free(p);
}

static struct post *take_idle(struct webhook *w)
{
    struct post *p = w->idle;
    if (p == NULL)
        return post_new(w);
    w->idle = p->next;
    return p;
}

static void set_message(struct post *p, const struct notification *e)
{
    struct webhook *w = p->webhook;
    struct webhook_message *m = &p->message;
    webhook_message_make(m, e, w->config->body, buffer_span(&w->key), clock_to_wall_us(loop_now_us(w->loop)));
    curl_slist_free_all(p->headers);
    p->headers = or_abort(curl_slist_append(NULL, "Expect:")); /* no round trip ahead of a large body */
    for (const char *line = m->lines.data; line < m->lines.data + m->lines.size; line += strlen(line) + 1)
        or_abort(curl_slist_append(p->headers, line));
    curl_easy_setopt(p->easy, CURLOPT_HTTPHEADER, p->headers);
    curl_easy_setopt(p->easy, CURLOPT_POSTFIELDS, m->body.size > 0 ? m->body.data : "");
    curl_easy_setopt(p->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)m->body.size);
}

static void webhook_deliver(void *sink, struct delivery *d)
{
    struct webhook *w = sink;
    if (w->has_bad_key) {
        delivery_done(d, DELIVERY_FAILED, "the sink's secret is not base64 behind whsec_", 0);
        return;
    }
    struct post *p = take_idle(w);
    p->delivery = d;
    p->answered = 0;
    p->error[0] = '\0';
    buffer_clear(&p->answer);
    p->next = w->busy;
    w->busy = p;
    set_message(p, d->event);
    curl_multi_add_handle(w->multi, p->easy);
}

/* --- how it went ------------------------------------------------------------------------------------- */

/* "HTTP 503: try again later" */
static void append_answer(struct buffer *reason, const struct post *p, long status)
{
    buffer_format(reason, "HTTP %ld", status);
    struct span words = utf8_cut(buffer_span(&p->answer), LONGEST_REASON);
    while (words.size > 0 && strchr(" \r\n\t", words.data[words.size - 1]) != NULL)
        words.size--;
    if (words.size == 0 || p->webhook->has_secret_url)
        return;
    buffer_append_text(reason, ": ");
    buffer_append_span(reason, words);
}

static void append_error(struct buffer *reason, const struct post *p, CURLcode code)
{
    buffer_append_text(reason, p->error[0] != '\0' ? p->error : curl_easy_strerror(code));
}

static enum delivery_result judge(const struct post *p, CURLcode code, struct buffer *reason)
{
    long status = 0;
    curl_easy_getinfo(p->easy, CURLINFO_RESPONSE_CODE, &status);
    bool is_answered = code == CURLE_OK || p->answered > LONGEST_ANSWER;
    if (is_answered && status >= 200 && status <= 299)
        return DELIVERED;
    if (is_answered)
        append_answer(reason, p, status);
    else
        append_error(reason, p, code);
    buffer_append_u8(reason, '\0');
    return is_answered && status == 410 ? DELIVERY_STOPPED : DELIVERY_FAILED;
}

static uint64_t retry_after_ms(const struct post *p)
{
    curl_off_t seconds = 0;
    curl_easy_getinfo(p->easy, CURLINFO_RETRY_AFTER, &seconds);
    if (seconds <= 0)
        return 0;
    return seconds < UINT32_MAX ? (uint64_t)seconds * 1000 : (uint64_t)UINT32_MAX * 1000;
}

static void unlink_busy(struct post *p)
{
    struct post **link = &p->webhook->busy;
    while (*link != p)
        link = &(*link)->next;
    *link = p->next;
}

static void finish_post(struct post *p, CURLcode code)
{
    struct webhook *w = p->webhook;
    struct buffer reason = { 0 };
    enum delivery_result result = judge(p, code, &reason);
    uint64_t wait_ms = result == DELIVERED ? 0 : retry_after_ms(p);
    curl_multi_remove_handle(w->multi, p->easy);
    unlink_busy(p);
    p->next = w->idle;
    w->idle = p;
    delivery_done(p->delivery, result, reason.data, wait_ms);
    buffer_free(&reason);
}

static void finish_posts(struct webhook *w)
{
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(w->multi, &left)) != NULL;) {
        struct post *p = NULL;
        CURLcode code = m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&p);
        finish_post(p, code);
    }
}

/* --- the sink ---------------------------------------------------------------------------------------- */

static void prepare_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static void read_secret(struct webhook *w)
{
    const char *secret = w->config->secret;
    w->has_bad_key = is_said(secret) && !webhook_sign_key(secret, &w->key);
    if (w->has_bad_key)
        LOG(LOG_ERROR, "cannot sign", log_text("sink", w->config->name),
            log_text("error", "the secret is not base64 behind whsec_"));
}

static void *webhook_open(const struct sink *config, const struct sink_host *host)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, prepare_curl);
    struct webhook *w = or_abort(calloc(1, sizeof *w));
    w->config = config;
    w->loop = host->loop;
    w->timer = timer_new(w->loop, on_time, w);
    w->has_secret_url = is_said(config->parts.password) || is_said(config->parts.query);
    read_secret(w);
    w->multi = or_abort(curl_multi_init());
    curl_multi_setopt(w->multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
    curl_multi_setopt(w->multi, CURLMOPT_SOCKETDATA, w);
    curl_multi_setopt(w->multi, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(w->multi, CURLMOPT_TIMERDATA, w);
    curl_multi_setopt(w->multi, CURLMOPT_MAXCONNECTS, (long)WINDOW);
    return w;
}

static void free_posts(struct post *first)
{
    while (first != NULL) {
        struct post *next = first->next;
        post_free(first);
        first = next;
    }
}

static void webhook_close(void *sink)
{
    struct webhook *w = sink;
    for (struct post *p = w->busy; p != NULL; p = p->next)
        curl_multi_remove_handle(w->multi, p->easy);
    free_posts(w->busy);
    free_posts(w->idle);
    curl_multi_cleanup(w->multi);
    timer_free(w->timer);
    if (w->key.size > 0)
        explicit_bzero(w->key.data, w->key.size);
    buffer_free(&w->key);
    free(w);
}

const struct sink_type sink_webhook_type = {
    .name = "webhook",
    .window = WINDOW,
    .open = webhook_open,
    .deliver = webhook_deliver,
    .close = webhook_close,
};
