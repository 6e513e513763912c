/* The session machine, between a client and a server either of which may say anything.
 *
 * An input is a script. Its first byte chooses the rules, its second how the connection began; then come turns, each a letter, what
 * belongs to it, and 0xFF (0xFE stands before a byte that is meant with its highest bit the other way round):
 *
 *   c T body   the client sends a message of type T          C bytes   the client sends these bytes, messages or not
 *   s T body   so does the server, whether it was asked or not   S bytes   likewise
 *   a choices  the server answers in the right order all that it was asked; each reply is what the next choice says
 *   p n        from now on, bytes arrive in pieces of n      k         the cancel request has been carried out
 *   t n        time passes                                   g n       the config is another one
 *   l          the client is lost      L   the server is lost      q   the session is shut down
 *   o n        what became of a COMMIT in doubt is known
 *   r          no server is to be had for what has been sent since the server was idle
 *
 * The shell in the middle keeps the bargain of session.h as proxy/pool/traffic.c does. What must hold, whatever is said:
 * - both sides get whole messages, of types that the protocol knows, and not without end;
 * - an event is held once, and then released or discarded, once; a request ends once; when the session is over, all have;
 * - nothing is sent or released behind ACTION_CLOSE, which comes once, and at the latest when the server is lost;
 * - one cancel request is out at a time; while there is none, a frame is held only when replies are owed;
 * - a server that answers gets every held frame taken, and a lost client's session closed. */
#include <sys/mman.h>
#include <unistd.h>

#include "protocol/message.h"
#include "protocol/statement.h"
#include "proxy/pool/stream.h"
#include "proxy/session/session.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/bytes.h"

/* --- the rules --------------------------------------------------------------------------------- */

static const char common[] =
    "database \"*\" { upstream = \"host=127.0.0.1\"  control = \"host=127.0.0.1 dbname=db\" }\n"
    "outbox \"db\" { upstream = \"host=127.0.0.1 dbname=db\" }\n"
    "sink \"log\" { type = log }\n"
    "channel \"off*\" { sink = {\"log\"}  forward = off }\n"
    "channel \"fold*\" { sink = {\"log\"}  forward = off  duplicates = fold }\n"
    "channel \"dur*\" { sink = {\"log\"}  forward = off  delivery = outbox }\n"
    "channel \"row*\" { sink = {\"log\"}  forward = on  delivery = outbox }\n"
    "channel \"on*\" { sink = {\"log\"}  forward = on }\n"
    "route \"a\" { match = \"/a*\"  mode = atomic  end = commit }\n"
    "route \"u\" { match = \"/u*\"  mode = atomic  end = rollback  on_error = rollback_statement }\n"
    "route \"r\" { match = \"/r*\"  mode = required }\n"
    "route \"s\" { match = \"/s*\"  mode = sandbox }\n"
    "route \"x\" { match = \"/x*\"  mode = autocommit }\n";

static const char *const own[] = {
    "route \"own\" { mode = autocommit }",
    "route \"own\" { mode = atomic  end = commit }",
    "route \"own\" { mode = atomic  end = rollback  nested = join }",
    "route \"own\" { mode = atomic  end = commit  nested = refuse  isolation = serializable  access = read_only }",
    "route \"own\" { mode = atomic  end = commit  on_error = rollback_statement }",
    "route \"own\" { mode = required }",
    "route \"own\" { mode = sandbox }",
    "route \"own\" { mode = atomic  end = commit  timeout = 1s  idle_timeout = 300ms }",
    "route \"own\" { mode = autocommit  timeout = 1s  idle_timeout = 300ms }",
    "limits { events_per_request = 2  event = 10B  message = 64kB }  route \"own\" { mode = atomic  end = commit }",
    "limits { events_per_request = 2  event = 10B }",
};

enum { RULES = sizeof own / sizeof *own };

static struct config *configs[RULES];

