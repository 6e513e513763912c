/* Moments as Celery writes and reads them: ISO 8601. */
#ifndef PROXY_EVENTS_CELERY_TIME_H
#define PROXY_EVENTS_CELERY_TIME_H

#include <stdint.h>

#include "protocol/span.h"

enum { CELERY_TIME_SIZE = 33 /* with a NUL */ };

/* "2026-01-31T08:00:00.250Z", "2026-01-31 08:00+01", "2026-01-31"; without a zone UTC is meant. False: it is no such text, or no such
 * day. `us`: µs since 1970. */
bool celery_time_read(struct span text, int64_t *us);
/* "2026-01-31T08:00:00.250000+00:00". False: outside of the years 1 to 9999, which is all that Python knows. */
bool celery_time_format(int64_t us, char text[CELERY_TIME_SIZE]);

#endif
