/* JSON as Python shows it: what people see of a task's arguments in the worker's log and in monitors. */
#ifndef PROXY_EVENTS_CELERY_REPR_H
#define PROXY_EVENTS_CELERY_REPR_H

#include "protocol/buffer.h"

enum { CELERY_REPR_SIZE = 1024 };

/* Appends repr() of what Python's json module makes of `json`, which is valid. After CELERY_REPR_SIZE bytes it ends in "...". */
void celery_repr(struct span json, struct buffer *out);

#endif
