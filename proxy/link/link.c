/* The doors of a link, its end, and what it says to the server on its own account. */
#include <stdatomic.h>
#include <stdlib.h>

#include "protocol/memory.h"
#include "protocol/message.h"
#include "proxy/link/inside.h"

/* Bytes of the client that wait in its link. */
enum { HELD_MAX = 64 * 1024 };

/* Serials are had in blocks, so that the next one costs no atomic operation. */
enum { SERIAL_BITS = 24 };

uint64_t link_first_serial(void)
{
    static atomic_uint_fast64_t last;
    return (atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) + 1) << SERIAL_BITS;
}

void link_next_serial(struct link *l)
{
    l->serial++;
    if ((l->serial & ((1U << SERIAL_BITS) - 1)) == 0) /* that is another block */
        l->serial = link_first_serial();
}

void link_init(struct link *l, const struct link_start *start)
{
    memset(l, 0, sizeof *l);
    l->statements = start->statements;
    l->scope = start->scope;
    l->keeps_server = start->keeps_server;
    l->prepares_unnamed = start->prepares_unnamed;
    l->on_pinned = start->on_pinned;
    l->listens.on_listen = start->keeps_server ? NULL : start->on_listen;
    l->listens.on_unlisten = start->on_unlisten;
    l->context = start->context;
    l->status = 'I';
}

struct link *link_new(const struct link_start *start)
{
    struct link *l = or_abort(malloc(sizeof *l));
    link_init(l, start);
    l->serial = link_first_serial();
    l->base = parameters_retain(start->base);
    l->wanted = parameters_retain(start->base);
    l->shown = parameters_none();
    l->sql.standard_conforming_strings = true;
    l->sql.encoding = encoding_utf8();
    return l;
}

void change_free(struct link *l, struct change *c)
{
    while (c != NULL) {
        struct change *next = c->next;
        l->renamings -= c->sets;
        if (c->before != NULL)
            statements_release(l->statements, c->before);
        if (c->after != NULL)
            statements_release(l->statements, c->after);
        free(c->refusal);
        free(c);
        c = next;
    }
}

static void forget_owed(struct link *l)
{
    for (size_t i = 0; i < l->owed.count; i++)
        change_free(l, owed_at(&l->owed, i)->change);
    l->owed.count = 0;
    portals_free(l);
    l->stubs = 0;
}

void link_free(struct link *l)
{
    if (l == NULL)
        return;
    forget_owed(l);
    owed_free(&l->owed);
    handles_free(&l->handles, l->statements);
    traces_free(l);
    listens_free(l);
    parameters_release(l->resets.known);
    parameters_release(l->base);
    parameters_release(l->wanted);
    parameters_release(l->shown);
    parameters_release(l->meant);
    buffer_free(&l->partial);
    buffer_free(&l->unnamed);
    buffer_free(&l->own);
    buffer_free(&l->error_text);
    free(l);
}

/* --- words of the link's own --------------------------------------------------------------------------------- */

void link_say(struct actions *out, struct buffer *made)
{
    actions_to_server(out, actions_keep(out, buffer_span(made)));
    buffer_free(made);
}

static void say_query(struct link *l, struct span sql, enum owed_purpose purpose, struct actions *out)
{
    struct buffer made = { 0 };
    message_add_query(&made, sql);
    link_say(out, &made);
    owed_push(&l->owed, OWED_QUERY, purpose);
    l->server->unnamed = 0;
}

void link_say_sync(struct link *l, enum owed_purpose purpose, struct actions *out)
{
    struct buffer made = { 0 };
    message_add_sync(&made);
    link_say(out, &made);
    owed_push(&l->owed, OWED_SYNC, purpose);
    l->unsynced = 0;
    l->skipping = false;
}

/* --- failure --------------------------------------------------------------------------------------------------- */

void link_fail(struct link *l, const char *sqlstate, const char *words)
{
    if (l->error_text.size > 0)
        return;
    memcpy(l->sqlstate, sqlstate, strlen(sqlstate) + 1);
    buffer_append_text(&l->error_text, words);
    buffer_append_u8(&l->error_text, '\0');
}

void link_fail_with(struct link *l, const struct message_error *error)
{
    if (l->error_text.size > 0 || error->sqlstate.size >= sizeof l->sqlstate)
        return;
    memcpy(l->sqlstate, error->sqlstate.data, error->sqlstate.size);
    buffer_append_string(&l->error_text, error->message);
}

const char *link_error(const struct link *l)
{
    return l->error_text.size > 0 ? l->error_text.data : NULL;
}

const char *link_error_sqlstate(const struct link *l)
{
    return l->sqlstate;
}

/* --- attaching --------------------------------------------------------------------------------------------------- */

/* Until the server says otherwise. */
static void guess_sql(struct link *l)
{
    static const char *const names[] = { "client_encoding", "standard_conforming_strings" };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct span name = span_of(names[i]);
        const char *value = parameters_value(l->wanted, name);
        if (value == NULL)
            value = link_server_parameter(l->server, name);
        if (value != NULL)
            traces_follow_sql(l, name, span_of(value));
    }
    l->sql_known = true;
}

void link_attach(struct link *l, struct link_server *s, struct actions *out)
{
    l->server = s;
    l->status = 'I';
    if (!l->sql_known) {
        guess_sql(l);
        traces_note_base(l);
    }
    if (l->wanted != s->told)
        settings_tell(l, out);
}

bool link_is_attached(const struct link *l)
{
    return l->server != NULL;
}

