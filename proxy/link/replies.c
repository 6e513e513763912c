/* The server's messages on their way back.
 *
 * Each belongs to the entry at the head of `owed`, or to nobody. What is for the client goes on as it came, in runs; what the
 * link asked for itself is taken out; what it has answered itself is put in when its turn comes. */
#include "protocol/message.h"
#include "proxy/link/inside.h"

/* As the shell's: no message of the upstream is longer than what PostgreSQL can allocate. */
enum { LENGTH_MAX = 0x3fffffff };

static enum verdict for_head(const struct owed *head)
{
    return head == NULL || head->purpose == FOR_CLIENT ? SHOW : HIDE;
}

/* --- success -------------------------------------------------------------------------------------------------- */

/* The first of its changes has come true. */
static void confirm_first(struct link *l, struct owed *entry)
{
    struct change *c = entry->change;
    entry->change = c->next;
    c->next = NULL;
    l->shifted += c->shift;
    if (c->held != 0)
        server_confirm(l->server, c->held, entry->unit);
    unlistens_confirm(l, c);
    change_free(l, c);
}

static void confirm(struct link *l, struct owed *entry)
{
    if (entry->kind == OWED_PARSE && entry->statement != 0)
        server_confirm(l->server, entry->statement, entry->unit);
    while (entry->change != NULL)
        confirm_first(l, entry);
    l->shifted = 0; /* the next text is another one */
}

/* The next statement of the text is complete. */
static void confirm_statement(struct link *l, struct owed *entry)
{
    while (entry->change != NULL && entry->change->index <= l->completed)
        confirm_first(l, entry);
    l->completed++;
}

static enum verdict on_simple_reply(struct link *l, enum owed_kind kind)
{
    struct owed *head = owed_head(&l->owed);
    enum verdict verdict = for_head(head);
    if (head == NULL || head->kind != kind)
        return verdict;
    confirm(l, head);
    owed_pop(&l->owed);
    return verdict;
}

/* A COPY is complete, and with it the end of its data is answered: a string may hold another. */
static void forget_copy_end(struct link *l)
{
    struct owed_queue *q = &l->owed;
    size_t at = 1;
    l->copying = l->copy_in = false;
    while (at < q->count && owed_at(q, at)->kind != OWED_COPY_END)
        at++;
    if (at >= q->count)
        return;
    for (; at + 1 < q->count; at++)
        *owed_at(q, at) = *owed_at(q, at + 1);
    q->count--;
}

/* The next DEALLOCATE ALL of the same text, or its end: what stands behind it counts when that has succeeded. So each change is looked at
 * once, however many of them there are. */
static bool is_next_forgetting(const struct link *l, struct change *c)
{
    c->cuts = c->forgets && c->index > l->completed;
    return c->cuts;
}

/* All names are gone, but for those that the same text gives behind this statement: they count already. */
static void forget_names(struct link *l, const struct owed *head)
{
    struct span unnamed = { 0 };
    struct shared_statement *kept = handles_find(&l->handles, unnamed); /* which has no name */
    struct handles gone = l->handles;
    l->handles = (struct handles){ 0 };
    if (kept != NULL)
        handles_set(&l->handles, unnamed, shared_statement_retain(kept));
    for (struct change *c = head != NULL ? head->change : NULL; c != NULL && !is_next_forgetting(l, c); c = c->next) {
        if (!c->sets)
            continue;
        struct shared_statement *before = c->before, *after = c->after;
        c->before = handles_set(&l->handles, span_of(c->name), after != NULL ? shared_statement_retain(after) : NULL);
        if (before != NULL)
            statements_release(l->statements, before);
    }
    handles_free(&gone, l->statements);
}

/* The server has none any more, but what the same text prepares behind this statement. */
static void forget_held(struct link *l, const struct owed *head)
{
    server_forget_all(l->server);
    for (const struct change *c = head != NULL ? head->change : NULL; c != NULL && !c->cuts; c = c->next) {
        if (c->forgets)
            continue;
        l->server->has_unknown = true; /* also what a name was taken for that was thought to be in use */
        if (c->held != 0)
            server_hold(l->server, c->held, c->held_changes, head->unit);
    }
}

