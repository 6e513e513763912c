/* Which kinds of sink this build has: those with a library of their own may be left out (`make WITHOUT="kafka amqp"`). */
#ifndef CONFIG_BUILT_H
#define CONFIG_BUILT_H

#include "config/config.h"

#ifdef WITHOUT_WEBHOOK
enum { BUILT_WEBHOOK = false };
#else
enum { BUILT_WEBHOOK = true };
#endif

#ifdef WITHOUT_REDIS
enum { BUILT_REDIS = false };
#else
enum { BUILT_REDIS = true };
#endif

#ifdef WITHOUT_AMQP
enum { BUILT_AMQP = false };
#else
enum { BUILT_AMQP = true };
#endif

#ifdef WITHOUT_KAFKA
enum { BUILT_KAFKA = false };
#else
enum { BUILT_KAFKA = true };
#endif

/* False: a config that names this kind is refused. A celery sink needs SINK_REDIS or SINK_AMQP too, as its URL
 * says. */
static inline bool sink_kind_is_built(enum sink_kind kind)
{
    switch (kind) {
    case SINK_WEBHOOK:
        return BUILT_WEBHOOK;
    case SINK_REDIS:
        return BUILT_REDIS;
    case SINK_AMQP:
        return BUILT_AMQP;
    case SINK_KAFKA:
        return BUILT_KAFKA;
    case SINK_LOG:
    case SINK_POSTGRES:
    case SINK_CELERY:
        break;
    }
    return true;
}

#endif
