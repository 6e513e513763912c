/* The client's bytes go to the oracle at once, and to the session in pieces, by chance; what the session sends goes to the model in pieces,
 * and its answers back in pieces. So the session is always somewhere behind the oracle, at a place of chance's choosing.
 *
 * After every piece: what the client was sent is what the oracle said, message by message, as far as it got; what the model has
 * committed is what the oracle had committed at some earlier time; and so are the events released, no fewer than the client knows of. When
 * nothing moves any more, nothing may be missing either. */
#include "tests/simulation/conversation.h"

#include <stdarg.h>

#include "protocol/message.h"
#include "tests/simulation/oracle.h"
#include "tests/simulation/pooled.h"
#include "tests/simulation/shell.h"
#include "tests/transcripts/notation.h"

#define START_US UINT64_C(1700000000000000)

struct conversation {
    const struct scenario *scenario;
    struct client client;
    struct chance network;
    struct shell shell;
    struct committed promised, kept; /* by the oracle; by the model */
    struct backend *oracle, *model;  /* pooled: that of the last server */
    struct pooled pooled;
    size_t link_given;        /* of what the session has for its server */
    bool bulk;                /* data may go the shortest way */
    struct buffer to_session; /* from the client, on its way */
    size_t model_given, model_taken;
    size_t checked, matched;                   /* of shell.to_client; of oracle->output: compared, and equal */
    size_t notified_checked, notified_matched; /* NotificationResponses seen on either side */
    bool client_gone, server_gone;             /* what it is sent is nobody's business any more */
    FILE *story;
    size_t told_to_server, told_from_server, told_to_client;
    struct verdict verdict;
};

__attribute__((format(printf, 2, 3))) static void fail(struct conversation *v, const char *format, ...)
{
    if (!v->verdict.ok)
        return;
    v->verdict.ok = false;
    va_list args;
    va_start(args, format);
    vsnprintf(v->verdict.why, sizeof v->verdict.why, format, args);
    va_end(args);
}

static void tell(struct conversation *v, const char *who, enum speaker from, struct span bytes)
{
    if (!v->story || bytes.size == 0)
        return;
    struct buffer text = { 0 };
    notes_print_bytes(from, bytes, &text);
    fprintf(v->story, "%s%.*s\n", who, (int)text.size, text.data);
    buffer_free(&text);
}

/* The whole messages of `b` from *told on. */
static void tell_more(struct conversation *v, const char *who, enum speaker from, const struct buffer *b, size_t limit,
                      size_t *told)
{
    const struct message_spec *specs = from == FROM_CLIENT ? frontend_messages : backend_messages;
    struct frame f;
    size_t at = *told;
    while (at < limit && frame_next_whole(specs, span_make(b->data + at, limit - at), 1 << 30, &f, NULL) == FRAME_OK)
        at += f.bytes.size;
    tell(v, who, from, span_make(b->data + *told, at - *told));
    *told = at;
}

/* --- what the client was sent -------------------------------------------------------------------- */

/* The whole message at `at`; size 0: none yet. */
static struct span message_at(const struct buffer *b, size_t at)
{
    struct frame f;
    if (frame_next_whole(backend_messages, span_make(b->data + at, b->size - at), 1 << 30, &f, NULL) != FRAME_OK)
        return span_make(NULL, 0);
    return f.bytes;
}

/* Statements that do nothing outside of a transaction block: the server warns when it is told one alone, even if the client's string held
 * more that the proxy answered. */
static bool is_idle_warning(struct span message)
{
    static const char words[] = "can only be used in transaction blocks";
    return message.data[0] == 'N' && memmem(message.data, message.size, words, sizeof words - 1);
}

/* ParameterStatus and NotificationResponse come when they come. */
static bool comes_any_time(struct span message)
{
    return message.size > 0 && (message.data[0] == 'S' || message.data[0] == 'A' || is_idle_warning(message));
}

static struct span skip_any_time(const struct buffer *b, size_t *at, size_t *notified)
{
    struct span m = message_at(b, *at);
    while (comes_any_time(m)) {
        *at += m.size;
        *notified += m.data[0] == 'A';
        m = message_at(b, *at);
    }
    return m;
}

