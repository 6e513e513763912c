/* What each command of the model does, and what its result looks like. */
#ifndef TESTS_SIMULATION_EXECUTE_H
#define TESTS_SIMULATION_EXECUTE_H

#include "tests/simulation/backend.h"

enum executed { EXECUTED, EXECUTE_FAULT, EXECUTE_WAITS };

struct result {
    char tag[SQL_NAME_MAX];
    unsigned rows; /* of a query; execute_row() makes them */
};

/* What PostgreSQL finds out when it analyses a command (names that do not exist) and when it plans it (1/0). */
bool execute_analyse(struct backend *b, const struct command *c, struct span text, struct fault *f);
bool execute_plan(const struct command *c, struct fault *f);

/* Everything but control. EXECUTE_WAITS: b->wait says for what; call again with b->woken when it has come. */
enum executed execute_command(struct backend *b, const struct command *c, bool top_level, struct result *out,
                              struct fault *f);
/* The command behind an SQL EXECUTE, arguments put in; others are copied. */
bool execute_resolve(struct backend *b, const struct command *c, struct command *out, struct fault *f);
void execute_tag(const struct command *c, unsigned rows, char tag[SQL_NAME_MAX]);

/* The one column of a query, and row `i` of its result (NULL: SQL's NULL). */
void execute_column(const struct command *c, char name[SQL_NAME_MAX], uint32_t *type);
const char *execute_row(const struct backend *b, const struct command *c, unsigned i);
uint32_t execute_parameter_type(const struct command *c);

struct prepared *backend_find_statement(struct backend *b, const char *name);
void backend_drop_statement(struct prepared *p);

#endif
