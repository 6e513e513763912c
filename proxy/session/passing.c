/* The short way through the session, for almost all of its traffic.
 *
 * While nothing special is under way, a run of ordinary messages moves nothing but the queue of owed replies: it can be accounted for
 * in one loop and sent on as one piece. Whatever is not certainly ordinary ends the run and takes the long way (client.c,
 * server.c), which would have done the very same for the messages passed here. */
#include "proxy/session/machine.h"

/* --- from the client --------------------------------------------------------------------------- */

static bool has_no_deadline(const struct session *s)
{
    const struct route *route = s->front.route;
    return s->deadline_us == 0 && (!route || (route->timeout_ms == 0 && route->idle_timeout_ms == 0));
}

/* Nothing that an ordinary message would have to look at. */
static bool client_is_calm(const struct session *s)
{
    return !(s->skipping | s->controls | s->finishing | s->cancelling | s->rollback_owed | s->closing | s->client_gone |
             s->ending | s->leaving | s->in_doubt | s->copy_in | s->going_ahead | s->ahead_failed | s->rules_stale) &&
           s->expiry == EXPIRY_NONE && s->server_status != 'E' && !session_is_opening(s) &&
           s->front.mode != MODE_REQUIRED && !s->front.read_only_sent && has_no_deadline(s) &&
           !session_wants_units(&s->front) && !session_has_more_to_say(s) && !state_needs_prelude(s, &s->front);
}

/* A comment may choose the route of the request that a statement opens. */
static bool comment_may_matter(const struct session *s, struct span text)
{
    if (!s->comments_matter || s->now.marked || s->now.wrapper)
        return false;
    return s->now.route != s->base_route || memmem(text.data, text.size, "/*", 2) != NULL;
}

static bool is_ordinary_text(const struct session *s, struct span text)
{
    return statement_is_plain(text, &s->sql) && !comment_may_matter(s, text);
}

static bool is_ordinary_query(const struct session *s, struct span body)
{
    return body.size > 0 && body.data[body.size - 1] == '\0' &&
           is_ordinary_text(s, span_make(body.data, body.size - 1));
}

static bool is_ordinary_parse(const struct session *s, struct span body)
{
    if (s->names.prepared)
        return false;
    const char *name_end = memchr(body.data, '\0', body.size);
    if (!name_end)
        return false;
    size_t left = body.size - (size_t)(name_end + 1 - body.data);
    const char *text_end = memchr(name_end + 1, '\0', left);
    return text_end && is_ordinary_text(s, span_make(name_end + 1, (size_t)(text_end - name_end - 1)));
}

/* Named portals are remembered inside a wrapper (R14), special statements anywhere. */
static bool is_ordinary_bind(const struct session *s, struct span body)
{
    return !s->names.prepared && !s->names.portals && (!state_is_virtual(&s->front) || body.data[0] == '\0');
}

static bool is_ordinary_describe(const struct session *s, struct span body)
{
    return !s->names.prepared && !s->names.portals && (!s->unnamed_portal_stale || body.data[0] == 'S');
}

static bool is_ordinary_execute(const struct session *s, struct span body)
{
    return !s->names.portals && (!s->unnamed_portal_stale || body.data[0] != '\0');
}

static void owe(struct session *s, enum pending_kind kind)
{
    if (s->unsynced == 0)
        s->unit_clean = s->pending.count == 0;
    pending_push(&s->pending, (struct pending){ .kind = kind });
    s->unsynced++;
    s->unsynced_sent++;
    s->flushed = false;
}

static void run_statement(struct session *s)
{
    s->tx_used = true;
    if (s->request)
        s->request->statements++;
}

static bool pass_query(struct session *s, struct span body)
{
    if (!is_ordinary_query(s, body))
        return false;
    run_statement(s);
    s->unit++;
    pending_push(&s->pending, (struct pending){ .kind = PENDING_QUERY });
    return true;
}

static bool pass_execute(struct session *s, struct span body)
{
    if (!is_ordinary_execute(s, body))
        return false;
    run_statement(s);
    s->unit_ran = true;
    owe(s, PENDING_EXECUTE);
    return true;
}

static bool pass_sync(struct session *s, struct span body)
{
    bool asks = s->can_ask && s->events_in_flight + s->txn.event_count > 0;
    if (body.size > 0 || s->unsynced_sent == 0 || s->names.cursors || asks)
        return false;
    s->unnamed_portal_stale = state_is_virtual(&s->front) && s->front.client == CLIENT_NONE;
    s->unsynced = s->unsynced_sent = 0;
    s->flushed = s->unit_ran = false;
    s->unit++;
    pending_push(&s->pending, (struct pending){ .kind = PENDING_SYNC });
    return true;
}

static bool pass_client_message(struct session *s, char type, struct span body)
{
    if (body.size == 0)
        return type == 'S' && pass_sync(s, body);
    switch (type) {
    case 'Q':
        return pass_query(s, body);
    case 'P':
        if (!is_ordinary_parse(s, body))
            return false;
        owe(s, PENDING_PARSE);
        return true;
    case 'B':
        if (!is_ordinary_bind(s, body))
            return false;
        s->unnamed_portal_stale &= body.data[0] != '\0';
        owe(s, PENDING_BIND);
        return true;
    case 'D':
        if (!is_ordinary_describe(s, body))
            return false;
        owe(s, PENDING_DESCRIBE);
        return true;
    case 'E':
        return pass_execute(s, body);
    default:
        return false;
    }
}

/* The server waits for it, and nobody else has a word to say. */
bool session_passes_copy_data(struct session *s)
{
    const struct pending *head = pending_head(&s->pending);
    return s->copy_in && head && !head->swallow &&
           !(s->skipping | s->client_gone | s->closing | s->in_doubt | s->rules_stale | s->rollback_owed);
}