static void follow_tag(struct link *l, const struct frame *f)
{
    const struct owed *head = owed_head(&l->owed);
    struct span tag;
    if (!message_read_command_complete(frame_body(f), &tag))
        return;
    resets_on_tag(l, head, tag);
    bool discards = span_is(tag, "DISCARD ALL");
    if (!discards && !span_is(tag, "DEALLOCATE ALL"))
        return;
    forget_names(l, head);
    if (discards) {
        l->discarded = true;
        link_server_on_reset(l->server);
        traces_forget(l);
    } else {
        forget_held(l, head);
    }
}

static bool is_rollback(const struct frame *f)
{
    struct span tag;
    return f->type == 'C' && message_read_command_complete(frame_body(f), &tag) && span_is(tag, "ROLLBACK");
}

/* CommandComplete, EmptyQueryResponse, PortalSuspended. */
static enum verdict on_complete(struct link *l, const struct frame *f)
{
    struct owed *head = owed_head(&l->owed);
    enum verdict verdict = for_head(head);
    if (l->copying)
        forget_copy_end(l);
    if (l->tags_matter && verdict == SHOW)
        follow_tag(l, f);
    if (l->listens.touched && verdict == SHOW)
        l->listens.undone = is_rollback(f);
    if (head == NULL)
        return verdict;
    if (head->kind == OWED_QUERY && head->change != NULL)
        confirm_statement(l, head);
    if (head->kind == OWED_EXECUTE)
        return on_simple_reply(l, OWED_EXECUTE);
    return verdict;
}

/* --- replies of the link's own ---------------------------------------------------------------------------------------- */

static bool own_is_due(const struct link *l)
{
    const struct owed *head = owed_head(&l->owed);
    return head != NULL && head->kind == OWED_OWN;
}

void replies_give_own(struct link *l)
{
    while (own_is_due(l)) {
        struct owed *head = owed_head(&l->owed);
        message_add_empty(&l->own, head->reply);
        confirm(l, head);
        owed_pop(&l->owed);
    }
}

/* --- ReadyForQuery ---------------------------------------------------------------------------------------------- */

static void on_nothing_owed(struct link *l, struct actions *out)
{
    l->unsynced = 0; /* of a COPY that has read past its Sync */
    l->hides_unnamed = false;
    if (l->bound == NULL)
        l->stubs = 0;
    l->tags_matter = l->tags_matter && (l->status != 'I' || l->resets.noted);
    if (l->holds)
        requests_resume(l, out);
    link_progress(l, out);
}

/* The last ReadyForQuery that is owed; the client's waits until what it has reset is what it began with. */
static enum verdict on_last_ready(struct link *l, enum verdict verdict, struct actions *out)
{
    bool resets = (l->resets.noted && verdict == SHOW) || l->resets.waits;
    if (resets && !l->ending) {
        if (resets_go_on(l, out)) {
            l->holds = true; /* what comes behind a ROLLBACK, too, of which nobody knew that it would need this */
            return HIDE;
        }
        verdict = resets_show_ready(l);
    }
    on_nothing_owed(l, out);
    return verdict;
}

static enum verdict on_ready(struct link *l, const struct frame *f, struct actions *out)
{
    struct owed *head = owed_head(&l->owed);
    if (frame_body(f).size != 1 || head == NULL || (head->kind != OWED_SYNC && head->kind != OWED_QUERY)) {
        link_fail(l, "08P01", "the server sent ReadyForQuery out of turn");
        return SHOW;
    }
    enum verdict verdict = for_head(head);
    if (head->purpose == FOR_RESET)
        link_server_on_reset(l->server);
    if (head->purpose == FOR_SETTINGS || head->purpose == FOR_ANSWER)
        l->settling--;
    if (head->purpose == FOR_CHANNELS)
        listens_settle(l);
    l->status = frame_body(f).data[0];
    if (l->unsure)
        meanings_on_ready(l, head->unit);
    if (l->bound != NULL && l->status == 'I')
        portals_end(l, head->unit);
    l->copying = l->copy_in = false;
    l->discarded = false;
    confirm(l, head);
    if (l->listens.touched && l->status == 'I')
        unlistens_end_transaction(l);
    l->completed = 0;
    owed_pop(&l->owed);
    if (l->ending) /* nothing may come behind them that they would go with */
        replies_give_own(l);
    if (l->owed.count == 0)
        return on_last_ready(l, verdict, out);
    requests_on_ready(l, out);
    return verdict;
}

