/* One loop a direction, as a real shell has them: cut a frame, hand it in, perform what comes of it, look again. */
#include "tests/simulation/shell.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

__attribute__((format(printf, 2, 3))) static void fault(struct shell *s, const char *format, ...)
{
    if (s->fault[0])
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(s->fault, sizeof s->fault, format, args);
    va_end(args);
}

static void new_id(void *context, unsigned char id[EVENT_ID_SIZE])
{
    struct shell *s = context;
    uint64_t n = ++s->next_id;
    memset(id, 0, EVENT_ID_SIZE);
    for (int i = 0; i < 8; i++)
        id[EVENT_ID_SIZE - 1 - i] = (unsigned char)(n >> (8 * i));
}

void shell_open(struct shell *s, struct session_start *start, uint64_t now_us)
{
    *s = (struct shell){ .limit = start->config->limits.message, .now_us = now_us };
    start->new_id = new_id;
    start->context = s;
    s->session = session_new(start);
    session_set_time(s->session, now_us);
}

void shell_close(struct shell *s)
{
    session_free(s->session);
    actions_free(&s->actions);
    buffer_free(&s->from_client);
    buffer_free(&s->from_server);
    buffer_free(&s->deferred);
    buffer_free(&s->to_client);
    buffer_free(&s->to_server);
    buffer_free(&s->words);
    free(s->told);
    s->told = NULL;
}

const char *told_name(const struct shell *s, const struct told *t)
{
    return s->words.data + t->name;
}

const char *told_payload(const struct shell *s, const struct told *t)
{
    return s->words.data + t->payload;
}

/* --- what the session told ----------------------------------------------------------------------- */

static size_t keep_word(struct shell *s, const char *text, size_t size)
{
    size_t at = s->words.size;
    buffer_append_string(&s->words, span_make(text, size));
    return at;
}

static struct told *add_told(struct shell *s, const struct action *a, const unsigned char *id)
{
    if (s->told_count == s->told_capacity) {
        s->told_capacity = s->told_capacity ? 2 * s->told_capacity : 64;
        s->told = realloc(s->told, s->told_capacity * sizeof *s->told);
        if (!s->told)
            abort();
    }
    struct told *t = &s->told[s->told_count++];
    *t = (struct told){ .kind = a->kind, .discard = a->discard, .client_bytes = s->client_bytes };
    if (id)
        memcpy(t->id, id, sizeof t->id);
    return t;
}

/* How often `kind` was told of `id`. Conversations are short: a walk over the list is cheap enough. */
static unsigned times_told(const struct shell *s, enum action_kind kind, const unsigned char *id)
{
    unsigned times = 0;
    for (size_t i = 0; i < s->told_count; i++)
        times += s->told[i].kind == kind && memcmp(s->told[i].id, id, EVENT_ID_SIZE) == 0;
    return times;
}

static void tell_event(struct shell *s, const struct action *a, const struct notification *e)
{
    unsigned held = times_told(s, ACTION_EVENT_HELD, e->id);
    unsigned settled = times_told(s, ACTION_PUBLISH, e->id) + times_told(s, ACTION_EVENTS_DISCARDED, e->id);
    if (a->kind == ACTION_EVENT_HELD ? held > 0 : held == 0)
        fault(s, "event \"%s\" %s", e->payload, held ? "held twice" : "settled, but was never held");
    if (settled > 0)
        fault(s, "event \"%s\" settled twice", e->payload);
    struct told *t = add_told(s, a, e->id);
    t->sandbox = e->sandbox;
    t->name = keep_word(s, e->name, strlen(e->name));
    t->payload = keep_word(s, e->payload, e->payload_size);
}

static void tell_events(struct shell *s, struct action *a)
{
    if (!a->events)
        fault(s, "an action without the events that it is about");
    for (const struct notification *e = a->events; e; e = e->next)
        tell_event(s, a, e);
    notification_list_free(a->events);
    a->events = NULL;
}

/* The beginning of a transaction that is its own request is told only by its end. */
static void tell_request(struct shell *s, const struct action *a)
{
    const struct request *r = a->request;
    unsigned ended = times_told(s, ACTION_REQUEST_COMMITTED, r->id) + times_told(s, ACTION_REQUEST_ROLLED_BACK, r->id);
    if (a->kind == ACTION_REQUEST_BEGUN && times_told(s, ACTION_REQUEST_BEGUN, r->id) > 0)
        fault(s, "a request began twice");
    if (ended > 0)
        fault(s, "a request ended twice");
    struct told *t = add_told(s, a, r->id);
    t->name = keep_word(s, r->route, strlen(r->route));
    t->payload = keep_word(s, r->label, strlen(r->label));
}

bool shell_is_settled(const struct shell *s)
{
    size_t held = 0, settled = 0;
    for (size_t i = 0; i < s->told_count; i++) {
        const struct told *t = &s->told[i];
        held += t->kind == ACTION_EVENT_HELD;
        settled += t->kind == ACTION_PUBLISH || t->kind == ACTION_EVENTS_DISCARDED;
        if (t->kind == ACTION_REQUEST_BEGUN && times_told(s, ACTION_REQUEST_COMMITTED, t->id) == 0 &&
            times_told(s, ACTION_REQUEST_ROLLED_BACK, t->id) == 0)
            return false;
    }
    return held == settled;
}