/* A statement may have another name on its server, and an error may say that one. */
static bool same_error(struct span want, struct span got)
{
    struct message_error w, g;
    want = span_make(want.data + FRAME_HEADER_SIZE, want.size - FRAME_HEADER_SIZE);
    got = span_make(got.data + FRAME_HEADER_SIZE, got.size - FRAME_HEADER_SIZE);
    if (!message_read_error(want, &w) || !message_read_error(got, &g))
        return false;
    bool says_name = g.message.size > 0 && memmem(g.message.data, g.message.size, "\"pgatomic_", 10) != NULL;
    return span_equal(w.severity, g.severity) && span_equal(w.sqlstate, g.sqlstate) &&
           span_equal(w.position, g.position) &&
           (w.message.size == 0 || says_name || span_equal(w.message, g.message)) &&
           (w.detail.size == 0 || span_equal(w.detail, g.detail)) && (!w.hint.data || g.hint.size > 0);
}

static bool same_message(struct span want, struct span got)
{
    if (want.data[0] != got.data[0])
        return false;
    return want.data[0] == 'E' || want.data[0] == 'N' ? same_error(want, got) : span_equal(want, got);
}

/* The words of a connection that ends are the shell's or the server's, and nobody's promise. */
static bool is_farewell(const struct conversation *v, struct span got)
{
    return v->server_gone && got.data[0] == 'E';
}

static void check_client(struct conversation *v)
{
    if (v->client_gone)
        return;
    for (;;) {
        struct span got = skip_any_time(&v->shell.to_client, &v->checked, &v->notified_checked);
        if (got.size == 0)
            return;
        struct span want = skip_any_time(&v->oracle->output, &v->matched, &v->notified_matched);
        if (is_farewell(v, got)) {
            v->checked += got.size;
            continue;
        }
        if (want.size == 0 || !same_message(want, got)) {
            struct buffer text = { 0 };
            buffer_append_text(&text, "the client is sent  ");
            notes_print_bytes(FROM_SERVER, got, &text);
            buffer_append_text(&text, "\n    and was promised  ");
            notes_print_bytes(FROM_SERVER, want, &text);
            fail(v, "%.*s", (int)text.size, text.data);
            buffer_free(&text);
            return;
        }
        v->checked += got.size;
        v->matched += want.size;
    }
}

/* --- what was committed and released ------------------------------------------------------------- */

static const struct commit *commit_at(const struct committed *db, size_t i)
{
    static const struct commit none;
    return i == 0 ? &none : log_at(&db->commits, i - 1);
}

static bool same_rows(const struct conversation *v)
{
    for (size_t i = 0; i < v->kept.rows.count; i++) {
        const struct row *a = log_at(&v->kept.rows, i);
        const struct row *b = i < v->promised.rows.count ? log_at(&v->promised.rows, i) : NULL;
        if (!b || a->table != b->table || a->id != b->id)
            return false;
    }
    return true;
}

static bool same_note(const struct note_row *a, const char *channel, const char *payload)
{
    return strcmp(a->channel, channel) == 0 && strcmp(a->payload, payload) == 0;
}

static bool same_notes(const struct conversation *v)
{
    for (size_t i = 0; i < v->kept.notes.count; i++) {
        const struct note_row *a = log_at(&v->kept.notes, i);
        const struct note_row *b = i < v->promised.notes.count ? log_at(&v->promised.notes, i) : NULL;
        if (!b || !same_note(a, b->channel, b->payload))
            return false;
    }
    return true;
}

/* What the model has committed is what had been promised after some number of commits; the highest such number, or -1. */
static long commits_kept(const struct conversation *v)
{
    for (size_t i = v->promised.commits.count + 1; i-- > 0;) {
        const struct commit *c = commit_at(&v->promised, i);
        if (c->rows == v->kept.rows.count && c->notes == v->kept.notes.count)
            return (long)i;
    }
    return -1;
}

static size_t released_count(const struct conversation *v)
{
    size_t count = 0;
    for (size_t i = 0; i < v->shell.told_count; i++)
        count += v->shell.told[i].kind == ACTION_PUBLISH;
    return count;
}

static void check_released(struct conversation *v, long kept)
{
    size_t count = 0;
    for (size_t i = 0; i < v->shell.told_count; i++) {
        const struct told *t = &v->shell.told[i];
        if (t->kind != ACTION_PUBLISH)
            continue;
        const struct note_row *want = count < v->promised.events.count ? log_at(&v->promised.events, count) : NULL;
        count++;
        if (!want || !same_note(want, told_name(&v->shell, t), told_payload(&v->shell, t)))
            fail(v, "event %zu released is %s \"%s\"", count, told_name(&v->shell, t), told_payload(&v->shell, t));
        if (t->sandbox != v->scenario->sandbox)
            fail(v, "an event is marked as of a sandbox, or should be");
    }
    if (kept >= 0 && count > commit_at(&v->promised, (size_t)kept)->events)
        fail(v, "%zu events are released, but only %zu are committed", count,
             commit_at(&v->promised, (size_t)kept)->events);
}