/* --- COPY ----------------------------------------------------------------------------------------------------------- */

/* COPY FROM STDIN reads what was sent behind it. It passes over a Sync, which was not the end of the unit then; anything else that is not its
 * data ends it with an error, and is lost. True: what is held is for this COPY, or was held behind what is lost; else that is still to come. */
static bool on_copy_in(struct link *l)
{
    struct owed_queue *q = &l->owed;
    l->copying = l->copy_in = true;
    l->read_past = false;
    if (q->count == 0)
        return true;
    bool extended = owed_head(q)->kind == OWED_EXECUTE, last_is_lost = false;
    size_t kept = 1;
    for (size_t i = 1; i < q->count; i++) {
        struct owed entry = *owed_at(q, i);
        if (entry.kind == OWED_COPY_END)
            l->copy_in = false;
        last_is_lost = l->copy_in && entry.kind != OWED_OWN;
        if (!last_is_lost) {
            *owed_at(q, kept++) = entry;
            continue;
        }
        l->read_past = true;
        l->copy_in = entry.kind == OWED_SYNC;
        l->server->needs_reset |= !l->copy_in; /* what came behind it counted on what was lost */
        if (entry.kind == OWED_SYNC && extended)
            l->unsynced++;
        failures_undo(l, &entry, i + 1, true);
    }
    q->count = kept;
    return l->copy_in || last_is_lost;
}

/* --- what may come at any time ----------------------------------------------------------------------------------------- */

/* What the server reports while it is told the client's settings is no news to the client, unless it was told otherwise after a RESET. */
static bool is_news(const struct link *l, struct span name, struct span value)
{
    const char *shown = parameters_value(l->shown, name);
    return shown != NULL && !span_is(value, shown);
}

static enum verdict on_parameter(struct link *l, const struct frame *f)
{
    struct span name, value;
    struct owed *head = owed_head(&l->owed);
    bool for_client = head == NULL || head->purpose == FOR_CLIENT || head->purpose == FOR_NOTHING;
    if (!message_read_parameter_status(frame_body(f), &name, &value))
        return SHOW;
    bool hidden = for_client && resets_hide(l, name);
    traces_on_parameter(l, name, value, for_client);
    if (hidden)
        return HIDE;
    if (!for_client && !is_news(l, name, value))
        return HIDE;
    l->shown = parameters_with(l->shown, name, value);
    return SHOW;
}

/* What a client hears it hears from the listener, unless it has its server to itself. Anything else is somebody else's, from before. */
static enum verdict on_notification(const struct link *l)
{
    bool shown = l->listens.on_listen != NULL ? l->listens.direct : l->pinned || l->keeps_server;
    return shown ? SHOW : HIDE;
}

/* --- a message ------------------------------------------------------------------------------------------------------------ */

static enum verdict take_message(struct link *l, const struct frame *f, struct actions *out)
{
    struct owed *head = owed_head(&l->owed);
    enum verdict verdict = for_head(head);
    switch (f->type) {
    case 'D':
        if (head != NULL && head->purpose == FOR_ANSWER)
            resets_are_inside(l) ? resets_answer(l, f) : traces_answer(l, f);
        else if (head != NULL && head->purpose == FOR_CHANNELS)
            listens_answer(l, f);
        return verdict;
    case 't':
        if (head != NULL)
            columns_answer_parameters(head, f);
        return verdict;
    case 'T':
    case 'n':
        if (head == NULL || head->kind != OWED_DESCRIBE)
            return verdict;
        columns_answer(l, head, f);
        return on_simple_reply(l, OWED_DESCRIBE);
    case 'C':
    case 'I':
    case 's':
        return on_complete(l, f);
    case 'Z':
        return on_ready(l, f, out);
    case '1':
        return on_simple_reply(l, OWED_PARSE);
    case '2':
        return on_simple_reply(l, OWED_BIND);
    case '3':
        return on_simple_reply(l, OWED_CLOSE);
    case 'E':
        return failures_on_error(l, f, out);
    case 'S':
        return on_parameter(l, f);
    case 'A':
        return on_notification(l);
    case 'G':
    case 'W':
        if (on_copy_in(l) && l->holds)
            requests_resume(l, out);
        if (l->ending && l->copy_in)
            link_break_copy(l, out);
        return verdict;
    default:
        return verdict;
    }
}

