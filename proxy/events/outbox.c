/* The relays of this process, by the database whose outbox each serves.
 *
 * A relay whose block has left the config stays until what is in hand has come to its end. */
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

static struct relay *relay_of(const struct notification *e)
{
    const struct outbox *outbox = config_outbox(e->request->config, e->request->database);
    return outbox != NULL ? find(outbox->name) : NULL;
}

static void on_settled(void);

/* --- from beginning to end ----------------------------------------------------------------------- */

static void open_relay(struct config *config, const struct outbox *outbox)
{
    struct member *m = or_abort(malloc(sizeof *m));
    *m = (struct member){ .next = outboxes.members };
    outboxes.members = m;
    m->relay = relay_open(&outboxes.host, config, outbox, on_settled);
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
    for (struct member **link = &outboxes.members; *link != NULL;) {
        struct relay *relay = (*link)->relay;
        const struct outbox *block = block_of(config, relay_name(relay));
        if (block == NULL && relay_is_settled(relay, true)) {
            close_member(link);
            continue;
        }
        if (block != NULL)
            relay_reload(relay, config, block);
        else
            relay_retire(relay);
        link = &(*link)->next;
    }
    for (size_t i = 0; i < config->outbox_count; i++)
        if (find(config->outboxes[i].name) == NULL)
            open_relay(config, &config->outboxes[i]);
}

static void tell_stopped(void *context)
{
    (void)context;
    void (*on_stopped)(void *) = outboxes.on_stopped;
    outboxes.on_stopped = NULL;
    if (on_stopped != NULL)
        on_stopped(outboxes.context);
}

/* From the loop, for whoever is told may close us. */
static void on_settled(void)
{
    if (outboxes.on_stopped == NULL)
        return;
    for (const struct member *m = outboxes.members; m != NULL; m = m->next)
        if (!relay_is_settled(m->relay, false))
            return;
    loop_post(outboxes.host.loop, tell_stopped, NULL);
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

bool outbox_event_arrived(const struct notification *e)
{
    struct relay *relay = relay_of(e);
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