static void tell_timed_out(struct shell *s, const struct action *a)
{
    const char *limit = a->idle ? "idle_timeout" : "timeout";
    struct told *t = add_told(s, a, NULL);
    t->name = keep_word(s, a->bytes.data, a->bytes.size);
    t->payload = keep_word(s, limit, strlen(limit));
}

static void perform(struct shell *s, struct action *a)
{
    bool sends = a->kind == ACTION_TO_CLIENT || a->kind == ACTION_TO_SERVER;
    if (s->closed && (sends || a->kind == ACTION_CLOSE))
        fault(s, "something follows the close");
    switch (a->kind) {
    case ACTION_TO_SERVER:
        buffer_append_span(stream_is_inside_message(&s->client_stream) ? &s->deferred : &s->to_server, a->bytes);
        break;
    case ACTION_TO_CLIENT:
        buffer_append_span(&s->to_client, a->bytes);
        s->client_bytes += a->bytes.size;
        break;
    case ACTION_CANCEL_SERVER:
        s->cancels++;
        break;
    case ACTION_SET_TIMER:
        s->deadline_us = a->deadline_us;
        break;
    case ACTION_CLOSE:
        s->closed = true;
        break;
    case ACTION_ASK_OUTCOME:
        snprintf(s->asked, sizeof s->asked, "%.*s%s%s", (int)a->bytes.size, a->bytes.data,
                 a->bytes.size > 0 && a->has_row ? " " : "", a->has_row ? "row" : "");
        break;
    case ACTION_PUBLISH:
    case ACTION_EVENTS_DISCARDED:
        tell_events(s, a);
        break;
    case ACTION_EVENT_HELD:
        tell_event(s, a, a->event);
        break;
    case ACTION_REQUEST_BEGUN:
    case ACTION_REQUEST_COMMITTED:
    case ACTION_REQUEST_ROLLED_BACK:
        tell_request(s, a);
        break;
    case ACTION_COMMIT_FAILED:
    case ACTION_COMMIT_UNKNOWN:
        add_told(s, a, NULL);
        break;
    case ACTION_TIMED_OUT:
        tell_timed_out(s, a);
        break;
    }
}

static void perform_all(struct shell *s)
{
    for (size_t i = 0; i < s->actions.count; i++)
        perform(s, &s->actions.list[i]);
    actions_clear(&s->actions);
}

/* --- frames -------------------------------------------------------------------------------------- */

/* The next message of `input`; false: not there yet. */
static bool cut(struct shell *s, const struct message_spec *specs, struct buffer *input, bool whole, struct frame *out)
{
    enum frame_result r = (whole ? frame_next_whole : frame_next)(specs, buffer_span(input), s->limit, out, NULL);
    if (r == FRAME_BAD)
        fault(s, "a message that cannot be framed, type 0x%02x", (unsigned char)input->data[0]);
    return r == FRAME_OK;
}

/* Bytes of a streamed message whose head was taken go on, or are dropped, without a look. */
static void pass_rest(struct buffer *from, struct stream *stream, struct buffer *to, size_t *total)
{
    size_t size = stream_take(stream, buffer_span(from));
    if (stream->rest == REST_FORWARD) {
        buffer_append(to, from->data, size);
        if (total)
            *total += size;
    }
    buffer_consume(from, size);
}

/* What the session had for the server in the middle of a client's message. */
static void send_deferred(struct shell *s)
{
    if (s->client_stream.left > 0 || s->deferred.size == 0)
        return;
    buffer_append_span(&s->to_server, buffer_span(&s->deferred));
    buffer_clear(&s->deferred);
}

/* The short way for ordinary messages, at the front of what has arrived. */
static void pass_client(struct shell *s)
{
    if (!s->quick || s->closed || s->client_stream.left > 0 || s->client_stream.whole)
        return;
    size_t passed = session_pass_client(s->session, buffer_span(&s->from_client));
    buffer_append(&s->to_server, s->from_client.data, passed);
    buffer_consume(&s->from_client, passed);
}

static void pump_client(struct shell *s)
{
    s->held = false;
    pass_client(s);
    while (!s->closed && !s->fault[0] && s->from_client.size > 0) {
        if (s->client_stream.left > 0) {
            pass_rest(&s->from_client, &s->client_stream, &s->to_server, NULL);
            send_deferred(s);
            continue;
        }
        struct frame f;
        if (!cut(s, frontend_messages, &s->from_client, s->client_stream.whole, &f))
            return;
        enum session_result r = session_on_client(s->session, &f, &s->actions);
        s->client_stream.rest = s->actions.rest;
        perform_all(s);
        switch (r) {
        case SESSION_TAKEN:
            s->client_stream.whole = false;
            s->client_stream.left = f.left;
            buffer_consume(&s->from_client, f.bytes.size);
            break;
        case SESSION_HOLD:
            s->held = true;
            return;
        case SESSION_WHOLE:
            if (f.left == 0)
                fault(s, "the session asks for the whole of a whole message");
            s->client_stream.whole = true;
            break;
        case SESSION_BAD:
            if (!s->closed)
                fault(s, "a protocol violation without a close");
            return;
        }
    }
}