/* --- the short way ------------------------------------------------------------------------------------------------------- */

/* Between messages, with nothing under way that an ordinary one would have to look at. */
static bool is_calm(const struct link *l)
{
    bool unsettled = l->unsure | l->resets.waits | l->holds | (l->bound != NULL);
    bool busy = l->copying | l->ending | l->tags_matter | l->listens.touched | l->discarded | unsettled;
    return !busy && l->shifted == 0 && l->server_left == 0;
}

/* What the client is owed as it comes, and nothing becomes true with it; NULL: something else. */
static struct owed *ordinary_head(const struct link *l)
{
    struct owed *head = owed_head(&l->owed);
    if (head == NULL || head->purpose != FOR_CLIENT || head->kind == OWED_OWN || head->change != NULL)
        return NULL;
    return head->kind == OWED_PARSE && head->statement != 0 ? NULL : head;
}

static bool pass_ready(struct link *l, const struct owed *head, char status, struct actions *out)
{
    if (head->kind != OWED_SYNC && head->kind != OWED_QUERY)
        return false;
    l->status = status;
    l->completed = 0;
    owed_pop(&l->owed);
    if (l->owed.count == 0)
        on_nothing_owed(l, out);
    else
        requests_on_ready(l, out);
    return true;
}

/* What an ordinary reply is: one of several to its message, the answer to a message of this kind, or the end of a unit. */
enum { REPLY_OTHER, REPLY_IN_BETWEEN, REPLY_LAST, REPLY_ANSWER };

static const uint8_t ordinary_replies[256] = {
    ['D'] = REPLY_IN_BETWEEN,
    ['d'] = REPLY_IN_BETWEEN,
    ['t'] = REPLY_IN_BETWEEN,
    ['Z'] = REPLY_LAST,
    ['T'] = REPLY_ANSWER + OWED_DESCRIBE,
    ['n'] = REPLY_ANSWER + OWED_DESCRIBE,
    ['C'] = REPLY_ANSWER + OWED_EXECUTE,
    ['1'] = REPLY_ANSWER + OWED_PARSE,
    ['2'] = REPLY_ANSWER + OWED_BIND,
};

/* Ordinary messages at the front of `input`, as take_message() would have shown them; how many bytes they are. The head stays the same for
 * all replies to a Query, so it is looked at only when it has changed. */
static size_t pass_ordinary(struct link *l, struct span input, struct actions *out)
{
    size_t passed = 0, size;
    if (!is_calm(l))
        return 0;
    const struct owed *head = ordinary_head(l);
    while (head != NULL && (size = frame_whole_size(span_make(input.data + passed, input.size - passed))) > 0) {
        const char *message = input.data + passed;
        unsigned reply = ordinary_replies[(unsigned char)message[0]];
        if (reply == REPLY_LAST) {
            if (size != FRAME_HEADER_SIZE + 1 || !pass_ready(l, head, message[FRAME_HEADER_SIZE], out))
                break;
            head = ordinary_head(l);
        } else if (reply == REPLY_ANSWER + (unsigned)head->kind) {
            owed_pop(&l->owed);
            head = ordinary_head(l);
        } else if (reply == REPLY_IN_BETWEEN) {
            size += frame_run_size(span_make(message + size, input.size - passed - size), message[0]);
        } else if (reply == REPLY_OTHER) {
            break;
        }
        passed += size;
    }
    return passed;
}

/* --- pieces --------------------------------------------------------------------------------------------------------------- */

/* Replies that were put in behind what was handed out last, and still have to be. */
static bool has_own_left(const struct link *l)
{
    return l->own.size > 0 && !l->own_is_out && !l->ending;
}

bool link_has_due(const struct link *l)
{
    return (l->flushed && own_is_due(l)) || has_own_left(l);
}

static bool hand_out_own(struct link *l, struct link_piece *piece)
{
    if (l->own.size == 0 || l->ending)
        return false;
    piece->bytes = buffer_span(&l->own);
    piece->own = true;
    l->own_is_out = true;
    return true;
}

