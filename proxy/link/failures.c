/* What fails, and what it takes with it.
 *
 *     ErrorResponse --> whom of what is owed does it answer? --> heal --> undo --> skip
 *                              +--> in which words does the client hear of it?
 *
 * The link acts on what it expects: a name stands for its new statement as soon as the Parse has left, and a server counts as holding it.
 * Each entry of what is owed keeps the changes that were made for it. When the server refuses one, or skips it behind another that it has
 * refused, they are undone from the last to the first; a later change of the same name, which is out already, is told what was
 * there before it instead. A Query fails alone: the server skips to a Sync only after an extended message.
 *
 * The client hears the server's words, but about its own text: with its own names for statements, and with the position in what it
 * wrote. */
#include <stdio.h>
#include <string.h>

#include "protocol/message.h"
#include "proxy/link/inside.h"

/* --- undoing ------------------------------------------------------------------------------------------------------ */

/* The last change first, for a name may have been changed twice. */
static struct change *reversed(struct change *list)
{
    struct change *turned = NULL;
    while (list != NULL) {
        struct change *next = list->next;
        list->next = turned;
        turned = list;
        list = next;
    }
    return turned;
}

/* A later change of the same name that is under way, from `later` on among what is owed, and that has taken the place of what this one had
 * made; NULL: there is none. */
static struct change *find_later(const struct link *l, size_t later, const struct change *c)
{
    for (size_t i = later; i < l->owed.count; i++)
        for (struct change *other = owed_at(&l->owed, i)->change; other != NULL; other = other->next)
            if (other->sets && other->before == c->after && strcmp(other->name, c->name) == 0)
                return other;
    return NULL;
}

/* The name stands for `before` again; with a later change in its place, it would again if that failed, too. */
static void restore(struct link *l, size_t later, struct change *c, struct shared_statement *before)
{
    struct change *other = find_later(l, later, c);
    struct shared_statement *failed;
    if (other != NULL) {
        failed = other->before;
        other->before = before;
    } else {
        failed = handles_set(&l->handles, span_of(c->name), before);
    }
    if (failed != NULL)
        statements_release(l->statements, failed);
}

/* What does not count yet has not changed anything. */
static void forget_uncounted(struct link *l, struct owed *entry)
{
    struct change **at = &entry->change;
    while (*at != NULL && !(*at)->cuts)
        at = &(*at)->next;
    change_free(l, *at);
    *at = NULL;
}

/* `later`: the place among what is owed of what came behind it. `skipped`: the server has not even read it. A Parse that it has read and
 * refused has destroyed the unnamed statement all the same. */
static void undo_changes(struct link *l, struct owed *entry, size_t later, bool skipped)
{
    forget_uncounted(l, entry);
    entry->change = reversed(entry->change);
    for (struct change *c = entry->change; c != NULL; c = c->next) {
        if (c->held != 0)
            server_undo(l->server, c->held, entry->unit);
        if (!c->sets)
            continue;
        bool destroyed = !skipped && c->name[0] == '\0';
        restore(l, later, c, destroyed ? NULL : c->before);
        if (!destroyed)
            c->before = NULL;
    }
    change_free(l, entry->change);
    entry->change = NULL;
}

/* A later unit, which is out already, has an unnamed statement of its own. */
static bool has_later_unnamed(const struct link *l, const struct owed *entry)
{
    for (size_t i = l->owed.count; i-- > 0;) {
        const struct owed *other = owed_at(&l->owed, i);
        if (other->unit == entry->unit)
            return false;
        if (other->kind == OWED_PARSE && other->unnamed)
            return true;
    }
    return false;
}

void failures_undo(struct link *l, struct owed *entry, size_t later, bool skipped)
{
    if (entry->unnamed && !has_later_unnamed(l, entry)) {
        bool is_back = skipped && entry->replaces; /* the one before it, of which nothing is known any more */
        l->has_unnamed = l->has_unnamed && entry->purpose == FOR_NOTHING;
        l->unnamed_leaves_state = is_back || (l->unnamed_leaves_state && l->has_unnamed);
        l->server->unnamed = is_back ? l->serial : 0;
    }
    if (entry->kind == OWED_PARSE && entry->statement != 0)
        server_undo(l->server, entry->statement, entry->unit);
    if (entry->kind == OWED_CLOSE && entry->statement != 0)
        l->server->has_unknown = true; /* it still stands there */
    undo_changes(l, entry, later, skipped);
}

