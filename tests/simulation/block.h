/* PostgreSQL's own transaction rules for the model: implicit transactions, blocks and savepoints. */
#ifndef TESTS_SIMULATION_BLOCK_H
#define TESTS_SIMULATION_BLOCK_H

#include "tests/simulation/backend.h"

/* As in PostgreSQL's documentation of its transaction system. */
enum block_state {
    BLOCK_NONE,
    BLOCK_SINGLE,    /* a statement, or a pipeline, outside a block */
    BLOCK_IMPLICIT,  /* a string of several statements */
    BLOCK_BEGINNING, /* BEGIN was just executed */
    BLOCK_OPEN,
    BLOCK_ENDING,
    BLOCK_FAILED,
    BLOCK_FAILED_ENDING, /* COMMIT or ROLLBACK of a failed one */
    BLOCK_ABANDONING     /* ROLLBACK */
};

struct block {
    enum block_state state;
    bool chain, immediate_commit;
    enum isolation isolation; /* as AND CHAIN handed them down */
    bool read_only;
};

extern const struct transaction_rules block_rules;

/* A backend with PostgreSQL's rules; free with block_free(). */
struct backend *block_new(struct committed *db);
void block_free(struct backend *b);

/* What the oracle's rules share: */
bool block_modes(struct backend *b, const struct command *c, bool nested, struct fault *f);
enum before block_before_work(struct backend *b, const struct command *c, struct fault *f);
/* `said`: the reply that comes next tells of it. */
bool block_commit(struct backend *b, bool said, struct fault *f);

#endif
