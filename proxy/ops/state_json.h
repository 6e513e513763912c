/* /state.json: what the live page shows. */
#ifndef PROXY_OPS_STATE_JSON_H
#define PROXY_OPS_STATE_JSON_H

#include "proxy/ops/snapshot.h"

/* Appends one object. `snapshot` has scope SNAPSHOT_REQUESTS. */
void state_json_append(struct buffer *b, const struct snapshot *s, const struct config *config);

#endif