/* E8: the rows that the model has committed are those of the events that were promised, and no event is released without its own. */
static void check_outbox(struct conversation *v)
{
    const struct log *rows = &v->kept.outbox, *events = &v->promised.events;
    for (size_t i = 0; i < rows->count; i++) {
        const struct note_row *row = log_at(rows, i);
        const struct note_row *event = i < events->count ? log_at(events, i) : NULL;
        if (!event || !same_note(row, event->channel, event->payload))
            fail(v, "row %zu of the outbox is %s \"%s\"", i + 1, row->channel, row->payload);
    }
    if (released_count(v) > rows->count)
        fail(v, "%zu events are released, but only %zu rows are committed", released_count(v), rows->count);
}

/* E6: a commit that the client has been told of has released its events. */
static void check_told_commits(struct conversation *v, long kept)
{
    size_t ready = v->matched; /* where the last ReadyForQuery that the client has ends */
    size_t released = released_count(v);
    for (size_t i = v->promised.commits.count; i > 0; i--) {
        const struct commit *c = commit_at(&v->promised, i);
        if (v->matched <= c->output)
            continue;
        if (!c->said) { /* told of by the ReadyForQuery behind it */
            bool told = false;
            struct span m;
            for (size_t at = c->output; at < ready && !told; at += m.size) {
                m = message_at(&v->oracle->output, at);
                told = m.data[0] == 'Z';
            }
            if (!told)
                continue;
        }
        if (released < c->events)
            fail(v, "the client knows of a commit whose events are not released (E6)");
        if (kept >= 0 && (size_t)kept < i && !v->scenario->sandbox)
            fail(v, "the client knows of a commit that did not happen");
        return;
    }
}

static void check(struct conversation *v)
{
    long kept = -1;
    if (v->shell.fault[0])
        fail(v, "%s", v->shell.fault);
    check_client(v);
    if (v->scenario->sandbox) {
        if (v->kept.rows.count + v->kept.notes.count > 0)
            fail(v, "a sandbox has committed something");
    } else {
        kept = commits_kept(v);
        if (kept < 0 || !same_rows(v) || !same_notes(v))
            fail(v, "the server has committed what was never promised: %zu rows, %zu notifications", v->kept.rows.count,
                 v->kept.notes.count);
    }
    check_released(v, kept);
    check_told_commits(v, kept);
    if (v->scenario->durable)
        check_outbox(v);
}

/* Nothing moves any more: nothing may be missing. */
static void check_at_rest(struct conversation *v)
{
    struct span next = skip_any_time(&v->oracle->output, &v->matched, &v->notified_matched);
    if (!v->client_gone && v->matched < v->oracle->must_be_out) {
        struct buffer text = { 0 };
        notes_print_bytes(FROM_SERVER, next, &text);
        fail(v, "the client is not sent %.*s", (int)text.size, text.data);
        buffer_free(&text);
    }
    if (!v->scenario->sandbox &&
        (v->kept.rows.count < v->promised.rows.count || v->kept.notes.count < v->promised.notes.count))
        fail(v, "not all is committed: %zu of %zu rows, %zu of %zu notifications", v->kept.rows.count,
             v->promised.rows.count, v->kept.notes.count, v->promised.notes.count);
    if (v->scenario->durable && v->kept.outbox.count < v->promised.events.count)
        fail(v, "only %zu of %zu rows are in the outbox", v->kept.outbox.count, v->promised.events.count);
    if (released_count(v) < v->promised.events.count)
        fail(v, "only %zu of %zu events are released", released_count(v), v->promised.events.count);
    if (!v->client_gone && v->model->wait != v->oracle->wait)
        fail(v, "the server waits for something else than it should");
}

/* --- moving bytes -------------------------------------------------------------------------------- */

/* Up to what looks like the beginning of a row, or of data of a COPY; all of it when there is none. */
static size_t up_to_data(struct span bytes)
{
    for (size_t at = 1; at + 2 < bytes.size; at++)
        if ((bytes.data[at] | 0x20) == 'd' && bytes.data[at + 1] == 0 && bytes.data[at + 2] == 0)
            return at;
    return bytes.size;
}

/* Mostly all of it, sometimes a piece; more often where it matters what a batch begins with. */
static size_t piece(struct conversation *v, struct span bytes)
{
    if (bytes.size < 2 || chance_percent(&v->network, v->bulk ? 25 : 60))
        return bytes.size;
    if (v->bulk && chance_percent(&v->network, 50))
        return up_to_data(bytes);
    return 1 + chance_below(&v->network, (unsigned)bytes.size);
}