/* It may have been the last that was owed. */
static void give_own(struct link *l, struct actions *out)
{
    replies_give_own(l);
    if (l->holds && l->owed.count == 0)
        requests_resume(l, out);
}

static bool hand_out_run(struct link *l, struct span input, struct link_piece *piece, size_t size)
{
    piece->bytes = span_make(input.data + piece->skip, size);
    piece->own = false;
    l->seen = size;
    return true;
}

/* The bytes of a message of which a part has been looked at before. */
static size_t rest_of_message(struct link *l, size_t available)
{
    size_t size = l->server_left < available ? l->server_left : available;
    l->server_left -= size;
    return size;
}

/* Whether it is an answer of which the rest has to come first. One that is too long goes by. */
static bool is_awaited(const struct link *l, const struct frame *f)
{
    const struct owed *head = owed_head(&l->owed);
    bool is_answer = head != NULL && (head->purpose == FOR_ANSWER || head->purpose == FOR_CHANNELS);
    return is_answer && f->left > 0 && f->bytes.size + f->left <= SETTINGS_SIZE_MAX;
}

/* Looks at the next message, or what has come of the rest of the last. How many bytes; 0: nothing whole is there. */
static size_t look(struct link *l, struct span input, enum verdict *verdict, struct actions *out)
{
    if (l->server_left > 0 && input.size > 0) {
        *verdict = l->server_drops ? HIDE : SHOW;
        return rest_of_message(l, input.size);
    }
    struct frame f;
    switch (frame_next(backend_messages, input, LENGTH_MAX, &f, NULL)) {
    case FRAME_MORE:
        return 0;
    case FRAME_BAD:
        *verdict = SHOW; /* the shell says so, in its own words */
        return input.size;
    case FRAME_OK:
        break;
    }
    if (is_awaited(l, &f))
        return 0;
    *verdict = take_message(l, &f, out);
    if (l->holds && l->owed.count == 0)
        requests_resume(l, out);
    if (l->ending)
        *verdict = HIDE;
    l->server_left = f.left;
    l->server_drops = *verdict != SHOW;
    return f.bytes.size;
}

bool link_on_server(struct link *l, struct span input, struct link_piece *piece, struct actions *out)
{
    if (l->own_is_out) {
        buffer_free(&l->own);
        l->own_is_out = false;
    }
    *piece = (struct link_piece){ 0 };
    if (l->seen > 0)
        return hand_out_run(l, input, piece, l->seen);
    piece->skip = l->to_skip;
    l->to_skip = 0;
    if (hand_out_own(l, piece))
        return true;
    size_t run = l->server_drops ? 0 : rest_of_message(l, input.size - piece->skip);
    run += pass_ordinary(l, span_make(input.data + piece->skip + run, input.size - piece->skip - run), out);
    for (;;) {
        enum verdict verdict = SHOW;
        size_t at = piece->skip + run;
        if (at == input.size && !link_has_due(l))
            break;
        if (own_is_due(l) && (at < input.size || l->flushed)) {
            give_own(l, out);
            if (run > 0)
                return hand_out_run(l, input, piece, run);
            if (hand_out_own(l, piece))
                return true;
        }
        size_t size = look(l, span_make(input.data + at, input.size - at), &verdict, out);
        if (size == 0)
            break;
        if (verdict == SHOW) {
            run += size;
        } else if (run > 0) {
            l->to_skip = size;
            return hand_out_run(l, input, piece, run);
        } else {
            piece->skip += size;
            if (verdict == REPLACE && hand_out_own(l, piece))
                return true;
        }
    }
    return run > 0 && hand_out_run(l, input, piece, run);
}

void link_took(struct link *l, size_t size)
{
    l->seen -= size < l->seen ? size : l->seen;
}

bool link_pass_rows(struct link *l, size_t begun, size_t left)
{
    const struct owed *head = owed_head(&l->owed);
    if (head == NULL || head->purpose != FOR_CLIENT || head->kind == OWED_OWN || l->ending)
        return false;
    if (l->seen > 0 || l->to_skip > 0 || l->own.size > 0 || l->server_left != begun || (begun > 0 && l->server_drops))
        return false;
    l->server_left = left;
    l->server_drops = false;
    return true;
}
