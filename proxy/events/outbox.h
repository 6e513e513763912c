/* The relay: rows of pgatomic.outbox, from the database to the dispatcher and, once they are delivered, out of the table (E8).
 *
 * A durable event is a row and, while it is on its way, also an event in memory. The row's lease says until when nobody else may take it;
 * the relay renews it for as long as the event is in memory, and takes rows whose lease has run out: of processes that died, of triggers
 * and other programs. One relay for each `outbox` block, with one connection; all of it on the dispatcher's thread.
 *
 * An event belongs to the outbox of its request's database. Claimed ones are handed over with dispatch_take_claimed(): durable,
 * `attempts` as the row has it, their request made up from the row. None of them is in memory already. */
#ifndef PROXY_EVENTS_OUTBOX_H
#define PROXY_EVENTS_OUTBOX_H

#include "proxy/events/sink.h"

/* Opens the relays of `config`'s outbox blocks, which claim at once what they find. */
void outbox_start(const struct sink_host *host, struct config *config);
/* Relays whose block has gone end, after what they owe; those whose block has changed go on with the new one. */
void outbox_reload(struct config *config);
/* The end is near: what is in hand goes on, and no more is claimed. */
void outbox_stop_claiming(void);
/* Calls `on_stopped`, from the loop, when every row is as the calls below have said; with a database that does not
 * come back that is never. */
void outbox_stop(void (*on_stopped)(void *context), void *context);
/* Lets go of everything without waiting. What could not be written is found again when its lease has run out. */
void outbox_close(void);

/* A durable event has come from a session, after its COMMIT. False: it was claimed in the meantime, or had come before; the caller
 * forgets this copy. */
bool outbox_event_arrived(const struct notification *e);

/* What became of an event that arrived or was claimed; each ends it but outbox_event_failed(). None keeps `e`. */

/* All its sinks have it: the row goes. */
void outbox_event_delivered(const struct notification *e);
/* It will not be delivered: the row moves to pgatomic.dead_letter. */
void outbox_event_dead(const struct notification *e, unsigned attempts, const char *reason);
/* The memory copy is gone and the row stays: its lease is let go, and it is claimed again, by the next poll at the earliest. */
void outbox_event_dropped(const struct notification *e);
/* A try failed and more will follow. */
void outbox_event_failed(const struct notification *e, unsigned attempts, const char *reason);

#endif