/* Nothing is owed, and no message or pipeline is half way. */
static bool is_idle(const struct link *l)
{
    return l->owed.count == 0 && l->unsynced == 0 && !l->skipping && l->client_left == 0 && l->partial.size == 0;
}

bool link_is_settled(const struct link *l)
{
    return l->server != NULL && l->settling == 0 && l->owed.count == 0;
}

bool link_is_settling(const struct link *l)
{
    return l->settling > 0;
}

bool link_is_full(const struct link *l)
{
    return link_is_held(l) && l->partial.size >= HELD_MAX;
}

bool link_may_release(const struct link *l)
{
    if (l->server == NULL || !is_idle(l) || l->status != 'I' || l->error_text.size > 0)
        return false;
    if (l->server_left > 0 || l->seen > 0 || l->to_skip > 0 || l->settle_cancel)
        return false;
    return l->ending ? l->clean : !l->pinned && !l->keeps_server && l->touched_count == 0 && !l->listens.touched;
}

bool link_is_between(const struct link *l)
{
    return l->server == NULL || (is_idle(l) && l->status == 'I' && l->server_left == 0 && l->seen == 0);
}

void link_detach(struct link *l)
{
    forget_owed(l);
    l->server = NULL;
    l->status = 'I';
    resets_end(l);
    l->server_left = l->seen = l->to_skip = l->settling = 0;
    l->copying = l->copy_in = l->holds = l->holds_unit = l->forgets = l->discarded = false;
    l->hides_unnamed = false;
    buffer_free(&l->own);
    l->own_is_out = false;
}

/* --- the end ------------------------------------------------------------------------------------------------------- */

static void go_on_ending(struct link *l, struct actions *out)
{
    if (l->status != 'I' && l->rolled_back) {
        link_fail(l, "08006", "the server could not be rolled back");
    } else if (l->status != 'I') {
        say_query(l, span_of("ROLLBACK"), FOR_NOTHING, out);
        l->rolled_back = true;
    } else if (l->server->needs_reset && !l->server->out_of_step) {
        say_query(l, span_of("DISCARD ALL"), FOR_RESET, out);
    } else { /* or it is closed as it is */
        l->clean = true;
    }
}

static void ask_channels(struct link *l, struct actions *out)
{
    struct buffer sql = { 0 };
    listens_question(l, &sql);
    say_query(l, buffer_span(&sql), FOR_CHANNELS, out);
    buffer_free(&sql);
}

void link_make_progress(struct link *l, struct actions *out)
{
    if (!is_idle(l) || l->error_text.size > 0)
        return;
    bool out_of_step = l->server->out_of_step; /* it may answer the client where the link waits for an answer */
    bool settles = l->settle_cancel && !out_of_step;
    l->settle_cancel = false;
    if (settles) {
        link_say_sync(l, FOR_NOTHING, out);
    } else if (l->ending) {
        go_on_ending(l, out);
    } else if (out_of_step) {
        return;
    } else if (l->status == 'I' && l->listens.touched) {
        ask_channels(l, out);
    } else if (l->status == 'I' && l->keeps_server) {
        resets_end(l);
    } else if (l->status == 'I' && l->touched_count > 0 && !l->pinned) {
        traces_ask(l, out);
    }
}

void link_break_copy(struct link *l, struct actions *out)
{
    struct buffer made = { 0 };
    message_add_copy_fail(&made, span_of("the client has gone"));
    link_say(out, &made);
    l->copy_in = false;
    if (l->unsynced > 0)
        link_say_sync(l, FOR_NOTHING, out);
}

/* What came without a Sync is not to be kept, and a Sync would. */
static void say_failure(struct link *l, struct actions *out)
{
    struct buffer made = { 0 };
    message_add_describe(&made, 'S', span_of("pgatomic_none"));
    link_say(out, &made);
    owed_push(&l->owed, OWED_DESCRIBE, FOR_NOTHING);
}

void link_close_unit(struct link *l, struct actions *out)
{
    buffer_free(&l->partial); /* nothing of it has left */
    if (l->copy_in)
        link_break_copy(l, out);
    if (l->unsynced > 0 && !l->skipping)
        say_failure(l, out);
    if (l->unsynced > 0 || l->skipping)
        link_say_sync(l, FOR_NOTHING, out);
}

void link_note_leavings(struct link *l)
{
    l->server->needs_reset |= l->pinned || l->keeps_server || l->touched_count > 0 || l->listens.touched;
}

/* Behind a COPY of which nobody knows what it has read, what is owed may never come. */
static bool may_wait_for_ever(const struct link *l)
{
    return l->server->out_of_step && l->owed.count > 0;
}

bool link_end(struct link *l, struct actions *out)
{
    if (l->ending)
        return true;
    listens_give_up(l);
    if ((l->client_left > 0 && !l->client_drops) || may_wait_for_ever(l))
        return false;
    l->ending = true;
    l->server_drops = true; /* the rest of what is coming */
    l->client_left = 0;
    link_note_leavings(l);
    if (!l->holds)
        link_close_unit(l, out);
    replies_give_own(l); /* what they would have gone with may have been lost in a COPY */
    if (l->holds && l->owed.count == 0)
        requests_resume(l, out); /* and so what the rest was waiting for */
    else
        requests_on_ready(l, out);
    link_progress(l, out);
    return true;
}

void link_on_cancelled(struct link *l, struct actions *out)
{
    l->settle_cancel = true;
    link_progress(l, out);
}
