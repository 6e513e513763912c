/* LISTEN and UNLISTEN (P6).
 *
 * The server runs them, as it runs everything: it knows whether they are allowed, in whose transaction they are, and whether that commits.
 * But what it would notify it notifies to nobody: when the transaction is over it is asked which channels are listened to, and told
 * to forget them. The client hears them from a listener that does not change with its servers, and that has begun to listen before the
 * client's LISTEN went out: the message is held until then. So nothing that is notified after its COMMIT is missed. What was notified
 * between the two may be heard, too.
 *
 *     heard      what the client listens to, by what has been committed
 *     wished     LISTENs under way; the listener has them already, or is about to
 *     asked      the same of the transaction that is over, of which the server is asked
 *     leaving    what has been UNLISTENed, by what has been committed (unlistens.c)
 *
 * Where it is not certain that an UNLISTEN was committed the client goes on hearing the channel. */
#include <stdlib.h>

#include "protocol/memory.h"
#include "protocol/statement_state.h"
#include "proxy/link/inside.h"

/* A client that listens to more has its server to itself. */
enum { CHANNELS_MAX = 10000 };

/* --- sets of channels ------------------------------------------------------------------------------ */

static int compare(const char *channel, struct span other)
{
    int order = strncmp(channel, other.data, other.size);
    return order != 0 ? order : channel[other.size] != '\0';
}

