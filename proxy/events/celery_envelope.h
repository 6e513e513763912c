/* A task message of Celery as an element of a Redis list. */
#ifndef PROXY_EVENTS_CELERY_ENVELOPE_H
#define PROXY_EVENTS_CELERY_ENVELOPE_H

#include "proxy/events/celery_message.h"

/* Appends the name of the list: `prefix` (kombu's global_keyprefix), the queue, and behind it the mark of its priority. Workers look into
 * four lists, for the priorities 0 to 2, 3 to 5, 6 to 8 and 9; 0 is the most urgent. */
void celery_envelope_list(const struct celery_message *m, const char *prefix, struct buffer *out);
/* Appends the element. `payload`: what the message was read from. `delivery_tag`: a fresh UUID as text. */
void celery_envelope_append(const struct celery_message *m, struct span payload, const char *delivery_tag,
                            struct buffer *out);

#endif
