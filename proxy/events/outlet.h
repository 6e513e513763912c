/* The dispatcher's side of one sink: what waits for it, what it has in hand, and when it gets more (E5, E12).
 *
 * Everything here is for the dispatcher's thread. */
#ifndef PROXY_EVENTS_OUTLET_H
#define PROXY_EVENTS_OUTLET_H

#include "proxy/events/parcel.h"

struct outlet;

/* Opens the sink of this type that `block`, of `config`, describes. */
struct outlet *outlet_new(const struct sink_type *type, const struct sink *block, struct config *config,
                          const struct sink_host *host);
/* Closes the sink. Nothing may wait any more. */
void outlet_free(struct outlet *o);

/* The name of the sink. */
const char *outlet_name(const struct outlet *o);

/* Takes a shipment; it goes with the next outlet_hand_over() that finds it its turn. */
void outlet_add(struct outlet *o, struct shipment *s);
/* Gives the sink all that may go now. */
void outlet_hand_over(struct outlet *o);

/* What a new config says of the same sink. If that is what the old one said, the sink goes on as it is; else it is closed and opened
 * anew, and gets again what it had in hand. Either way, one that had stopped (HTTP 410) is asked again. */
void outlet_reload(struct outlet *o, const struct sink_type *type, const struct sink *block, struct config *config);

/* Something is in hand, or will be tried until `until_us`. */
bool outlet_is_busy(const struct outlet *o, uint64_t until_us);

/* Closes the sink and settles every shipment: it is dead for this reason, or `durable_stays` and its row is still there. */
void outlet_give_up(struct outlet *o, const char *reason, bool durable_stays);

#endif