/* --- skipping ----------------------------------------------------------------------------------------------------- */

/* The head has failed. It is words of our own, and they were put in front of a Query: not in front of a message of a pipeline. */
static bool was_said_for_query(struct owed_queue *q)
{
    size_t at = 0;
    while (at < q->count && owed_at(q, at)->purpose == FOR_NOTHING)
        at++;
    return at > 0 && at < q->count && owed_at(q, at)->kind == OWED_QUERY;
}

/* The server skips what was sent up to the next Sync, a Query too: one that follows on words of our own has no Sync of the client's to wait
 * for, and gets one. So does that of a client that has gone. */
static void skip_to_sync(struct link *l, struct actions *out)
{
    struct owed_queue *q = &l->owed;
    bool for_query = was_said_for_query(q);
    size_t count = 0;
    while (count < q->count && owed_at(q, count)->kind != OWED_SYNC)
        count++;
    l->skipping = count == q->count;
    l->forgets = l->forgets && !l->skipping; /* it is skipped, too, or done */
    for (size_t i = count; i-- > 0;)         /* what came behind it up to the Sync is undone already */
        failures_undo(l, owed_at(q, i), count, i > 0);
    q->head = (q->head + count) & (q->capacity - 1);
    q->count -= count;
    if (l->skipping && l->ending && !l->holds) /* else what is held has one, or gets it */
        link_say_sync(l, FOR_NOTHING, out);
    else if (l->skipping && for_query)
        link_say_sync(l, FOR_CLIENT, out);
}

/* --- healing ------------------------------------------------------------------------------------------------------ */

static bool is_sqlstate(const struct message_error *error, const char *sqlstate)
{
    return span_is(error->sqlstate, sqlstate);
}

/* The change that the message was making when it failed; NULL: none. */
static const struct change *failed_change(const struct link *l, const struct owed *head)
{
    const struct change *c = head->change;
    return c != NULL && (head->kind != OWED_QUERY || c->index == l->completed) ? c : NULL;
}

/* What was prepared before a migration may look for a type that is gone, or take a column for one that it is no longer, so that larger numbers
 * do not fit. A client's own mistakes may look like that; a Parse is all that they cost. */
static bool may_be_outdated(const struct message_error *error)
{
    bool names_or_types = error->sqlstate.size == 5 && memcmp(error->sqlstate.data, "42", 2) == 0;
    return names_or_types || is_sqlstate(error, "XX000") || is_sqlstate(error, "22003");
}

/* P4: the statement on the server is of no use any more, perhaps. */
static void heal(struct link *l, const struct owed *head, const struct message_error *error)
{
    const struct change *c = failed_change(l, head);
    if (c != NULL && c->used != 0 && is_sqlstate(error, "26000"))
        server_doubt(l->server, c->used);
    if (head->statement == 0 || (head->kind != OWED_BIND && head->kind != OWED_DESCRIBE))
        return;
    bool unsupported = is_sqlstate(error, "0A000"), gone = is_sqlstate(error, "26000");
    if (unsupported || gone || may_be_outdated(error))
        server_doubt(l->server, head->statement);
    if (unsupported && span_is(error->routine, "RevalidateCachedQuery")) /* "cached plan must not change result type" */
        handles_note_change(&l->handles, head->statement);
}

/* --- telling the client ---------------------------------------------------------------------------------------------- */

/* The server has refused what it was made to refuse, and has found nothing else. */
static bool is_about_names(const struct message_error *error)
{
    return is_sqlstate(error, "26000") || is_sqlstate(error, "42P05");
}

static enum verdict refuse(struct link *l, const struct change *c)
{
    struct buffer words = { 0 };
    struct frame f;
    message_add_error(&words, &(struct message_fault){ "ERROR", c->sqlstate, span_of(c->refusal), { 0 }, { 0 } });
    if (c->routine != NULL && frame_next(backend_messages, buffer_span(&words), SIZE_MAX, &f, NULL) == FRAME_OK)
        message_add_error_with(&l->own, &f, 'R', span_of(c->routine));
    else
        buffer_append_span(&l->own, buffer_span(&words));
    buffer_free(&words);
    return REPLACE;
}

