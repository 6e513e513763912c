/* Short lists, walked from the front: as many routes as a person wrote, as many databases as there are. */
#include "proxy/ops/counts.h"

#include <string.h>

#include "protocol/memory.h"

const uint64_t duration_steps_us[DURATION_STEPS] = { 1000,   2500,   5000,    10000,    50000,
                                                     100000, 500000, 1000000, 10000000, 60000000 };

const char *request_outcome_name(enum request_outcome outcome)
{
    if (outcome == REQUEST_COMMITTED)
        return "committed";
    return discard_reason_name((enum discard_reason)((int)outcome - (int)REQUEST_ROLLED_BACK));
}

static const char *name_within_bounds(const char *name, size_t count)
{
    return count < COUNTS_MOST ? name : "*";
}

struct route_counts *counts_route(struct counts *c, const char *name)
{
    for (size_t i = 0; i < c->route_count; i++)
        if (strcmp(c->routes[i].name, name) == 0)
            return &c->routes[i];
    if (c->route_count > COUNTS_MOST)
        return &c->routes[COUNTS_MOST];
    c->routes = memory_grow(c->routes, &c->route_capacity, c->route_count, sizeof *c->routes);
    struct route_counts *r = &c->routes[c->route_count];
    *r = (struct route_counts){ .name = memory_copy_text(name_within_bounds(name, c->route_count++)) };
    return r;
}

struct database_counts *counts_database(struct counts *c, const char *name)
{
    for (size_t i = 0; i < c->database_count; i++)
        if (strcmp(c->databases[i].name, name) == 0)
            return &c->databases[i];
    if (c->database_count > COUNTS_MOST)
        return &c->databases[COUNTS_MOST];
    c->databases = memory_grow(c->databases, &c->database_capacity, c->database_count, sizeof *c->databases);
    struct database_counts *d = &c->databases[c->database_count];
    *d = (struct database_counts){ .name = memory_copy_text(name_within_bounds(name, c->database_count++)) };
    return d;
}

void counts_free(struct counts *c)
{
    for (size_t i = 0; i < c->route_count; i++)
        free(c->routes[i].name);
    for (size_t i = 0; i < c->database_count; i++) {
        free(c->databases[i].name);
        free(c->databases[i].pins);
    }
    free(c->routes);
    free(c->databases);
    *c = (struct counts){ 0 };
}

void counts_request(struct counts *c, const struct request *r, enum request_outcome outcome, uint64_t now_us)
{
    struct route_counts *route = counts_route(c, r->route);
    uint64_t took_us = now_us > r->begun_us ? now_us - r->begun_us : 0; /* the clock may have been set back */
    size_t step = 0;
    while (step < DURATION_STEPS && took_us > duration_steps_us[step])
        step++;
    route->outcomes[outcome]++;
    route->durations[step]++;
    route->duration_us += took_us;
    route->statements += r->statements;
    route->events += r->events;
}

void counts_timeout(struct counts *c, const char *route, bool idle)
{
    struct route_counts *r = counts_route(c, route);
    r->timeouts += !idle;
    r->idle_timeouts += idle;
}

static void add_pins(struct database_counts *d, const char *cause, uint64_t count)
{
    for (size_t i = 0; i < d->pin_count; i++)
        if (strcmp(d->pins[i].cause, cause) == 0) {
            d->pins[i].count += count;
            return;
        }
    d->pins = memory_grow(d->pins, &d->pin_capacity, d->pin_count, sizeof *d->pins);
    d->pins[d->pin_count++] = (struct pin_count){ cause, count };
}

void counts_pin(struct counts *c, const char *database, const char *cause)
{
    add_pins(counts_database(c, database), cause, 1);
}

static void add_route(struct route_counts *to, const struct route_counts *from)
{
    for (size_t i = 0; i < REQUEST_OUTCOMES; i++)
        to->outcomes[i] += from->outcomes[i];
    for (size_t i = 0; i <= DURATION_STEPS; i++)
        to->durations[i] += from->durations[i];
    to->duration_us += from->duration_us;
    to->statements += from->statements;
    to->events += from->events;
    to->timeouts += from->timeouts;
    to->idle_timeouts += from->idle_timeouts;
}

static void add_database(struct database_counts *to, const struct database_counts *from)
{
    to->logins += from->logins;
    to->queries += from->queries;
    to->transactions += from->transactions;
    to->query_us += from->query_us;
    to->transaction_us += from->transaction_us;
    to->wait_us += from->wait_us;
    to->received += from->received;
    to->sent += from->sent;
    for (size_t i = 0; i < from->pin_count; i++)
        add_pins(to, from->pins[i].cause, from->pins[i].count);
}

void counts_add(struct counts *to, const struct counts *from)
{
    for (size_t i = 0; i < from->route_count; i++)
        add_route(counts_route(to, from->routes[i].name), &from->routes[i]);
    for (size_t i = 0; i < from->database_count; i++)
        add_database(counts_database(to, from->databases[i].name), &from->databases[i]);
}
