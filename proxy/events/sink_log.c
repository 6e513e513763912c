/* The log as a sink: the line that says an event was delivered is its delivery, and the dispatcher writes it. */
#include "proxy/events/sink.h"

static void *log_open_sink(const struct sink *config, const struct sink_host *host)
{
    static char nothing;
    (void)config, (void)host;
    return &nothing;
}

static void log_deliver(void *sink, struct delivery *d)
{
    (void)sink;
    delivery_done(d, DELIVERED, NULL, 0);
}

static void log_close_sink(void *sink)
{
    (void)sink;
}

const struct sink_type sink_log_type = {
    .name = "log",
    .window = 1024,
    .keeps_order = true,
    .open = log_open_sink,
    .deliver = log_deliver,
    .close = log_close_sink,
};