/* Whether data may go the shortest way next: not if others are on the long one still. */
static void toss_for_bulk(struct conversation *v, bool others)
{
    v->shell.bulk = v->bulk && !others && chance_percent(&v->network, 70);
    v->shell.link = v->scenario->pooled ? v->pooled.link : NULL;
}

/* What has gone past the session has gone past the link, too. */
static void skip_link(struct conversation *v)
{
    const struct buffer *out = &v->shell.to_server;
    buffer_append(&v->pooled.to_model, out->data + v->link_given, out->size - v->link_given);
    v->link_given = out->size;
}

static bool move_from_client(struct conversation *v)
{
    if (v->to_session.size == 0 || v->shell.closed)
        return false;
    size_t size = piece(v, buffer_span(&v->to_session));
    toss_for_bulk(v, v->scenario->pooled && (v->pooled.at == NULL || v->link_given < v->shell.to_server.size));
    bool passed = shell_client_sends(&v->shell, span_make(v->to_session.data, size));
    if (passed && v->scenario->pooled)
        skip_link(v);
    buffer_consume(&v->to_session, size);
    return true;
}

/* Pooled: from the session to the link, which may attach another server. */
static bool move_to_link(struct conversation *v)
{
    const struct buffer *out = &v->shell.to_server;
    if (!v->scenario->pooled || v->link_given == out->size || v->server_gone)
        return false;
    size_t size = piece(v, span_make(out->data + v->link_given, out->size - v->link_given));
    bool attached = pooled_client_sends(&v->pooled, span_make(out->data + v->link_given, size));
    v->link_given += size;
    if (attached) {
        v->model = v->pooled.at->model;
        v->model_taken = v->told_from_server = v->model->output.size;
        if (v->story)
            fprintf(v->story, "    server %ld\n", (long)(v->pooled.at - v->pooled.servers));
    }
    if (link_has_due(v->pooled.link))
        pooled_server_sends(&v->pooled, span_of(""), &v->shell);
    return true;
}

static bool move_to_model(struct conversation *v)
{
    const struct buffer *out = v->scenario->pooled ? &v->pooled.to_model : &v->shell.to_server;
    if (v->model_given == out->size || v->server_gone)
        return false;
    size_t size = piece(v, span_make(out->data + v->model_given, out->size - v->model_given));
    struct span bytes = span_make(out->data + v->model_given, size);
    v->model_given += size;
    tell_more(v, "    server>  ", FROM_CLIENT, out, v->model_given, &v->told_to_server);
    backend_receive(v->model, bytes);
    return true;
}

static bool move_from_model(struct conversation *v)
{
    const struct buffer *out = &v->model->output;
    if (v->model_taken == out->size || v->shell.closed || v->server_gone)
        return false;
    size_t size = piece(v, span_make(out->data + v->model_taken, out->size - v->model_taken));
    toss_for_bulk(v, false);
    struct span bytes = span_make(out->data + v->model_taken, size);
    v->model_taken += size;
    tell_more(v, "    server<  ", FROM_SERVER, out, v->model_taken, &v->told_from_server);
    if (v->scenario->pooled)
        pooled_server_sends(&v->pooled, bytes, &v->shell);
    else
        shell_server_sends(&v->shell, bytes);
    tell_more(v, "client<  ", FROM_SERVER, &v->shell.to_client, v->shell.to_client.size, &v->told_to_client);
    return true;
}

/* The server has gone, by a FATAL of its own, and all that it said has arrived. */
static bool lose_dead_server(struct conversation *v)
{
    if (!v->model->closed || v->model_taken < v->model->output.size || v->shell.closed || v->server_gone)
        return false;
    v->server_gone = true;
    shell_server_lost(&v->shell, span_of("the server has gone"));
    return true;
}

static void may_leave_server(struct conversation *v)
{
    if (v->scenario->pooled && v->link_given == v->shell.to_server.size && v->model_given == v->pooled.to_model.size &&
        v->model_taken == v->model->output.size)
        pooled_rest(&v->pooled);
}

/* One piece somewhere. False: nothing is on its way. */
static bool move(struct conversation *v)
{
    static bool (*const moves[])(struct conversation *) = { move_from_client, move_to_link, move_to_model,
                                                            move_from_model, lose_dead_server };
    enum { MOVES = sizeof moves / sizeof *moves };
    unsigned first = chance_below(&v->network, MOVES - 1);
    for (unsigned i = 0; i < MOVES; i++) {
        if (moves[(first + i) % MOVES](v)) {
            may_leave_server(v);
            check(v);
            return true;
        }
    }
    return false;
}