static void pass_server(struct shell *s)
{
    if (!s->quick || s->closed || s->server_stream.left > 0)
        return;
    size_t passed = session_pass_server(s->session, buffer_span(&s->from_server));
    buffer_append(&s->to_client, s->from_server.data, passed);
    s->client_bytes += passed;
    buffer_consume(&s->from_server, passed);
    if (passed > 0 && s->held)
        pump_client(s);
}

static void pump_server(struct shell *s)
{
    pass_server(s);
    while (!s->closed && !s->fault[0] && s->from_server.size > 0) {
        if (s->server_stream.left > 0) {
            pass_rest(&s->from_server, &s->server_stream, &s->to_client, &s->client_bytes);
            continue;
        }
        struct frame f;
        if (!cut(s, backend_messages, &s->from_server, session_wants_whole_row(s->session), &f))
            return;
        session_on_server(s->session, &f, &s->actions);
        s->server_stream.rest = s->actions.rest;
        perform_all(s);
        s->server_stream.left = f.left;
        buffer_consume(&s->from_server, f.bytes.size);
        if (s->held)
            pump_client(s);
    }
}

/* --- data in bulk -------------------------------------------------------------------------------- */

static bool copy_data_passes(struct shell *s)
{
    if (!s->bulk || s->closed || s->held || s->deferred.size > 0)
        return false;
    size_t size = stream_pass_copy_data(&s->client_stream, s->session, s->link, buffer_span(&s->from_client), s->limit);
    buffer_append(&s->to_server, s->from_client.data, size);
    buffer_consume(&s->from_client, size);
    return size > 0;
}

bool shell_rows_pass(struct shell *s, struct buffer *arrived)
{
    bool first = arrived == &s->from_server || s->from_server.size == 0;
    if (!s->bulk || s->closed || s->held || !first)
        return false;
    size_t size = stream_pass_rows(&s->server_stream, s->session, s->link, buffer_span(arrived), s->limit);
    buffer_append(&s->to_client, arrived->data, size);
    s->client_bytes += size;
    buffer_consume(arrived, size);
    return size > 0;
}

/* --- the outside world --------------------------------------------------------------------------- */

static void sleep_and_wake(struct shell *s)
{
    if (!s->sleepy || !session_may_sleep(s->session))
        return;
    struct session_asleep asleep;
    session_sleep(s->session, &asleep);
    s->session = session_wake(&asleep, &(struct session_start){ .new_id = new_id, .context = s });
    session_set_time(s->session, s->now_us);
}

bool shell_client_sends(struct shell *s, struct span bytes)
{
    buffer_append_span(&s->from_client, bytes);
    if (copy_data_passes(s))
        return true;
    if (!s->held)
        pump_client(s);
    sleep_and_wake(s);
    return false;
}

void shell_server_sends(struct shell *s, struct span bytes)
{
    buffer_append_span(&s->from_server, bytes);
    if (s->link != NULL || !shell_rows_pass(s, &s->from_server))
        pump_server(s);
    sleep_and_wake(s);
}

void shell_client_lost(struct shell *s)
{
    buffer_clear(&s->from_client);
    s->held = false;
    session_on_client_lost(s->session, &s->actions);
    perform_all(s);
}

void shell_server_lost(struct shell *s, struct span message)
{
    buffer_clear(&s->from_server);
    session_on_server_lost(s->session, message, &s->actions);
    perform_all(s);
}

void shell_shut_down(struct shell *s)
{
    s->held = false;
    buffer_clear(&s->from_client);
    session_shut_down(s->session, &s->actions);
    perform_all(s);
}

void shell_refused(struct shell *s, const char *sqlstate, struct span message)
{
    buffer_clear(&s->deferred);
    session_on_refused(s->session, sqlstate, message, &s->actions);
    perform_all(s);
    if (s->held)
        pump_client(s);
}

void shell_time(struct shell *s, uint64_t now_us)
{
    s->now_us = now_us;
    session_set_time(s->session, now_us);
    if (s->closed || s->deadline_us == 0 || now_us < s->deadline_us)
        return;
    s->deadline_us = 0;
    session_on_time(s->session, &s->actions);
    perform_all(s);
    if (s->held)
        pump_client(s);
}

void shell_cancelled(struct shell *s)
{
    if (s->cancels == 0)
        fault(s, "no cancel was asked for");
    s->cancels = 0;
    session_on_cancelled(s->session, &s->actions);
    perform_all(s);
    if (s->held)
        pump_client(s);
}

void shell_outcome(struct shell *s, enum session_outcome outcome)
{
    s->asked[0] = '\0';
    session_on_outcome(s->session, outcome, &s->actions);
    perform_all(s);
}
