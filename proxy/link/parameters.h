/* A set of settings by name and value: what a client's session has set, or what a server has been told.
 *
 * Who may set what depends on the role, so each goes with the one under which it was set. Sets that differ in that alone are equal.
 *
 * Immutable and shared; the count of references is atomic, for a server may move to another thread. Names are compared without regard to
 * case and kept as they were first written; values are in the form that set_config() takes and current_setting() gives. */
#ifndef PROXY_LINK_PARAMETERS_H
#define PROXY_LINK_PARAMETERS_H

#include "protocol/span.h"

struct parameter {
    const char *name, *value;
    const char *role; /* NULL: that of the login */
};

struct parameters;

/* The set of nothing; as all sets, a reference to let go. */
struct parameters *parameters_none(void);
struct parameters *parameters_retain(struct parameters *p);
void parameters_release(struct parameters *p); /* NULL: nothing */

/* A new set: `p` with `name` as `value`, or without it (`value` NULL: data is NULL). `p` itself when that is what it is. Takes the reference to p. */
struct parameters *parameters_with(struct parameters *take, struct span name, struct span value);
/* The same with a value that was set under `role`, or NULL. */
struct parameters *parameters_with_role(struct parameters *take, struct span name, struct span value, const char *role);

bool parameters_equal(const struct parameters *a, const struct parameters *b);
size_t parameters_count(const struct parameters *p);
/* Bytes of the names and values. */
size_t parameters_size(const struct parameters *p);
/* In the order of their names. */
const struct parameter *parameters_at(const struct parameters *p, size_t i);
/* NULL: it is not in the set. */
const char *parameters_value(const struct parameters *p, struct span name);

#endif