static void settle(struct conversation *v)
{
    while (v->verdict.ok && move(v))
        ;
    if (v->verdict.ok)
        check_at_rest(v);
}

/* --- a conversation ------------------------------------------------------------------------------ */

static void send_turn(struct conversation *v, bool skip)
{
    struct buffer bytes = { 0 };
    client_turn(&v->client, &bytes);
    if (!skip) {
        tell(v, "client   ", FROM_CLIENT, buffer_span(&bytes));
        buffer_append_span(&v->to_session, buffer_span(&bytes));
        backend_receive(v->oracle, buffer_span(&bytes));
    } else {
        v->client.open_ended = false;
    }
    buffer_free(&bytes);
    v->client.status = v->oracle->rules->status(v->oracle);
    v->client.copying = v->oracle->wait == WAIT_COPY;
}

static void wake(struct conversation *v)
{
    if (v->model->wait != WAIT_SLEEP || v->oracle->wait != WAIT_SLEEP)
        return;
    bool cancelled = chance_percent(&v->network, 40);
    if (v->story)
        fprintf(v->story, cancelled ? "the client cancels\n" : "the sleep is over\n");
    (cancelled ? backend_cancel : backend_wake)(v->oracle);
    (cancelled ? backend_cancel : backend_wake)(v->model);
    settle(v);
}

static void say_goodbye(struct conversation *v)
{
    struct buffer bytes = { 0 };
    message_add_terminate(&bytes);
    tell(v, "client   ", FROM_CLIENT, buffer_span(&bytes));
    buffer_append_span(&v->to_session, buffer_span(&bytes));
    backend_receive(v->oracle, buffer_span(&bytes));
    buffer_free(&bytes);
    v->client_gone = true;
    settle(v);
    if (v->verdict.ok && !v->shell.closed)
        fail(v, "the client has said goodbye, and the session does not close");
    const char *why =
        v->verdict.ok && v->scenario->pooled && !v->server_gone ? pooled_end(&v->pooled, v->model_taken) : NULL;
    if (why)
        fail(v, "%s", why);
}

static void start(struct conversation *v, uint64_t seed)
{
    struct request_attributes attributes = { .application = "shop", .database = "shop", .user = "app" };
    struct session_start session = { .config = v->scenario->config,
                                     .who = attributes,
                                     .client = "127.0.0.1:50000",
                                     .client_encoding = span_of("UTF8"),
                                     .standard_conforming_strings = true };
    client_init(&v->client, seed * 2, &v->scenario->habits);
    v->network.state = seed * 2 + 1;
    shell_open(&v->shell, &session, START_US);
    v->shell.quick = chance_percent(&v->network, 50);
    v->shell.sleepy = seed % 2 == 0;
    v->bulk = chance_percent(&v->network, 50);
    v->oracle = oracle_new(&v->promised, v->scenario->config, &attributes);
    if (v->scenario->pooled)
        pooled_know_settings(v->oracle);
    if (v->scenario->pooled)
        pooled_open(&v->pooled, &v->kept, seed * 2 + 7);
    v->model = v->scenario->pooled ? v->pooled.servers[0].model : block_new(&v->kept);
}

static void stop(struct conversation *v)
{
    if (v->verdict.ok && v->shell.closed && !shell_is_settled(&v->shell))
        fail(v, "closed, but an event is neither released nor discarded, or a request has not ended");
    shell_close(&v->shell);
    if (v->scenario->pooled)
        pooled_close(&v->pooled);
    else
        block_free(v->model);
    oracle_free(v->oracle);
    committed_free(&v->promised);
    committed_free(&v->kept);
    buffer_free(&v->to_session);
}

struct verdict converse(uint64_t seed, uint32_t without, FILE *story)
{
    struct conversation v = { .scenario = scenario_get((unsigned)(seed % scenario_count())),
                              .story = story,
                              .verdict = { .ok = true } };
    start(&v, seed);
    unsigned turns = 1 + chance_below(&v.network, CONVERSATION_TURNS_MAX);
    for (unsigned i = 0; i < turns && v.verdict.ok && !v.shell.closed; i++) {
        send_turn(&v, without >> i & 1);
        v.verdict.turns = i + 1;
        if (!v.scenario->patient && !v.client.unfinished && chance_percent(&v.network, 15) &&
            v.oracle->wait == WAIT_NOTHING)
            continue; /* without waiting for the answer */
        settle(&v);
        wake(&v);
    }
    if (v.verdict.ok)
        settle(&v);
    if (v.verdict.ok)
        say_goodbye(&v);
    stop(&v);
    return v.verdict;
}
