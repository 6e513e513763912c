/* The relays of this process, by the database whose outbox each serves.
 *
 * A relay whose block has left the config is retired: it stays until what is in hand has come to its end, and comes back for what a
 * session still brings. */
#include "proxy/events/outbox.h"

#include <string.h>

#include "protocol/memory.h"
#include "proxy/events/outbox_relay.h"

struct member {
    struct member *next;
    struct relay *relay;
};

static struct {
    struct sink_host host;
    struct member *members;
    void (*on_stopped)(void *context); /* NULL: not stopping, or told */
    void *context;
} outboxes;

static struct relay *find(const char *name)
{
    for (const struct member *m = outboxes.members; m != NULL; m = m->next)
        if (strcmp(relay_name(m->relay), name) == 0)
            return m->relay;
    return NULL;
}

static const struct outbox *outbox_of(const struct notification *e)
{
    return config_outbox(e->request->config, e->request->database);
}

static struct relay *relay_of(const struct notification *e)
{
    const struct outbox *outbox = outbox_of(e);
    return outbox != NULL ? find(outbox->name) : NULL;
}

static void on_settled(void);

/* --- from beginning to end ----------------------------------------------------------------------- */

static struct relay *open_relay(struct config *config, const struct outbox *outbox)
{
    struct member *m = or_abort(malloc(sizeof *m));
    *m = (struct member){ .next = outboxes.members };
    outboxes.members = m;
    m->relay = relay_open(&outboxes.host, config, outbox, on_settled);
    return m->relay;
}

static void close_member(struct member **link)
{
    struct member *m = *link;
    *link = m->next;
    relay_close(m->relay);
    free(m);
}

void outbox_start(const struct sink_host *host, struct config *config)
{
    outboxes.host = *host;
    for (size_t i = 0; i < config->outbox_count; i++)
        open_relay(config, &config->outboxes[i]);
}

static const struct outbox *block_of(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->outbox_count; i++)
        if (strcmp(config->outboxes[i].name, name) == 0)
            return &config->outboxes[i];
    return NULL;
}

void outbox_reload(struct config *config)
{
    for (const struct member *m = outboxes.members; m != NULL; m = m->next) {
        struct relay *relay = m->relay;
        const struct outbox *block = block_of(config, relay_name(relay));
        if (block != NULL)
            relay_reload(relay, config, block);
        else
            relay_retire(relay);
    }
    for (size_t i = 0; i < config->outbox_count; i++)
        if (find(config->outboxes[i].name) == NULL)
            open_relay(config, &config->outboxes[i]);
    on_settled();
}

static void tell_stopped(void *context)
{
    (void)context;
    void (*on_stopped)(void *) = outboxes.on_stopped;
    outboxes.on_stopped = NULL;
    if (on_stopped != NULL)
        on_stopped(outboxes.context);
}

/* From the loop, because a relay that has told us so may be the one that goes. */
static void close_retired(void *context)
{
    (void)context;
    for (struct member **link = &outboxes.members; *link != NULL;)
        if (relay_is_retired((*link)->relay) && relay_is_settled((*link)->relay, true))
            close_member(link);
        else
            link = &(*link)->next;
}

static void on_settled(void)
{
    bool all = true, retired = false;
    for (const struct member *m = outboxes.members; m != NULL; m = m->next) {
        all = all && relay_is_settled(m->relay, false);
        retired = retired || relay_is_retired(m->relay);
    }
    if (outboxes.on_stopped != NULL && all)
        loop_post(outboxes.host.loop, tell_stopped, NULL);
    else if (outboxes.on_stopped == NULL && retired)
        loop_post(outboxes.host.loop, close_retired, NULL);
}

void outbox_stop_claiming(void)
{
    for (const struct member *m = outboxes.members; m != NULL; m = m->next)
        relay_retire(m->relay);
}

void outbox_stop(void (*on_stopped)(void *context), void *context)
{
    outboxes.on_stopped = on_stopped;
    outboxes.context = context;
    outbox_stop_claiming();
    on_settled();
}

void outbox_close(void)
{
    outboxes.on_stopped = NULL;
    while (outboxes.members != NULL)
        close_member(&outboxes.members);
}

/* --- what became of events ------------------------------------------------------------------------ */

/* Its session began under a config whose outbox has gone since. */
static struct relay *reopen_relay(const struct notification *e)
{
    const struct outbox *outbox = outbox_of(e);
    if (outbox == NULL)
        return NULL;
    struct relay *relay = open_relay(e->request->config, outbox);
    relay_retire(relay);
    return relay;
}

bool outbox_event_arrived(const struct notification *e)
{
    struct relay *relay = relay_of(e);
    if (relay == NULL)
        relay = reopen_relay(e);
    return relay == NULL || relay_event_arrived(relay, e);
}

void outbox_event_failed(const struct notification *e, unsigned attempts, const char *reason)
{
    struct relay *relay = relay_of(e);
    if (relay != NULL)
        relay_event_failed(relay, e, attempts, reason);
}

static void end(const struct notification *e, enum row_state how, unsigned attempts, const char *reason)
{
    struct relay *relay = relay_of(e);
    if (relay != NULL)
        relay_event_ended(relay, e, how, attempts, reason);
}

void outbox_event_delivered(const struct notification *e)
{
    end(e, ROW_DELIVERED, 0, NULL);
}

void outbox_event_dead(const struct notification *e, unsigned attempts, const char *reason)
{
    end(e, ROW_DEAD, attempts, reason);
}

void outbox_event_dropped(const struct notification *e)
{
    end(e, ROW_DROPPED, 0, NULL);
}
