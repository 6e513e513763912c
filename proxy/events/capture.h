/* Notifications that pgatomic cannot see on the wire: of triggers and functions, of programs that do not go through it (E1).
 *
 * For each database with a `control` connection and each channel with `capture = listen`, pgatomic LISTENs itself, and what it hears
 * goes to the channel's sinks. Nothing of such a channel is captured on the wire, so nothing comes twice. Of several
 * pgatomic processes one does it for a channel; another takes over when it is gone. What is notified while nobody listens is
 * not heard: this is PostgreSQL's NOTIFY, and promises no more. All of it on the dispatcher's thread. */
#ifndef PROXY_EVENTS_CAPTURE_H
#define PROXY_EVENTS_CAPTURE_H

#include "proxy/events/sink.h"

void capture_start(const struct sink_host *host, struct config *config);
/* What is the same in both configs goes on without a gap. */
void capture_reload(struct config *config);
void capture_stop(void);

#endif
