#include "tests/unit/with_config.h"

#include "config/built.h"
#include "proxy/events/sink.h"

/* The sink of this block, in a config of its own. */
static const struct sink *sink_of(const char *block, struct config **config)
{
    char *text;
    cr_assert(asprintf(&text, ANY_DATABASE "sink \"s\" { %s }", block) > 0);
    *config = config_of(text);
    free(text);
    return config_sink(*config, "s");
}

Test(sinks, E12_a_block_is_another_sink_as_soon_as_anything_in_it_is_changed)
{
    static const char *const blocks[] = {
        "type = log",
        "type = postgres upstream = \"host=a\"",
        "type = postgres upstream = \"host=b\"",
        "type = webhook url = \"http://a/\"",
        "type = webhook url = \"http://b/\"",
        "type = webhook url = \"http://a/\" timeout = 1s",
        "type = webhook url = \"http://a/\" body = binary",
        "type = webhook url = \"https://a/\"",
        "type = webhook url = \"https://a/\" ca = \"ca.pem\"",
        "type = webhook url = \"http://a/\" secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"",
        "type = webhook url = \"http://a/\" retry { first = 2s }",
        "type = webhook url = \"http://a/\" retry { max = 2h }",
        "type = webhook url = \"http://a/\" retry { attempts = 2 }",
        "type = redis url = \"redis://a\"",
        "type = redis url = \"redis://a\" command = xadd",
        "type = redis url = \"redis://a\" key = \"k\"",
        "type = celery url = \"redis://a\"",
        "type = celery url = \"redis://a\" queue = \"q\"",
        "type = amqp url = \"amqp://a\"",
        "type = amqp url = \"amqp://a\" exchange = \"e\"",
        "type = amqp url = \"amqp://a\" routing_key = \"k\"",
        "type = kafka url = \"kafka://a:9092\"",
        "type = kafka url = \"kafka://a:9092\" topic = \"t\"",
    };
    enum { COUNT = sizeof blocks / sizeof *blocks };
    struct config *one[COUNT], *other[COUNT];
    const struct sink *sinks[COUNT], *again[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        sinks[i] = sink_of(blocks[i], &one[i]);
        again[i] = sink_of(blocks[i], &other[i]);
    }
    for (size_t i = 0; i < COUNT; i++)
        for (size_t k = 0; k < COUNT; k++)
            cr_expect_eq(sink_is_same(sinks[i], again[k]), i == k, "%s and %s", blocks[i], blocks[k]);
    for (size_t i = 0; i < COUNT; i++) {
        config_release(one[i]);
        config_release(other[i]);
    }
}

Test(sinks, a_build_has_the_kinds_that_its_configs_may_name)
{
    static const char *const names[] = {
        [SINK_LOG] = "log",       [SINK_POSTGRES] = "postgres", [SINK_WEBHOOK] = "webhook", [SINK_REDIS] = "redis",
        [SINK_CELERY] = "celery", [SINK_AMQP] = "amqp",         [SINK_KAFKA] = "kafka",
    };
    for (enum sink_kind kind = SINK_LOG; kind <= SINK_KAFKA; kind++) {
        const struct sink_type *type = sink_type_of(kind);
        cr_expect_eq(type != NULL, sink_kind_is_built(kind), "%s", names[kind]);
        if (type != NULL)
            cr_expect_str_eq(type->name, names[kind]);
    }
}
