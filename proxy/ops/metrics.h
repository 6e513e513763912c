/* /metrics: Prometheus' text format, version 0.0.4. */
#ifndef PROXY_OPS_METRICS_H
#define PROXY_OPS_METRICS_H

#include "proxy/ops/snapshot.h"

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Appends all of them: what the snapshot has, and what sinks and channels have tallied. `config` tells which sinks and channels there
 * are: those that have seen nothing yet are told as zero. */
void metrics_append(struct buffer *b, const struct snapshot *s, const struct config *config);

#endif
