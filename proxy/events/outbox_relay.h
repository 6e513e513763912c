/* The relay of one outbox: its connection, and what it says next. See outbox.h. */
#ifndef PROXY_EVENTS_OUTBOX_RELAY_H
#define PROXY_EVENTS_OUTBOX_RELAY_H

#include "proxy/events/outbox_ledger.h"
#include "proxy/events/sink.h"

struct relay;

/* `config` holds `outbox`; the relay keeps a reference. Claims at once. `on_settled`: nothing is left to be written, for now; it must
 * not close the relay. */
struct relay *relay_open(const struct sink_host *host, struct config *config, const struct outbox *outbox,
                         void (*on_settled)(void));
void relay_close(struct relay *r);

const char *relay_name(const struct relay *r);
/* Goes on with another config. */
void relay_reload(struct relay *r, struct config *config, const struct outbox *outbox);
/* Claims nothing more, and only ends what it has. */
void relay_retire(struct relay *r);
bool relay_is_retired(const struct relay *r);
/* Nothing is left to be written; with `hand`, nothing is in anybody's hands either. */
bool relay_is_settled(const struct relay *r, bool hand);

/* As in outbox.h. */
bool relay_event_arrived(struct relay *r, const struct notification *e);
void relay_event_failed(struct relay *r, const struct notification *e, unsigned attempts, const char *reason);
void relay_event_ended(struct relay *r, const struct notification *e, enum row_state end, unsigned attempts,
                       const char *reason);

#endif