/* A message that may be too long for its type takes the long way, which knows. */
size_t session_pass_client(struct session *s, struct span input)
{
    size_t passed = 0, size;
    if (!client_is_calm(s))
        return session_passes_copy_data(s) ? frame_run_size(input, 'd') : 0;
    while ((size = frame_whole_size(span_make(input.data + passed, input.size - passed))) > 0) {
        const char *body = input.data + passed + FRAME_HEADER_SIZE;
        if (size > FRAME_SMALL_LENGTH ||
            !pass_client_message(s, input.data[passed], span_make(body, size - FRAME_HEADER_SIZE)))
            break;
        passed += size;
    }
    return passed;
}

/* --- from the server --------------------------------------------------------------------------- */

static bool server_is_calm(const struct session *s)
{
    return !(s->controls | s->finishing | s->cancelling | s->rollback_owed | s->closing | s->client_gone | s->ending |
             s->leaving | s->copying | s->copy_in | s->rules_stale | s->unit_failed | s->commit_told |
             s->close_cursors | s->begin_failed) &&
           s->undo == UNDO_NONE && s->expiry == EXPIRY_NONE && s->now.unit == UNIT_NONE && !s->names.portals &&
           s->settings.count == 0 && has_no_deadline(s);
}

/* The status that the client sees; 0: this ReadyForQuery has to take the long way. */
static char calm_status(const struct session *s, char status)
{
    if (!state_is_virtual(&s->now)) {
        bool settles = status == 'I' && (s->request || s->txn.event_count > 0);
        return settles || s->now.client != CLIENT_NONE || s->now.wrapper ? 0 : status;
    }
    if (status != 'T' || !s->now.wrapper || s->now.mode != MODE_ATOMIC)
        return 0;
    return s->now.client == CLIENT_NONE ? 'I' : 'T';
}

static bool pass_ready(struct session *s, struct pending *head, char *body, size_t size)
{
    if (size != 1 || (head->kind != PENDING_SYNC && head->kind != PENDING_QUERY))
        return false;
    char seen = calm_status(s, body[0]);
    if (seen == 0)
        return false;
    s->server_status = body[0];
    if (body[0] == 'I') {
        s->tx_used = false;
        s->transactions++;
    }
    s->unit_done++;
    body[0] = seen;
    bool query = head->kind == PENDING_QUERY;
    pending_pop(&s->pending);
    if (query)
        session_ends_pipeline(s);
    return true;
}

/* Behind it stands something of our own, which has to be done when it is answered. */
static bool is_followed_by_plan(struct session *s)
{
    size_t next = 1; /* the end of a COPY goes with what stands before it */
    while (next < s->pending.count && pending_at(&s->pending, next)->kind == PENDING_COPY_END)
        next++;
    return next < s->pending.count && pending_at(&s->pending, next)->plan != NULL;
}

/* The message to which the replies that come next belong, if they change nothing but the queue; NULL: they may. */
static struct pending *ordinary_head(struct session *s)
{
    struct pending *head = pending_head(&s->pending);
    return head && !head->plan && !head->swallow && !head->prepared && !is_followed_by_plan(s) ? head : NULL;
}

static size_t pass_data(struct span input)
{
    return frame_run_size(input, input.size > 0 && input.data[0] == 'd' ? 'd' : 'D');
}

/* Rows and COPY data are the client's, whatever else is under way, unless it never asked for them. */
bool session_passes_rows(struct session *s)
{
    const struct pending *head = pending_head(&s->pending);
    return head && !head->plan && !head->swallow && !(s->client_gone | s->closing | s->rules_stale);
}

/* What an ordinary reply is: one of several to its message, the answer to a message of this kind, or the end of a unit. */
enum { REPLY_OTHER, REPLY_IN_BETWEEN, REPLY_LAST, REPLY_ANSWER };

static const uint8_t replies[256] = {
    ['D'] = REPLY_IN_BETWEEN,
    ['d'] = REPLY_IN_BETWEEN,
    ['t'] = REPLY_IN_BETWEEN,
    ['Z'] = REPLY_LAST,
    ['T'] = REPLY_ANSWER + PENDING_DESCRIBE,
    ['n'] = REPLY_ANSWER + PENDING_DESCRIBE,
    ['C'] = REPLY_ANSWER + PENDING_EXECUTE,
    ['1'] = REPLY_ANSWER + PENDING_PARSE,
    ['2'] = REPLY_ANSWER + PENDING_BIND,
};

/* The head stays the same for all replies to a Query, so it is looked at only when it has changed. */
size_t session_pass_server(struct session *s, struct span input)
{
    size_t passed = 0, size;
    if (!server_is_calm(s))
        return session_passes_rows(s) ? pass_data(input) : 0;
    struct pending *head = ordinary_head(s);
    while (head && (size = frame_whole_size(span_make(input.data + passed, input.size - passed))) > 0) {
        char *message = (char *)(uintptr_t)input.data + passed;
        unsigned reply = replies[(unsigned char)message[0]];
        if (reply == REPLY_LAST) {
            if (!pass_ready(s, head, message + FRAME_HEADER_SIZE, size - FRAME_HEADER_SIZE))
                break;
            head = ordinary_head(s);
        } else if (reply == REPLY_ANSWER + (unsigned)head->kind) {
            pending_pop(&s->pending);
            head = ordinary_head(s);
        } else if (reply == REPLY_IN_BETWEEN) {
            size += frame_run_size(span_make(message + size, input.size - passed - size), message[0]);
        } else if (reply == REPLY_OTHER) {
            break;
        }
        passed += size;
    }
    return passed;
}
