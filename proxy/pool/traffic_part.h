/* What the files behind traffic.h share:
 *
 *     traffic.c           bytes in, frames to the session
 *     traffic_actions.c   what the session wants done */
#ifndef PROXY_POOL_TRAFFIC_PART_H
#define PROXY_POOL_TRAFFIC_PART_H

#include "proxy/pool/client.h"
#include "proxy/session/session.h"

/* The session has no clock: it is told the time before it is asked anything that may depend on it. */
static inline void traffic_set_time(struct client *c)
{
    session_set_time(c->session, loop_now_us(&c->worker->loop));
}

#endif
