/* The client's messages on their way to the server.
 *
 * Those that the server can have as they are leave as they came, a run of them in one piece. A message with the name of a prepared
 * statement may leave as another one, with something put in front of it, or not at all (prepared.c); so may a text that sets something or
 * names statements (sql_names.c, traces.c, listens.c). What has to wait for the server's word on what is under way is kept until that has
 * come. */
#include "protocol/message.h"
#include "protocol/statement_state.h"
#include "proxy/link/inside.h"

/* No message of the session is longer; the shell has seen to its limits. */
enum { LENGTH_MAX = 0x7fffffff };

/* --- the simple protocol --------------------------------------------------------------------------------------- */

static struct span query_text(struct span body)
{
    return span_make(body.data, body.size - (body.size > 0)); /* without its NUL */
}

static void say_query(const struct buffer *sql, struct actions *out)
{
    struct buffer made = { 0 };
    message_add_query(&made, buffer_span(sql));
    link_say(out, &made);
}

static struct owed *owe_query(struct link *l)
{
    l->server->unnamed = 0;
    link_next_serial(l);
    if (l->has_unnamed || l->prepares_unnamed)
        prepared_forget_unnamed(l);
    l->unsynced = 0;
    return owed_push(&l->owed, OWED_QUERY, FOR_CLIENT);
}

/* A Query that the server can have as it is, and that leaves nothing behind; with pool = session, that resets nothing. False: it is
 * another one. */
static bool pass_query(struct link *l, struct span body)
{
    if ((!l->keeps_server || resets_matter(l)) && statement_may_leave_state(query_text(body)))
        return false;
    owe_query(l);
    return true;
}

/* False: it was replaced. */
static bool on_query(struct link *l, const struct frame *f, struct actions *out)
{
    struct span text = query_text(frame_body(f));
    struct buffer sql = { 0 };
    struct change *changes = NULL;
    if (!l->listens.touched && pass_query(l, frame_body(f)))
        return true;
    if (l->keeps_server) {
        resets_note_kept(l, text);
        owe_query(l);
        return true;
    }
    if (listens_hold(l, text))
        return false;
    traces_note(l, text);
    bool replaced = sql_names_rewrite(l, text, false, &sql, &changes, out);
    if (l->listens.touched)
        unlistens_add_changes(l, text, &changes);
    /* When what is put in front of it fails, it is skipped, and so would be what follows. */
    l->holds |= l->unsynced > 0;
    if (replaced)
        say_query(&sql, out);
    buffer_free(&sql);
    owe_query(l)->change = changes;
    return !replaced;
}

/* --- Execute, Sync, COPY ------------------------------------------------------------------------------------------- */

static void on_execute(struct link *l, struct span body)
{
    struct owed *entry = owed_push(&l->owed, OWED_EXECUTE, FOR_CLIENT);
    if (l->bound != NULL)
        entry->change = portals_execute(l, body);
    if (l->listens.bound != NULL)
        change_add(&entry->change, unlistens_execute(l));
    l->unsynced++;
}

static void on_sync(struct link *l)
{
    l->skipping = false;
    if (l->copy_in) { /* COPY reads past it */
        l->read_past = true;
        return;
    }
    owed_push(&l->owed, OWED_SYNC, FOR_CLIENT);
    l->unsynced = 0;
    l->flushed = false;
}

static void on_copy_end(struct link *l)
{
    l->copy_in = false;
    if (l->owed.count > 0)
        owed_push(&l->owed, OWED_COPY_END, FOR_CLIENT);
}

/* --- FunctionCall ------------------------------------------------------------------------------------------------- */

/* By their numbers, which are the same on every server: all that drivers call in this way. What they leave goes with the transaction. */
static bool is_of_large_objects(uint32_t function)
{
    bool is_old = function >= 952 && function <= 958, is_long = function >= 3170 && function <= 3172;
    return is_old || is_long || function == 715 || function == 964 || function == 1004;
}

/* Nobody knows what another one does. */
static void on_function_call(struct link *l, struct span body)
{
    struct wire w = wire_open(body);
    if (!is_of_large_objects(wire_u32(&w))) {
        meanings_note(l, (struct span){ 0 });
        traces_pin(l, "function call");
    }
    owed_push(&l->owed, OWED_QUERY, FOR_CLIENT);
}

