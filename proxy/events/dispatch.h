/* Where released events go: from the threads that release them, through one that has nothing else to do, to the sinks.
 *
 *     worker ──┐                            ┌──▶ outlet ──▶ sink "tasks"
 *     worker ──┼──▶ inbox ──▶ dispatcher ───┼──▶ outlet ──▶ sink "mail-hook"
 *     relay ───┘                            └──▶ …
 *
 * A slow sink keeps neither a client waiting nor another sink. */
#ifndef PROXY_EVENTS_DISPATCH_H
#define PROXY_EVENTS_DISPATCH_H

#include "config/config.h"
#include "proxy/events/event.h"

/* --- from any thread ------------------------------------------------------------------------------ */

/* Takes a list of events that were just released, logs that, and hands each to the sinks of its channel, in order. When it returns, no
 * event is in anybody's debt (E6); one whose channel names no sink is done. */
void dispatch_publish(struct notification *first_take, uint64_t now_us);

/* E13: the name of a sink of the channel that holds so much already that so many bytes of events more must not come to be; NULL: there
 * is none. Durable channels never wait for a sink, for their events need no memory. */
const char *dispatch_sink_behind(const struct channel *channel, const struct config *config, size_t bytes);

/* --- from the relay, on the dispatcher's thread ---------------------------------------------------- */

/* Takes a list of durable events whose rows were claimed (see outbox.h), and whose channels have a sink. */
void dispatch_take_claimed(struct notification *first_take);

/* --- for main ------------------------------------------------------------------------------------- */

/* Opens the sinks, and starts the thread. */
void dispatch_start(struct config *config);
/* E12: what waits goes on under the new config; events whose sink is no longer in it are dead. */
void dispatch_reload(struct config *config);
/* Delivers what can be delivered within `timeout_ms`, tells the log what is left, and ends the thread; `on_finished` is called there,
 * last. Nobody publishes any more. Called again, it shortens the time. */
void dispatch_finish(uint64_t timeout_ms, void (*on_finished)(void *context), void *context);
/* After that. */
void dispatch_free(void);

#endif
