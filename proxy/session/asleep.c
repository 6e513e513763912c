/* What is left of a session whose client does nothing.
 *
 * Between requests almost all of a session is as it was at its beginning. Whether it may sleep is found out by making it again, on the
 * stack, of what would be kept: it may if that is the same, byte for byte. So nothing that is added to a session can be lost by an
 * oversight. At worst its clients stay awake. */
#include <stdlib.h>

#include "protocol/memory.h"
#include "proxy/session/machine.h"

static void take_down(const struct session *s, struct session_asleep *out)
{
    *out = (struct session_asleep){ .config = s->config,
                                    .who = s->who,
                                    .client = s->client,
                                    .encoding = s->sql.encoding,
                                    .server_encoding = s->server_encoding,
                                    .base_route = s->base_route,
                                    .units = s->unit_done,
                                    .transactions = s->transactions,
                                    .base_mode = (uint8_t)s->base_mode,
                                    .standard_conforming_strings = s->sql.standard_conforming_strings,
                                    .comments_matter = s->comments_matter,
                                    .client_read_only = s->client_read_only,
                                    .can_ask = s->can_ask,
                                    .own_begin_prepared = s->own_begin_prepared,
                                    .unnamed_portal_stale = s->unnamed_portal_stale };
}

static void set_up(struct session *s, const struct session_asleep *from, const struct session_start *start)
{
    memset(s, 0, sizeof *s);
    s->attributes = start->attributes;
    s->new_id = start->new_id;
    s->sink_behind = start->sink_behind;
    s->context = start->context;

    s->config = from->config;
    s->who = from->who;
    s->client = from->client;
    s->sql.encoding = from->encoding;
    s->sql.standard_conforming_strings = from->standard_conforming_strings;
    s->server_encoding = from->server_encoding;
    s->base_route = s->now.route = s->front.route = from->base_route;
    s->base_mode = s->now.mode = s->front.mode = (enum route_mode)from->base_mode;
    s->comments_matter = from->comments_matter;
    s->client_read_only = from->client_read_only;
    s->can_ask = from->can_ask;
    s->own_begin_prepared = from->own_begin_prepared;
    s->unnamed_portal_stale = from->unnamed_portal_stale;
    s->unit = s->unit_done = from->units;
    s->transactions = from->transactions;
    s->server_status = 'I';
}

/* --- what does not count --------------------------------------------------------------------------- */

static void overlook_room(struct buffer *to, const struct buffer *from)
{
    if (from->size == 0)
        *to = *from;
}

/* Room for what there is nothing of. */
static void overlook_rooms(struct session *to, const struct session *from)
{
    overlook_room(&to->failure, &from->failure);
    overlook_room(&to->last_words, &from->last_words);
    if (from->pending.count == 0)
        to->pending = from->pending;
    if (from->settings.count == 0)
        to->settings = from->settings;
    if (from->txn.event_count == 0 && from->txn.mark_count == 0)
        to->txn = from->txn;
    to->free_plans = from->free_plans;
}

/* What is set anew before it is looked at: the time, and what is said of a transaction or unit that is over. */
static void overlook_past(struct session *to, const struct session *from)
{
    to->out = from->out;
    to->now_us = from->now_us;
    to->tx_modes = from->tx_modes;
    to->unit_clean = from->unit_clean;
    to->flushed = from->flushed;
}

/* --- sleeping ---------------------------------------------------------------------------------------- */

bool session_may_sleep(const struct session *s)
{
    if (!session_is_between_requests(s))
        return false;
    struct session_asleep asleep;
    struct session_start start = {
        .attributes = s->attributes, .new_id = s->new_id, .sink_behind = s->sink_behind, .context = s->context
    };
    struct session again;
    take_down(s, &asleep);
    set_up(&again, &asleep, &start);
    overlook_rooms(&again, s);
    overlook_past(&again, s);
    return memcmp(&again, s, sizeof again) == 0;
}

void session_sleep(struct session *s, struct session_asleep *out)
{
    take_down(s, out);
    session_free_rooms(s);
    free(s);
}

struct session *session_wake(const struct session_asleep *asleep, const struct session_start *start)
{
    struct session *s = or_abort(malloc(sizeof *s));
    set_up(s, asleep, start);
    return s;
}

void session_tell_facts_asleep(const struct session_asleep *asleep, struct session_facts *out)
{
    *out = (struct session_facts){ .database = asleep->who->database,
                                   .user = asleep->who->user,
                                   .application = asleep->who->application,
                                   .route = asleep->base_route ? asleep->base_route->name : "",
                                   .status = 'I',
                                   .queries = asleep->units,
                                   .transactions = asleep->transactions };
}