/* --- a message ------------------------------------------------------------------------------------------------------ */

static void note_kept_resets(struct link *l, const struct frame *f)
{
    struct message_parse parse;
    struct message_bind bind;
    if (f->type == 'P' && message_read_parse(frame_body(f), &parse))
        resets_note_kept_parse(l, &parse);
    else if (f->type == 'B' && message_read_bind(frame_body(f), &bind))
        resets_note_kept_bind(l, bind.statement);
}

/* pool = session: names are the client's own. */
static void take_kept(struct link *l, const struct frame *f)
{
    static const uint8_t kinds[256] = {
        ['P'] = OWED_PARSE, ['B'] = OWED_BIND, ['D'] = OWED_DESCRIBE, ['C'] = OWED_CLOSE
    };
    if (resets_matter(l))
        note_kept_resets(l, f);
    owed_push(&l->owed, (enum owed_kind)kinds[(unsigned char)f->type], FOR_CLIENT);
    l->unsynced++;
}

static bool is_named(char type)
{
    return type == 'P' || type == 'B' || type == 'D' || type == 'C';
}

/* Anything else ends a COPY that reads it with an error, and is lost. */
static bool is_of_copy(char type)
{
    return type == 'd' || type == 'c' || type == 'f' || type == 'S' || type == 'H' || type == 'X';
}

/* True: it goes to the server as it is. */
static bool take_message(struct link *l, const struct frame *f, struct actions *out)
{
    if (l->copy_in && !is_of_copy(f->type)) {
        l->copy_in = false;
        l->read_past = true;
        l->server->needs_reset = true; /* what comes behind it counts on it */
        return true;
    }
    if (l->skipping && f->type != 'S') {
        l->client_drops = true;
        return false;
    }
    if (l->keeps_server && is_named(f->type)) {
        take_kept(l, f);
        return true;
    }
    switch (f->type) {
    case 'Q':
        return on_query(l, f, out);
    case 'P':
        return prepared_on_parse(l, f, out);
    case 'B':
        return prepared_on_bind(l, f, out);
    case 'D':
        return prepared_on_describe(l, f, out);
    case 'E':
        on_execute(l, frame_body(f));
        return true;
    case 'C':
        return prepared_on_close(l, f);
    case 'S':
        on_sync(l);
        return true;
    case 'H':
        l->flushed = true;
        return true;
    case 'F':
        on_function_call(l, frame_body(f));
        return true;
    case 'c':
    case 'f':
        on_copy_end(l);
        return true;
    case 'X': /* the shell ends the link */
        return false;
    default:
        return true;
    }
}

/* It may leave as something else, or have something put in front of it. */
static bool is_rewritten(char type)
{
    return type == 'Q' || is_named(type);
}

/* So many replies are owed to a client at most: what each keeps is larger than the message that it answers. */
enum { OWED_MAX = 10000 };

/* No more is taken before all of them have come. What a COPY reads is owed nothing. */
static bool is_crowded(const struct link *l)
{
    return l->owed.count >= OWED_MAX && !l->copy_in && !l->skipping;
}

static void say_flush(struct actions *out)
{
    struct buffer made = { 0 };
    message_add_flush(&made);
    link_say(out, &made);
}

/* --- the short way -------------------------------------------------------------------------------------------------- */

/* Most requests neither change nor need anything on the server but their turn in `owed`: a Query that leaves nothing behind, a portal's
 * Describe and Execute, Sync, and the data of a COPY. What take_message() does with one of these is this and no more, as long as the server is
 * not skipping, no DISCARD ALL, DEALLOCATE ALL, reset, LISTEN or UNLISTEN is on its way, and COPY does not read what follows; pass_requests() sees to that
 * once for all of them, for none of them changes it. Nothing is put in front of them, so a run of them stays one piece.
 *
 * Whatever names a statement (Parse, Bind, its Describe, Close), sets something, executes what does, or may be cut takes the long way. */
static bool pass_request(struct link *l, char type, struct span body)
{
    switch (type) {
    case 'Q':
        return (l->renamings == 0 || !l->prepares_unnamed) && pass_query(l, body); /* else names_are_open() decides */
    case 'D':
        if (body.size == 0 || body.data[0] != 'P')
            return false;
        owed_push(&l->owed, OWED_DESCRIBE, FOR_CLIENT);
        l->unsynced++;
        return true;
    case 'E':
        if (l->bound != NULL)
            return false;
        on_execute(l, body);
        return true;
    case 'S':
        on_sync(l);
        return true;
    default:
        return false;
    }
}

