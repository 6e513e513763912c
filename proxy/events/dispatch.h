/* Where released events go. */
#ifndef PROXY_EVENTS_DISPATCH_H
#define PROXY_EVENTS_DISPATCH_H

#include "proxy/events/event.h"

/* Takes a list of events that were just released, logs that, and hands each to the sinks of its channel, in order. When it returns, no
 * event is in anybody's debt (E6); one whose channel names no sink is done. `now_us`: wall clock, µs since 1970. */
void dispatch_publish(struct notification *first_take, uint64_t now_us);

#endif
