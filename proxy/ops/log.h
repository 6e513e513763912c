/* The log: what happened, one line each, in order.
 *
 * A line is a JSON object, or aligned text, and begins with `ts`, `level` and `msg`. A thread gathers its lines and writes them with one write()
 * at log_flush(), or when 64 kB are full; lines of different threads never mix. Payloads appear as log.payloads allows;
 * callers never hand in a secret. */
#ifndef PROXY_OPS_LOG_H
#define PROXY_OPS_LOG_H

#include <stdatomic.h>

#include "config/config.h"
#include "proxy/events/event.h"

/* Opens the file that `c` names, or standard output, and takes its level, format and payloads. False, and errno, when the file
 * cannot be opened: then all is as it was. Also for a reload, and for a file that was rotated away. */
bool log_open(const struct config *c);
/* Writes what this thread has gathered. At the end of each turn of a loop. */
void log_flush(void);
/* The same, and gives the thread's memory back. Before a thread that logs ends. */
void log_end_thread(void);

/* The least level that is written. */
extern atomic_int log_least_level;

static inline bool log_is_on(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&log_least_level, memory_order_relaxed);
}

/* How much of a payload may be shown. */
enum log_payloads log_payloads(void);

/* --- any line ------------------------------------------------------------------------------------ */

enum log_field_kind { LOG_FIELD_TEXT, LOG_FIELD_NUMBER, LOG_FIELD_MS, LOG_FIELD_BOOL, LOG_FIELD_ID, LOG_FIELD_END };

/* Borrowed until the call returns. */
struct log_field {
    struct span name;
    enum log_field_kind kind;
    struct span text;
    uint64_t number;
    const unsigned char *id;
};

static inline struct log_field log_span(const char *name, struct span value)
{
    return (struct log_field){ .name = span_of(name), .kind = LOG_FIELD_TEXT, .text = value };
}

static inline struct log_field log_text(const char *name, const char *value)
{
    return log_span(name, span_of(value));
}

static inline struct log_field log_number(const char *name, uint64_t value)
{
    return (struct log_field){ .name = span_of(name), .kind = LOG_FIELD_NUMBER, .number = value };
}

/* Milliseconds with three decimals. */
static inline struct log_field log_ms(const char *name, uint64_t value_us)
{
    return (struct log_field){ .name = span_of(name), .kind = LOG_FIELD_MS, .number = value_us };
}

static inline struct log_field log_bool(const char *name, bool value)
{
    return (struct log_field){ .name = span_of(name), .kind = LOG_FIELD_BOOL, .number = value };
}

/* A UUID of EVENT_ID_SIZE bytes. */
static inline struct log_field log_id(const char *name, const unsigned char *value)
{
    return (struct log_field){ .name = span_of(name), .kind = LOG_FIELD_ID, .id = value };
}

/* LOG(LOG_INFO, "listening", log_text("address", a), log_number("fd", n)); fields are not evaluated when the level is off. */
#define LOG(level, msg, ...)                                                                                         \
    do {                                                                                                             \
        if (log_is_on(level))                                                                                        \
            log_write(level, 0,                                                                                      \
                      (const struct log_field[]){ log_text("msg", msg), ##__VA_ARGS__, { .kind = LOG_FIELD_END } }); \
    } while (0)

/* `fields` ends with one of kind LOG_FIELD_END, and the first is msg. `now_us`: wall clock, µs since 1970; 0: ask for it. */
void log_write(enum log_level level, uint64_t now_us, const struct log_field *fields);

/* --- events and requests ------------------------------------------------------------------------- */

/* The time of an event that is held is event->held_us. */
void log_event_held(const struct notification *e);
void log_event_released(const struct notification *e, uint64_t now_us);
void log_event_discarded(const struct notification *e, enum discard_reason reason, uint64_t now_us);
/* `latency_us`: from its release to the sink's confirmation. */
void log_event_delivered(const struct notification *e, const char *sink, unsigned attempt, uint64_t latency_us,
                         uint64_t now_us);
/* It was not delivered, and will be tried again after `wait_us`. `reason`: the sink's words. */
void log_event_retry(const struct notification *e, const char *sink, unsigned attempt, const char *reason,
                     uint64_t wait_us, uint64_t latency_us, uint64_t now_us);
/* It will not be tried again: the last that is known of it, so its payload is told in full, unless payloads are never told (E12). */
void log_event_dead(const struct notification *e, const char *sink, unsigned attempt, const char *reason,
                    uint64_t latency_us, uint64_t now_us);

void log_request_begun(const struct request *r);
void log_request_committed(const struct request *r, uint64_t now_us);
void log_request_rolled_back(const struct request *r, enum discard_reason reason, uint64_t now_us);
/* R5: a COMMIT failed with nobody left to tell. `error` is the server's message. */
void log_commit_failed(const struct request *r, struct span error, uint64_t now_us);
/* E9: nobody knows whether it was committed. `xid`: the transaction's number; empty: not known. */
void log_commit_unknown(const struct request *r, struct span xid, uint64_t now_us);

#endif