/* How many bytes at the front of `bytes` take the short way. */
static size_t pass_requests(struct link *l, struct span bytes)
{
    size_t passed = 0, size;
    if (bytes.size > 0 && bytes.data[0] == 'd')
        return l->skipping ? 0 : frame_run_size(bytes, 'd');
    if (l->skipping | l->forgets | l->copy_in | l->resets.noted | l->listens.touched)
        return 0;
    while (l->owed.count < OWED_MAX &&
           (size = frame_whole_size(span_make(bytes.data + passed, bytes.size - passed))) > 0) {
        const char *body = bytes.data + passed + FRAME_HEADER_SIZE;
        if (!pass_request(l, bytes.data[passed], span_make(body, size - FRAME_HEADER_SIZE)))
            break;
        passed += size;
    }
    return passed;
}

/* --- all ways ---------------------------------------------------------------------------------------------------------- */

/* Something of an earlier unit is owed. */
static bool is_behind_unit(const struct link *l)
{
    const struct owed *head = owed_head(&l->owed);
    return head != NULL && head->unit != l->owed.unit;
}

/* When more changes of names are under way nothing more goes out: if one fails, those behind it are looked through. */
enum { RENAMINGS_MAX = 1000 };

/* Whether it depends on what is owed: on what a name stands for then, or on what the text of a statement that is to be shared means. */
static bool is_open(const struct link *l, const struct frame *f)
{
    struct span body = frame_body(f);
    bool is_shared = f->type == 'P' && body.size > 0 && (body.data[0] != '\0' || l->prepares_unnamed);
    return l->renamings > RENAMINGS_MAX || (is_shared && meanings_are_asked(l)) ||
           ((l->renamings > 0 || l->hides_unnamed) && names_are_open(l, f));
}

/* The client has said all of its unit: a Query, a pipeline, or the data of a COPY in a Query. */
static bool ends_unit(const struct link *l, char type)
{
    const struct owed *head = owed_head(&l->owed);
    bool ends_copy = (type == 'c' || type == 'f') && head != NULL && head->kind == OWED_QUERY && l->unsynced == 0;
    return type == 'Q' || type == 'S' || ends_copy;
}

/* What follows this message has to wait until it is known what became of it. */
static bool holds_up(const struct link *l, char type)
{
    if (l->skipping || l->copy_in || !(l->forgets || l->resets.noted))
        return false;
    return ends_unit(l, type) || (l->forgets && type == 'E');
}

/* Whole messages, and heads of those that stream, at the front of `bytes`; how many bytes they are. */
static size_t take_messages(struct link *l, struct span bytes, struct actions *out)
{
    size_t at = 0, run = 0;
    bool needs_flush = false;
    while (!l->holds) {
        struct frame f;
        at += pass_requests(l, span_make(bytes.data + at, bytes.size - at));
        if (at == bytes.size)
            break;
        if (is_crowded(l)) {
            l->holds = l->flushed = needs_flush = true;
            break;
        }
        enum frame_result result =
            frame_next(frontend_messages, span_make(bytes.data + at, bytes.size - at), LENGTH_MAX, &f, NULL);
        if (result != FRAME_OK)
            break;
        if (is_rewritten(f.type)) { /* what is put in front of it comes behind the run */
            actions_to_server(out, span_make(bytes.data + run, at - run));
            run = at;
        }
        l->client_drops = false;
        if ((l->renamings > 0 || l->unsure || l->hides_unnamed) && !l->skipping && !l->copy_in && is_behind_unit(l) &&
            is_open(l, &f)) {
            l->holds = l->holds_unit = true;
            break;
        }
        bool as_it_is = take_message(l, &f, out);
        if (listens_are_awaited(l)) /* it will be looked at again */
            break;
        if (l->holds_bind) {
            l->holds_bind = false;
            l->holds = needs_flush = true;
            break;
        }
        l->holds |= holds_up(l, f.type);
        needs_flush = l->holds && f.type == 'E';
        if (!as_it_is) {
            actions_to_server(out, span_make(bytes.data + run, at - run));
            run = at + f.bytes.size;
        }
        at += f.bytes.size;
        l->client_left = f.left;
    }
    actions_to_server(out, span_make(bytes.data + run, at - run));
    if (needs_flush)
        say_flush(out);
    return at;
}