/* In the server's words, but with the client's own names. */
static enum verdict put_names_back(struct link *l, const struct message_error *error, const struct frame *f)
{
    struct buffer words = { 0 };
    bool has_names = sql_names_put_back(l, error->message, &words);
    if (has_names)
        message_add_error_with(&l->own, f, 'M', buffer_span(&words));
    buffer_free(&words);
    return has_names ? REPLACE : SHOW;
}

/* The client's text was shorter or longer. */
static enum verdict move_position(struct link *l, const struct change *changes, const struct message_error *error,
                                  const struct frame *f)
{
    char digits[24];
    size_t position = 0;
    for (size_t i = 0; i < error->position.size && i < 10; i++)
        position = position * 10 + (size_t)(error->position.data[i] - '0');
    size_t moved = sql_names_position(changes, position) - (size_t)l->shifted;
    if (position == 0 || moved == position)
        return SHOW;
    snprintf(digits, sizeof digits, "%zu", moved);
    message_add_error_with(&l->own, f, 'P', span_of(digits));
    return REPLACE;
}

/* In which words the client hears of it. */
static enum verdict tell_error(struct link *l, const struct owed *head, const struct message_error *error,
                               const struct frame *f)
{
    const struct change *c = head->change;
    if (head->kind == OWED_QUERY && head->purpose != FOR_CLIENT)
        return HIDE;
    if (failed_change(l, head) != NULL && c->refusal != NULL && is_about_names(error))
        return refuse(l, c);
    if (c != NULL || l->shifted != 0)
        return move_position(l, c, error, f);
    /* Also when a Parse of the link's own has failed: it was on behalf of what follows. */
    return put_names_back(l, error, f);
}

/* Something of the client's own stands behind the head. */
static bool is_more_owed(const struct link *l)
{
    for (size_t i = 1; i < l->owed.count; i++)
        if (owed_at(&l->owed, i)->purpose == FOR_CLIENT)
            return true;
    return false;
}

/* Nobody can tell whether a COPY that has failed had read what was sent behind it, or had failed before: then that is answered, too. */
static void leave_copy(struct link *l)
{
    l->server->out_of_step |= l->copying && l->read_past;
    l->copying = l->copy_in = false;
    if (l->ending && l->server->out_of_step && is_more_owed(l)) /* which may never come */
        link_fail(l, "08006", "the client has gone, and what its COPY has read is not known");
}

/* --- an error ------------------------------------------------------------------------------------------------------------ */

/* What the link has said between transactions. */
static void fail_with_own(struct link *l, const struct owed *head, const struct message_error *error)
{
    bool was_cancelled = is_sqlstate(error, "57014");
    bool repeats = head->purpose == FOR_SETTINGS && was_cancelled && resets_repeat(l);
    if (!repeats && (head->purpose == FOR_SETTINGS || head->purpose == FOR_CHANNELS || head->purpose == FOR_RESET))
        link_fail_with(l, error);
    if (head->purpose == FOR_ANSWER)
        traces_give_up(l, was_cancelled);
}

enum verdict failures_on_error(struct link *l, const struct frame *f, struct actions *out)
{
    struct owed *head = owed_head(&l->owed);
    struct message_error error = { 0 };
    message_read_error(frame_body(f), &error);
    bool fatal = !span_is(error.severity, "ERROR");
    if (head == NULL || fatal)
        return SHOW;
    enum verdict verdict = tell_error(l, head, &error, f);
    if (resets_are_inside(l))
        verdict = l->status == 'T' ? SHOW : HIDE;
    else
        fail_with_own(l, head, &error);
    l->listens.undone = true;
    resets_on_error(l, head);
    leave_copy(l);
    heal(l, head, &error);
    if (head->kind == OWED_QUERY)
        undo_changes(l, head, 1, false);
    else if (head->kind != OWED_SYNC)
        skip_to_sync(l, out);
    return verdict == SHOW ? put_names_back(l, &error, f) : verdict;
}