/* Where it stands, or would stand. */
static size_t channels_find(const struct channels *c, struct span name, bool *found)
{
    size_t low = 0, high = c->count;
    *found = false;
    while (low < high && !*found) {
        size_t middle = low + (high - low) / 2;
        int order = compare(c->list[middle], name);
        *found = order == 0;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return *found ? high : low;
}

static bool channels_have(const struct channels *c, struct span name)
{
    bool found;
    channels_find(c, name, &found);
    return found;
}

static void channels_add(struct channels *c, struct span name)
{
    bool found;
    size_t at = channels_find(c, name, &found);
    if (found)
        return;
    c->list = memory_grow(c->list, &c->capacity, c->count, sizeof(char *));
    memmove(c->list + at + 1, c->list + at, (c->count++ - at) * sizeof(char *));
    c->list[at] = memory_copy_span(name);
}

static void channels_free(struct channels *c)
{
    for (size_t i = 0; i < c->count; i++)
        free(c->list[i]);
    free(c->list);
    *c = (struct channels){ 0 };
}

static void channels_remove(struct channels *c, struct span name)
{
    bool found;
    size_t at = channels_find(c, name, &found);
    if (!found)
        return;
    free(c->list[at]);
    memmove(c->list + at, c->list + at + 1, (--c->count - at) * sizeof(char *));
    if (c->count == 0) /* who listens to nothing may sleep */
        channels_free(c);
}

/* --- on the way to the server ------------------------------------------------------------------------ */

/* The client has its server to itself, and hears what that says. */
static void listen_there(struct link *l)
{
    struct listens *n = &l->listens;
    n->direct = true;
    n->touched = false;
    unlistens_free(l);
    traces_pin(l, "LISTEN");
    for (size_t i = 0; i < n->wished.count; i++)
        if (!channels_have(&n->heard, span_of(n->wished.list[i])))
            n->on_unlisten(l->context, span_of(n->wished.list[i]));
    channels_free(&n->wished);
}

static void wish(struct link *l, struct span channel)
{
    struct listens *n = &l->listens;
    if (channels_have(&n->heard, channel) || channels_have(&n->wished, channel))
        return;
    channels_add(&n->wished, channel);
    n->awaited++;
    n->on_listen(l->context, channel);
}

static void on_listen(void *owner, const struct statement_state *state)
{
    struct link *l = owner;
    struct listens *n = &l->listens;
    if (state->kind != STATE_LISTEN || n->direct)
        return;
    struct buffer name = { 0 };
    statement_state_name(state, &l->sql, &name);
    /* The listener speaks UTF-8. */
    if (l->sql.encoding != encoding_utf8() || n->heard.count + n->wished.count >= CHANNELS_MAX)
        listen_there(l);
    else
        wish(l, buffer_span(&name));
    buffer_free(&name);
}

bool listens_hold(struct link *l, struct span text)
{
    if (l->listens.on_listen == NULL || l->listens.direct || l->keeps_server)
        return false;
    statement_states(text, &l->sql, on_listen, l);
    return l->listens.awaited > 0;
}

void listens_on_block(struct link *l)
{
    if (l->listens.on_listen != NULL)
        listen_there(l);
}

void listens_note(struct link *l, const struct statement_state *state)
{
    struct listens *n = &l->listens;
    if (n->on_listen == NULL || n->direct) {
        if (state->kind == STATE_LISTEN)
            traces_pin(l, "LISTEN");
        return;
    }
    n->touched = true;
}

void link_on_listening(struct link *l, bool ok, struct actions *out)
{
    struct listens *n = &l->listens;
    if (n->awaited == 0) /* it has not waited for it */
        return;
    n->awaited--;
    n->refused |= !ok;
    if (n->awaited > 0)
        return;
    if (n->refused)
        listen_there(l);
    n->refused = false;
    if (l->server != NULL)
        link_on_client(l, (struct span){ 0 }, out);
}

void listens_give_up(struct link *l)
{
    if (l->listens.awaited > 0)
        buffer_free(&l->partial);
    l->listens.awaited = 0;
}

/* --- at the end of the transaction --------------------------------------------------------------------- */

void listens_leave(struct link *l, struct span channel)
{
    if (channels_have(&l->listens.heard, channel))
        channels_add(&l->listens.leaving, channel);
}

void listens_leave_all(struct link *l)
{
    for (size_t i = 0; i < l->listens.heard.count; i++)
        channels_add(&l->listens.leaving, span_of(l->listens.heard.list[i]));
}

void listens_question(struct link *l, struct buffer *sql)
{
    struct listens *n = &l->listens;
    n->touched = false;
    unlistens_free(l);
    n->asked = n->wished;
    n->wished = (struct channels){ 0 };
    for (size_t i = 0; i < n->leaving.count; i++)
        channels_remove(&n->heard, span_of(n->leaving.list[i]));
    buffer_append_text(sql, settings_head(l));
    buffer_append_text(sql, "SELECT pg_catalog.pg_listening_channels();UNLISTEN *");
}

void listens_answer(struct link *l, const struct frame *row)
{
    struct wire w = wire_open(frame_body(row));
    wire_u16(&w);
    int32_t size = wire_i32(&w);
    struct span channel = wire_bytes(&w, size < 0 ? 0 : (size_t)size);
    if (w.failed)
        link_fail(l, "08P01", "the server's answer about channels is malformed");
    else
        channels_add(&l->listens.heard, channel);
}

/* Those of the list that the client does not listen to, after all. */
static void stop_hearing(struct link *l, struct channels *list)
{
    struct listens *n = &l->listens;
    for (size_t i = 0; i < list->count; i++) {
        struct span channel = span_of(list->list[i]);
        if (!channels_have(&n->heard, channel) && !channels_have(&n->wished, channel))
            n->on_unlisten(l->context, channel);
    }
    channels_free(list);
}

void listens_settle(struct link *l)
{
    stop_hearing(l, &l->listens.asked);
    stop_hearing(l, &l->listens.leaving);
}

/* --- the end -------------------------------------------------------------------------------------------- */

void listens_forget(struct link *l)
{
    struct listens *n = &l->listens;
    if (n->on_listen == NULL)
        return;
    struct channels heard = n->heard;
    n->heard = (struct channels){ 0 };
    n->direct = false;
    stop_hearing(l, &heard);
}

void listens_free(struct link *l)
{
    struct listens *n = &l->listens;
    channels_free(&n->heard);
    channels_free(&n->wished);
    channels_free(&n->asked);
    channels_free(&n->leaving);
    unlistens_free(l);
}
