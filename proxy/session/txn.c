#include "proxy/session/txn.h"

#include <stdlib.h>

#include "protocol/memory.h"

static void drop_marks_from(struct txn *t, size_t first)
{
    while (t->mark_count > first)
        free(t->marks[--t->mark_count].name);
}

/* The events from `first` on, as a list. */
static struct notification *cut_events_from(struct txn *t, size_t first)
{
    struct notification *list = NULL;
    while (t->event_count > first) {
        struct notification *e = t->events[--t->event_count];
        t->bytes -= e->payload_size;
        e->next = list;
        list = e;
    }
    return list;
}

void txn_free(struct txn *t)
{
    notification_list_free(txn_take(t));
    free(t->events);
    free(t->marks);
    *t = (struct txn){ 0 };
}

void txn_hold(struct txn *t, struct notification *take)
{
    t->events = memory_grow(t->events, &t->event_capacity, t->event_count, sizeof *t->events);
    t->events[t->event_count++] = take;
    t->bytes += take->payload_size;
}

bool txn_holds(const struct txn *t, struct span name, struct span payload)
{
    for (size_t i = 0; i < t->event_count; i++) {
        const struct notification *e = t->events[i];
        if (span_equal(span_make(e->payload, e->payload_size), payload) && span_is(name, e->name))
            return true;
    }
    return false;
}

void txn_savepoint(struct txn *t, struct span name)
{
    t->marks = memory_grow(t->marks, &t->mark_capacity, t->mark_count, sizeof *t->marks);
    t->marks[t->mark_count++] = (struct txn_mark){ memory_copy_span(name), t->event_count };
}

size_t txn_find(const struct txn *t, struct span name)
{
    for (size_t i = t->mark_count; i > 0; i--)
        if (span_is(name, t->marks[i - 1].name))
            return i;
    return 0;
}

bool txn_release(struct txn *t, struct span name)
{
    size_t place = txn_find(t, name);
    if (place == 0)
        return false;
    drop_marks_from(t, place - 1);
    return true;
}

void txn_forget(struct txn *t, size_t place)
{
    free(t->marks[place - 1].name);
    t->mark_count--;
    memmove(&t->marks[place - 1], &t->marks[place], (t->mark_count - (place - 1)) * sizeof *t->marks);
}

bool txn_rollback_to(struct txn *t, struct span name, struct notification **cut)
{
    size_t place = txn_find(t, name);
    if (place == 0)
        return false;
    drop_marks_from(t, place);
    *cut = cut_events_from(t, t->marks[place - 1].events);
    return true;
}

struct notification *txn_take(struct txn *t)
{
    drop_marks_from(t, 0);
    return cut_events_from(t, 0);
}