/* --- the door ------------------------------------------------------------------------------------------------------- */

/* Between two units, when the client's settings are not what the server was told: after a RESET, say. */
static void tell_if_idle(struct link *l, struct actions *out)
{
    bool between = l->owed.count == 0 && l->unsynced == 0 && !l->skipping;
    if (l->status == 'I' && between && l->client_left == 0 && l->partial.size == 0)
        settings_tell(l, out);
}

/* Of the message under way, of which a part has gone. */
static size_t pass_rest(struct link *l, struct span bytes, struct actions *out)
{
    size_t size = l->client_left < bytes.size ? l->client_left : bytes.size;
    l->client_left -= size;
    if (!l->client_drops)
        actions_to_server(out, span_make(bytes.data, size));
    return size;
}

/* The session hands a message over in pieces when it has put something in front of the client's text. */
static void complete_partial(struct link *l, struct span bytes, struct actions *out)
{
    buffer_append_span(&l->partial, bytes);
    struct span whole = actions_keep(out, buffer_span(&l->partial));
    size_t used = take_messages(l, whole, out);
    buffer_consume(&l->partial, used);
    if (l->partial.size == 0)
        buffer_free(&l->partial);
}

bool link_is_held(const struct link *l)
{
    return l->holds || listens_are_awaited(l);
}

void link_on_client(struct link *l, struct span bytes, struct actions *out)
{
    if (link_is_held(l)) {
        buffer_append_span(&l->partial, bytes);
        return;
    }
    if (l->wanted != l->server->told)
        tell_if_idle(l, out);
    if (l->client_left > 0) {
        size_t rest = pass_rest(l, bytes, out);
        bytes = span_make(bytes.data + rest, bytes.size - rest);
    }
    if (l->partial.size > 0) {
        complete_partial(l, bytes, out);
        return;
    }
    size_t used = bytes.size > 0 ? take_messages(l, bytes, out) : 0;
    if (used < bytes.size)
        buffer_append_span(&l->partial, span_make(bytes.data + used, bytes.size - used));
}

/* What waits for nothing, with nothing put in front of it. */
bool link_pass_copy_data(struct link *l, size_t begun, size_t left)
{
    if (!l->copy_in || l->skipping || l->ending || link_is_held(l) || l->partial.size > 0)
        return false;
    if (l->client_left != begun || (begun > 0 && l->client_drops))
        return false;
    l->client_left = left;
    l->client_drops = false;
    return true;
}

void requests_on_ready(struct link *l, struct actions *out)
{
    if (l->holds && l->holds_unit && !is_behind_unit(l))
        requests_resume(l, out);
}

void requests_resume(struct link *l, struct actions *out)
{
    struct span kept = actions_keep(out, buffer_span(&l->partial));
    buffer_free(&l->partial);
    l->holds = l->holds_unit = false;
    l->forgets = l->forgets && (l->copying || l->owed.count > 0); /* it may stand behind the COPY that is to be read */
    if (kept.size > 0)
        link_on_client(l, kept, out);
    if (!l->ending)
        return;
    link_note_leavings(l);
    if (l->client_left > 0 && !l->client_drops) {
        link_fail(l, "08006", "the client has gone in the middle of a message");
        return;
    }
    l->client_left = 0;
    if (!l->holds)
        link_close_unit(l, out);
}

/* --- refusing --------------------------------------------------------------------------------------------------------- */

size_t link_drop_refused(struct link *l, struct span bytes)
{
    if (l->client_left == 0 || !l->client_drops)
        return 0;
    size_t size = l->client_left < bytes.size ? l->client_left : bytes.size;
    l->client_left -= size;
    return size;
}

void link_refuse(struct link *l, struct span backlog)
{
    for (size_t at = link_drop_refused(l, backlog); at < backlog.size;) {
        struct frame f;
        if (frame_next(frontend_messages, span_make(backlog.data + at, backlog.size - at), LENGTH_MAX, &f, NULL) !=
            FRAME_OK)
            return;
        at += f.bytes.size;
        l->client_left = f.left;
        l->client_drops = true;
    }
}
