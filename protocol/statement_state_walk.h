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
    size_t ahead;   /* bytes of this statement that were looked over ahead of the walk */
    unsigned depth; /* of texts in literals that functions run */
    enum { TEMPORARY_UNKNOWN, TEMPORARY_NOT, TEMPORARY } temporary; /* pg_temp stands somewhere in this statement */
};

/* At the head of the next statement. */
static inline void state_walk_begin(struct state_walk *w, struct span statement)
{
    w->statement = statement;
    w->ahead = 0;
    w->temporary = TEMPORARY_UNKNOWN;
}

void state_walk_pin(struct state_walk *w, enum state_cause cause);
/* A name that the server alone can read pins. */
void state_walk_named(struct state_walk *w, enum state_kind kind, const struct operand *name);
/* The settings among them that are something else pin, or are nothing. */
/* Whether a setting goes back to its default. */
enum state_default { DEFAULT_NOT, DEFAULT_PERHAPS, DEFAULT_SURELY };
void state_walk_setting(struct state_walk *w, const struct operand *name, bool is_whole, enum state_default is_default);

/* A setting that ends with its transaction; `name` may be of kind NONE. */
void state_walk_local(struct state_walk *w, const struct operand *name, enum state_default is_default);

/* There is something like pg_temp in the statement, the schema of temporary things. */
bool state_walk_is_temporary(struct state_walk *w);

/* What stands anywhere in the statement: calls, SELECT INTO and CREATE of something temporary. */
void state_walk_inside(struct state_walk *w);
/* The same for a DO statement: what stands anywhere in its block, and in the strings of that. */
void state_walk_do(struct state_walk *w);

#endif
