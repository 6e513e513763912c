/* What Redis answers: how many replies have come, and which of them are errors. Their values are of no interest to us, and not kept. */
#ifndef PROXY_EVENTS_REDIS_REPLIES_H
#define PROXY_EVENTS_REDIS_REPLIES_H

#include "protocol/span.h"

struct redis_replies;

/* `reply` counts from 0. `element`: the error stands at that place of a reply that is an array; REDIS_WHOLE_REPLY: it is the reply. */
enum { REDIS_WHOLE_REPLY = -1 };
typedef void redis_on_error(void *context, size_t reply, int element, struct span text);

struct redis_replies *redis_replies_new(redis_on_error *on_error, void *context);
void redis_replies_free(struct redis_replies *r); /* NULL: nothing */

/* Takes bytes from the server. False: they are no replies, or one reply has no end in sight. */
bool redis_replies_feed(struct redis_replies *r, struct span bytes);
/* How many replies are complete. */
size_t redis_replies_count(const struct redis_replies *r);
/* Elements of the last reply, if it is an array; else 0. */
size_t redis_replies_elements(const struct redis_replies *r);
/* Counts from 0 again. */
void redis_replies_restart(struct redis_replies *r);

#endif
