/* The effects that hide inside of statements: the private means of statement_state*.c. */
#ifndef PROTOCOL_STATEMENT_STATE_WALK_H
#define PROTOCOL_STATEMENT_STATE_WALK_H

#include "protocol/statement_reader.h"
#include "protocol/statement_state.h"

/* One walk over a text. */
struct state_walk {
    const struct sql_options *options;
    statement_on_state *on_state;
    void *owner;
    struct span statement; /* where the walk is */
    size_t index;
};

void state_walk_pin(const struct state_walk *w, enum state_cause cause);
/* A name that the server alone can read pins. */
void state_walk_named(const struct state_walk *w, enum state_kind kind, const struct operand *name);
/* The settings among them that are something else pin, or are nothing. */
void state_walk_setting(const struct state_walk *w, const struct operand *name, bool is_whole, bool is_default);

/* There is something like pg_temp in it, the schema of temporary things. */
bool state_walk_is_temporary(struct span text);

/* What stands anywhere in the statement: calls, SELECT INTO and CREATE of something temporary. */
void state_walk_inside(const struct state_walk *w);
/* The same for a DO statement: what stands anywhere in its block, and in the strings of that. */
void state_walk_do(const struct state_walk *w);

#endif