static void read_configs(void)
{
    for (size_t i = 0; i < RULES && !configs[RULES - 1]; i++) {
        char path[32];
        int fd = memfd_create("config", MFD_CLOEXEC);
        MUST(fd >= 0 && dprintf(fd, "%s%s\n", common, own[i]) > 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        configs[i] = config_read(path, stderr);
        MUST(configs[i]);
        close(fd);
    }
}

/* --- the world --------------------------------------------------------------------------------- */

enum { IDS_MAX = 1 << 16 };

enum fate { UNKNOWN, BEGUN, OVER }; /* of an event or a request, by its id */

enum { NAMES_MAX = 64 };

/* What a statement or a portal of the server's is, as far as its transaction cares. */
struct named {
    uint64_t hash; /* of its name, and of whether it is a portal */
    enum statement_kind kind;
    bool chain, fails;
};

/* A PostgreSQL that knows the order of replies and what becomes of its transaction, and nothing else of what it is asked. */
struct server {
    struct buffer unread; /* what it was sent and has not looked at */
    struct buffer output; /* its replies; the first `flushed` bytes have left */
    size_t flushed;
    struct buffer query; /* the string that is being answered, */
    size_t at;           /* up to here */
    bool in_query;
    bool copy_in;  /* it reads CopyData */
    bool skipping; /* to the next Sync */
    bool in_pipeline;
    char status;
    struct named names[NAMES_MAX];
    size_t name_count;
    struct span choices;
};

struct world {
    struct session *session;
    struct actions actions;
    struct server server;
    uint64_t now_us, deadline_us;
    size_t piece, message_limit;

    struct buffer client_kept, server_kept; /* arrived, and not used up */
    struct stream client_stream, server_stream;
    struct buffer client_gets; /* sent to the client, up to the last whole message */
    bool held, deaf, terminated, client_lost, server_lost;
    bool client_output_ended, server_output_ended;
    bool cancelling, asked, closed;
    bool lied;   /* the server has said what it was not asked */
    bool left;   /* since the server has been idle it has heard nothing: there need not be one */
    size_t lost; /* of a message that no server was to be had for, these bytes are still to come */

    size_t size, sent; /* of the input; of all that was sent to anyone */
    uint64_t next_id;
    unsigned char fate[IDS_MAX];
    size_t open; /* events and requests that are not over */
};

static void new_id(void *context, unsigned char id[EVENT_ID_SIZE])
{
    struct world *w = context;
    MUST(++w->next_id < IDS_MAX);
    memset(id, 0, EVENT_ID_SIZE);
    memcpy(id, &w->next_id, sizeof w->next_id);
}

static unsigned char *fate_of(struct world *w, const unsigned char id[EVENT_ID_SIZE])
{
    uint64_t number;
    memcpy(&number, id, sizeof number);
    MUST(number > 0 && number <= w->next_id);
    return &w->fate[number];
}

static void begin(struct world *w, const unsigned char id[EVENT_ID_SIZE])
{
    unsigned char *fate = fate_of(w, id);
    MUST(*fate == UNKNOWN);
    *fate = BEGUN;
    w->open++;
}

static void end(struct world *w, const unsigned char id[EVENT_ID_SIZE])
{
    unsigned char *fate = fate_of(w, id);
    MUST(*fate == BEGUN);
    *fate = OVER;
    w->open--;
}

/* --- actions ----------------------------------------------------------------------------------- */

static void count_sent(struct world *w, struct span bytes)
{
    w->sent += bytes.size;
    MUST(w->sent <= 1000000 + 100 * w->size * w->size);
}

/* A stream of messages, each known to the protocol; what is not whole yet stays. */
static void check_stream(const struct message_spec *specs, struct buffer *stream)
{
    struct frame f;
    size_t at = 0;
    enum frame_result result;
    while ((result = frame_next_whole(specs, span_make(stream->data + at, stream->size - at), INT32_MAX, &f, NULL)) ==
           FRAME_OK)
        at += f.bytes.size;
    MUST(result == FRAME_MORE);
    buffer_consume(stream, at);
}

static void to_client(struct world *w, struct span bytes)
{
    count_sent(w, bytes);
    if (w->client_output_ended)
        return;
    buffer_append_span(&w->client_gets, bytes);
    check_stream(backend_messages, &w->client_gets);
}

static void to_server(struct world *w, struct span bytes)
{
    count_sent(w, bytes);
    size_t lost = bytes.size < w->lost ? bytes.size : w->lost;
    w->lost -= lost;
    if (!w->server_output_ended && !w->server_lost)
        buffer_append(&w->server.unread, bytes.data + lost, bytes.size - lost);
}

static void check_events(struct world *w, const struct action *a)
{
    MUST(a->events);
    for (const struct notification *e = a->events; e; e = e->next)
        end(w, e->id);
}

static void perform_one(struct world *w, const struct action *a)
{
    switch (a->kind) {
    case ACTION_TO_SERVER:
        MUST(!w->closed);
        to_server(w, a->bytes);
        return;
    case ACTION_TO_CLIENT:
        MUST(!w->closed);
        to_client(w, a->bytes);
        return;
    case ACTION_CANCEL_SERVER:
        MUST(!w->closed && !w->cancelling);
        w->cancelling = true;
        return;
    case ACTION_SET_TIMER:
        w->deadline_us = a->deadline_us;
        return;
    case ACTION_CLOSE:
        MUST(!w->closed);
        w->closed = true;
        return;
    case ACTION_ASK_OUTCOME:
        MUST(!w->closed && !w->asked && w->server_lost);
        w->asked = true;
        return;
    case ACTION_PUBLISH:
        MUST(!w->closed);
        check_events(w, a);
        return;
    case ACTION_EVENT_HELD:
        MUST(!w->closed);
        begin(w, a->event->id);
        return;
    case ACTION_EVENTS_DISCARDED:
        check_events(w, a);
        return;
    case ACTION_REQUEST_BEGUN:
        begin(w, a->request->id);
        return;
    case ACTION_REQUEST_COMMITTED:
    case ACTION_REQUEST_ROLLED_BACK:
        end(w, a->request->id);
        return;
    case ACTION_COMMIT_FAILED:
    case ACTION_COMMIT_UNKNOWN:
        MUST(*fate_of(w, a->request->id) != OVER);
        return;
    case ACTION_TIMED_OUT:
        MUST(!w->closed);
        return;
    }
}

static void perform(struct world *w)
{
    MUST(w->actions.count <= 1000 + 50 * w->size);
    for (size_t i = 0; i < w->actions.count; i++)
        perform_one(w, &w->actions.list[i]);
    actions_clear(&w->actions);
    w->client_output_ended |= w->client_lost;
}

/* --- the shell (as in proxy/pool/traffic.c) ------------------------------------------------------ */

/* The client has got a part of a message: no words of the session's own can follow that. */
static void end_inside_message(struct world *w)
{
    w->client_output_ended |= stream_is_inside_message(&w->server_stream);
}

static void lose_client(struct world *w)
{
    w->client_lost = true;
    w->held = false;
    w->server_output_ended |= stream_is_inside_message(&w->client_stream);
    w->client_stream.left = 0;
    session_on_client_lost(w->session, &w->actions);
}

static bool offer(struct world *w, const struct frame *f)
{
    switch (session_on_client(w->session, f, &w->actions)) {
    case SESSION_TAKEN:
        w->client_stream = (struct stream){ .left = f->left, .rest = w->actions.rest };
        w->terminated = f->type == 'X';
        return true;
    case SESSION_HOLD:
        w->held = true;
        return false;
    case SESSION_WHOLE:
        MUST(f->left > 0);
        w->client_stream.whole = true;
        return false;
    case SESSION_BAD:
        w->deaf = true;
        end_inside_message(w);
        return false;
    }
    return false;
}

static size_t feed_client(struct world *w, struct span input)
{
    struct stream *s = &w->client_stream;
    size_t used = stream_take(s, input);
    if (used > 0 && s->rest == REST_FORWARD)
        actions_to_server(&w->actions, span_make(input.data, used));
    if (s->left == 0 && !s->whole && !w->held) {
        size_t passed = session_pass_client(w->session, span_make(input.data + used, input.size - used));
        actions_to_server(&w->actions, span_make(input.data + used, passed));
        used += passed;
    }
    while (used < input.size && !w->held) {
        struct frame f;
        struct span rest = span_make(input.data + used, input.size - used);
        switch ((s->whole ? frame_next_whole : frame_next)(frontend_messages, rest, w->message_limit, &f, NULL)) {
        case FRAME_MORE:
            return used;
        case FRAME_BAD:
            lose_client(w);
            return input.size;
        case FRAME_OK:
            if (offer(w, &f))
                used += f.bytes.size;
            if (w->terminated || w->deaf)
                return input.size;
        }
    }
    return used;
}

static void lose_server(struct world *w)
{
    end_inside_message(w);
    w->server_lost = true;
    session_on_server_lost(w->session, span_of("lost"), &w->actions);
}

static size_t feed_server(struct world *w, struct span input)
{
    struct stream *s = &w->server_stream;
    size_t used = stream_take(s, input);
    if (used > 0 && s->rest == REST_FORWARD)
        actions_to_client(&w->actions, span_make(input.data, used));
    if (s->left == 0) {
        size_t passed = session_pass_server(w->session, span_make(input.data + used, input.size - used));
        actions_to_client(&w->actions, span_make(input.data + used, passed));
        used += passed;
    }
    while (used < input.size) {
        struct frame f;
        switch (frame_next(backend_messages, span_make(input.data + used, input.size - used), 1 << 20, &f, NULL)) {
        case FRAME_MORE:
            return used;
        case FRAME_BAD:
            lose_server(w);
            return input.size;
        case FRAME_OK:
            session_on_server(w->session, &f, &w->actions);
            used += f.bytes.size;
            if (f.left > 0)
                *s = (struct stream){ .left = f.left, .rest = w->actions.rest };
        }
    }
    return used;
}

static bool is_over(const struct world *w)
{
    return w->closed || w->server_lost;
}

/* Gives what is kept to the session: in a block of its own, which dies as soon as the actions have been performed. */
static void feed_kept(struct world *w, struct buffer *kept, size_t (*feed)(struct world *, struct span))
{
    struct span input = bytes_exact(buffer_span(kept));
    size_t used = feed(w, input);
    perform(w);
    buffer_consume(kept, used);
    bytes_free(input);
}

static void feed_client_kept(struct world *w)
{
    w->held = false;
    feed_kept(w, &w->client_kept, feed_client);
    MUST(!w->held || is_over(w) || w->cancelling || session_is_busy(w->session));
}

/* Something has changed, so what the session would not take is offered again. */
static void resume(struct world *w)
{
    perform(w);
    if (w->held && !is_over(w))
        feed_client_kept(w);
}

static void client_sends(struct world *w, struct span bytes)
{
    while (bytes.size > 0 && !is_over(w) && !w->client_lost && !w->deaf && !w->terminated) {
        size_t size = w->piece && w->piece < bytes.size ? w->piece : bytes.size;
        buffer_append(&w->client_kept, bytes.data, size);
        bytes = span_make(bytes.data + size, bytes.size - size);
        if (!w->held)
            feed_client_kept(w);
    }
}

static void server_sends(struct world *w, struct span bytes)
{
    while (bytes.size > 0 && !is_over(w)) {
        size_t size = w->piece && w->piece < bytes.size ? w->piece : bytes.size;
        buffer_append(&w->server_kept, bytes.data, size);
        bytes = span_make(bytes.data + size, bytes.size - size);
        feed_kept(w, &w->server_kept, feed_server);
        resume(w);
    }
}

/* --- a server that answers ------------------------------------------------------------------------ */

static unsigned choose(struct server *v)
{
    if (v->choices.size == 0)
        return 0;
    unsigned choice = (unsigned char)v->choices.data[0];
    v->choices = span_make(v->choices.data + 1, v->choices.size - 1);
    return choice;
}

static void say_error(struct server *v)
{
    static const char *const codes[] = { "25P02", "57014", "25001", "26000", "25006", "42601" };
    struct message_fault fault = { "ERROR", codes[choose(v) % 6], span_of("no"), { 0 }, { 0 } };
    message_add_error(&v->output, &fault);
    v->flushed = v->output.size;
}

static void say_ready(struct server *v)
{
    message_add_ready(&v->output, v->status);
    v->flushed = v->output.size;
    v->in_query = v->skipping = false;
}

static void fail(struct server *v)
{
    say_error(v);
    if (v->status == 'T')
        v->status = 'E';
    if (v->in_query)
        say_ready(v);
    else
        v->skipping = true;
}

static void say_complete(struct server *v, const char *tag)
{
    message_add_command_complete(&v->output, span_of(tag));
}

static void end_transaction(struct server *v, const struct named *what, const char *tag)
{
    say_complete(v, v->status == 'E' ? "ROLLBACK" : tag);
    v->status = what->chain && v->status != 'I' ? 'T' : 'I';
}

/* COPY, rows, a suspended portal: what may come of a statement of which nothing is known. */
static bool run_other(struct server *v, unsigned choice, bool may_suspend)
{
    static const char copy_in_response[] = { 'G', 0, 0, 0, 7, 0, 0, 0 };
    if (choice == 2) {
        buffer_append(&v->output, copy_in_response, sizeof copy_in_response);
        v->flushed = v->output.size;
        v->copy_in = true;
        return false;
    }
    if (choice == 3)
        message_add_data_row(&v->output, span_of("1"));
    if (choice == 4 && may_suspend)
        message_add_empty(&v->output, 's');
    else
        say_complete(v, "SELECT 1");
    return true;
}

/* Runs a statement of a Query, or of an Execute; true: it is answered, and did not fail. */
static bool run(struct server *v, const struct named *what, bool may_suspend)
{
    bool ends = what->kind == STATEMENT_COMMIT || what->kind == STATEMENT_ROLLBACK;
    bool mends = ends || what->kind == STATEMENT_ROLLBACK_TO;
    unsigned choice = choose(v) % 16;
    if (what->fails || (choice == 1 && what->kind != STATEMENT_ROLLBACK) || (v->status == 'E' && !mends)) {
        if (ends)
            v->status = 'I';
        fail(v);
        return false;
    }
    if (ends)
        end_transaction(v, what, what->kind == STATEMENT_COMMIT ? "COMMIT" : "ROLLBACK");
    else if (what->kind == STATEMENT_OTHER)
        return run_other(v, choice, may_suspend);
    else
        say_complete(v, what->kind == STATEMENT_BEGIN ? "BEGIN" : "SET");
    if (what->kind == STATEMENT_BEGIN || what->kind == STATEMENT_ROLLBACK_TO)
        v->status = 'T';
    return true;
}

/* The next statement of `text`, as the server sees it. ROLLBACK TO succeeds but for the savepoint that never exists. */
static bool next_statement(struct span text, size_t *at, struct named *out)
{
    struct sql_options options = { .standard_conforming_strings = true, .encoding = encoding_utf8() };
    struct statement st;
    if (!statement_next(text, at, &options, &st))
        return false;
    bool ends = st.kind == STATEMENT_COMMIT || st.kind == STATEMENT_ROLLBACK;
    *out = (struct named){ .kind = st.kind, .chain = ends && st.chain };
    out->fails = st.kind == STATEMENT_ROLLBACK_TO && span_is(st.name.raw, "pgatomic_refused");
    return true;
}

static void go_on_with_query(struct server *v)
{
    struct named what;
    while (v->in_query && next_statement(buffer_span(&v->query), &v->at, &what))
        if (!run(v, &what, false))
            return;
    if (v->in_query)
        say_ready(v);
}

static void read_query(struct server *v, const struct frame *f)
{
    struct named what;
    struct span text;
    v->in_query = true;
    v->at = 0;
    buffer_clear(&v->query);
    if (!message_read_query(frame_body(f), &text)) {
        fail(v);
        return;
    }
    buffer_append_span(&v->query, text);
    if (!next_statement(text, &v->at, &what))
        message_add_empty(&v->output, 'I');
    v->at = 0;
    go_on_with_query(v);
}

static void read_in_copy(struct server *v, char type)
{
    if (type == 'd' || type == 'S' || type == 'H')
        return;
    v->copy_in = false;
    if (type != 'c') {
        fail(v);
        return;
    }
    say_complete(v, "COPY 1");
    go_on_with_query(v);
}

/* --- the names that it knows */

static uint64_t hash_of(struct span name, bool portal)
{
    uint64_t hash = portal ? UINT64_C(14695981039346656037) : UINT64_C(88172645463325252);
    for (size_t i = 0; i < name.size; i++)
        hash = (hash ^ (unsigned char)name.data[i]) * UINT64_C(1099511628211);
    return hash;
}

static struct named *find(struct server *v, struct span name, bool portal)
{
    for (size_t i = 0; i < v->name_count; i++)
        if (v->names[i].hash == hash_of(name, portal))
            return &v->names[i];
    return NULL;
}

static void remember(struct server *v, struct span name, bool portal, struct named what)
{
    struct named *known = find(v, name, portal);
    if (!known && v->name_count == NAMES_MAX)
        return;
    if (!known)
        known = &v->names[v->name_count++];
    what.hash = hash_of(name, portal);
    *known = what;
}

static bool read_parse(struct server *v, const struct frame *f)
{
    struct message_parse parse;
    struct named what = { .kind = STATEMENT_OTHER };
    size_t at = 0;
    if (!message_read_parse(frame_body(f), &parse))
        return false;
    next_statement(parse.text, &at, &what);
    remember(v, parse.name, false, what);
    message_add_empty(&v->output, '1');
    return true;
}

static bool read_bind(struct server *v, const struct frame *f)
{
    struct message_bind bind;
    if (!message_read_bind(frame_body(f), &bind))
        return false;
    const struct named *what = find(v, bind.statement, false);
    if (!what)
        return false;
    remember(v, bind.portal, true, *what);
    message_add_empty(&v->output, '2');
    return true;
}

static bool read_execute(struct server *v, const struct frame *f)
{
    struct message_execute execute;
    const struct named *what = message_read_execute(frame_body(f), &execute) ? find(v, execute.portal, true) : NULL;
    if (!what)
        return false;
    struct named copy = *what;
    run(v, &copy, true);
    return true;
}

static bool read_describe(struct server *v, const struct frame *f)
{
    static const uint32_t none[1];
    struct message_named describe;
    if (!message_read_named(frame_body(f), &describe))
        return false;
    if (describe.kind == 'S')
        message_add_parameter_description(&v->output, none, 0);
    if (choose(v) % 2)
        message_add_row_description(&v->output, span_of("c"), 25, -1, 0);
    else
        message_add_empty(&v->output, 'n');
    return true;
}

static bool read_extended(struct server *v, const struct frame *f)
{
    if (f->type == 'E')
        return read_execute(v, f);
    if (choose(v) % 16 == 1)
        return false;
    if (f->type == 'P')
        return read_parse(v, f);
    if (f->type == 'B')
        return read_bind(v, f);
    if (f->type == 'D')
        return read_describe(v, f);
    message_add_empty(&v->output, '3');
    return true;
}

static void read_message(struct world *w, const struct frame *f)
{
    struct server *v = &w->server;
    w->left = false;
    v->in_pipeline = f->type != 'S' && f->type != 'Q' && f->type != 'F' && !(f->type == 'H' && !v->in_pipeline);
    if (v->copy_in) {
        read_in_copy(v, f->type);
    } else if (f->type == 'S') {
        say_ready(v);
    } else if (v->skipping) {
        return;
    } else if (f->type == 'Q') {
        read_query(v, f);
    } else if (f->type == 'F') {
        buffer_append(&v->output, "V\0\0\0\10\377\377\377\377", 9);
        say_ready(v);
    } else if (f->type == 'H') {
        v->flushed = v->output.size;
    } else if (f->type != 'X' && f->type != 'd' && f->type != 'c' && f->type != 'f') {
        if (!read_extended(v, f))
            fail(v);
    }
}

/* Until it waits for more, and the session with it. */
static void answer_all(struct world *w, struct span choices)
{
    struct server *v = &w->server;
    struct frame f;
    v->choices = choices;
    while (!is_over(w)) {
        enum frame_result result = frame_next_whole(frontend_messages, buffer_span(&v->unread), INT32_MAX, &f, NULL);
        MUST(result != FRAME_BAD);
        if (result == FRAME_MORE)
            return;
        struct span message = bytes_exact(f.bytes);
        buffer_consume(&v->unread, message.size);
        f.bytes = message;
        read_message(w, &f);
        bytes_free(message);
        struct span out = bytes_exact(span_make(v->output.data, v->flushed));
        buffer_consume(&v->output, out.size);
        v->flushed = 0;
        server_sends(w, out);
        bytes_free(out);
    }
}

/* --- turns -------------------------------------------------------------------------------------- */

static void cancelled(struct world *w)
{
    if (!w->cancelling || is_over(w))
        return;
    w->cancelling = false;
    session_on_cancelled(w->session, &w->actions);
    resume(w);
}

static void pass_time(struct world *w, unsigned tenths)
{
    w->now_us += tenths * UINT64_C(100000);
    session_set_time(w->session, w->now_us);
    if (is_over(w) || w->deadline_us == 0 || w->now_us < w->deadline_us)
        return;
    w->deadline_us = 0;
    if (session_is_leaving(w->session))
        end_inside_message(w);
    session_on_time(w->session, &w->actions);
    resume(w);
}

static void shut_down(struct world *w)
{
    if (is_over(w))
        return;
    w->deaf = true;
    w->held = false;
    session_shut_down(w->session, &w->actions);
    if (!session_is_leaving(w->session))
        end_inside_message(w);
    perform(w);
}

/* As link_may_release(), and nothing is on its way. */
static bool may_be_left(const struct world *w)
{
    const struct server *v = &w->server;
    return v->status == 'I' && !(v->in_query | v->copy_in | v->skipping | v->in_pipeline) && v->unread.size == 0 &&
           v->output.size == 0 && w->client_stream.left == 0 && !w->cancelling && !session_is_busy(w->session);
}

/* No server is to be had for what the session has said since it has been idle. */
static void refuse(struct world *w)
{
    if (is_over(w) || w->lied || !w->left || !session_is_busy(w->session))
        return;
    buffer_clear(&w->server.unread);
    if (w->client_stream.rest == REST_FORWARD)
        w->lost = w->client_stream.left;
    session_on_refused(w->session, "53300", span_of("no server"), &w->actions);
    MUST(w->closed || !session_is_busy(w->session));
    resume(w);
}

static void outcome_is_known(struct world *w, unsigned number)
{
    if (!w->asked)
        return;
    w->asked = false;
    session_on_outcome(w->session, (enum session_outcome)(number % 3), &w->actions);
    perform(w);
}

static void client_goes(struct world *w)
{
    if ((is_over(w) && !w->asked) || w->client_lost)
        return;
    lose_client(w);
    perform(w);
}

static void server_goes(struct world *w)
{
    if (w->server_lost)
        return;
    lose_server(w);
    perform(w);
}

/* The body of a turn with a message's header before it; the first byte is its type. */
static struct span message_of(struct span body, struct buffer *made)
{
    if (body.size == 0)
        return body;
    buffer_append_u8(made, (uint8_t)body.data[0]);
    buffer_append_u32(made, (uint32_t)body.size + 3);
    buffer_append(made, body.data + 1, body.size - 1);
    return buffer_span(made);
}

static void take_turn(struct world *w, char turn, struct span body)
{
    struct buffer made = { 0 };
    unsigned number = body.size > 0 ? (unsigned char)body.data[0] : 0;
    w->left |= may_be_left(w);
    switch (turn) {
    case 'c':
        client_sends(w, message_of(body, &made));
        break;
    case 'C':
        client_sends(w, body);
        break;
    case 's':
        w->lied = true;
        server_sends(w, message_of(body, &made));
        break;
    case 'S':
        w->lied = true;
        server_sends(w, body);
        break;
    case 'a':
        answer_all(w, body);
        break;
    case 'p':
        w->piece = number;
        break;
    case 'k':
        cancelled(w);
        break;
    case 't':
        pass_time(w, number);
        break;
    case 'g':
        session_set_config(w->session, configs[number % RULES]);
        break;
    case 'l':
        client_goes(w);
        break;
    case 'L':
        server_goes(w);
        break;
    case 'q':
        shut_down(w);
        break;
    case 'r':
        refuse(w);
        break;
    case 'o':
        outcome_is_known(w, number);
        break;
    default:
        break;
    }
    buffer_free(&made);
}

static void take_turns(struct world *w, const uint8_t *data, size_t size)
{
    struct buffer body = { 0 };
    for (size_t at = 0; at < size;) {
        char turn = (char)data[at++];
        buffer_clear(&body);
        for (; at < size && data[at] != 0xFF; at++) {
            bool turned = data[at] == 0xFE && at + 1 < size;
            buffer_append_u8(&body, turned ? data[++at] ^ 0x80 : data[at]);
        }
        at++;
        take_turn(w, turn, buffer_span(&body));
    }
    buffer_free(&body);
}

/* --- the end ------------------------------------------------------------------------------------- */

static void settle(struct world *w)
{
    for (int i = 0; i < 3; i++) {
        answer_all(w, (struct span){ 0 });
        cancelled(w);
    }
}

static void wind_up(struct world *w)
{
    bool follows = !w->lied && !w->server_output_ended;
    w->piece = 0;
    settle(w);
    MUST(!follows || !w->held || is_over(w));
    client_goes(w);
    settle(w);
    MUST(!follows || w->closed || w->asked); /* in doubt, it waits for the outcome */
    server_goes(w);
    outcome_is_known(w, OUTCOME_UNKNOWN);
    MUST(w->closed && w->open == 0);
}

static struct session *open_session(struct world *w, unsigned rules, unsigned how)
{
    static const char *const encodings[] = { "UTF8", "LATIN1", "SJIS", "SQL_ASCII" };
    struct session_start start = {
        .config = configs[rules % RULES],
        .who = { how & 4 ? "/a/start" : NULL, "fuzz", "db", "user" },
        .client = "127.0.0.1:1",
        .client_encoding = span_of(encodings[(how >> 3) % 4]),
        .server_encoding = span_of(how & 32 ? "SQL_ASCII" : "UTF8"),
        .standard_conforming_strings = !(how & 1),
        .default_read_only = how & 2,
        .new_id = new_id,
        .context = w,
    };
    w->message_limit = start.config->limits.message;
    return session_new(&start);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    read_configs();
    struct world *w = calloc(1, sizeof *w);
    MUST(w);
    w->size = size;
    w->session = open_session(w, data[0], data[1]);
    w->server.status = 'I';
    w->now_us = 1;
    session_set_time(w->session, w->now_us);
    take_turns(w, data + 2, size - 2);
    wind_up(w);
    session_free(w->session);
    actions_free(&w->actions);
    buffer_free(&w->client_kept);
    buffer_free(&w->server_kept);
    buffer_free(&w->client_gets);
    buffer_free(&w->server.unread);
    buffer_free(&w->server.output);
    buffer_free(&w->server.query);
    free(w);
    return 0;
}
