/* The SQL that the model of PostgreSQL understands: what the simulator's clients say, and what a proxy may put between.
 *
 * Deliberately its own reader, and a small one: the proxy's scanner (protocol/statement.h) is what is on trial here. */
#ifndef TESTS_SIMULATION_SQL_H
#define TESTS_SIMULATION_SQL_H

#include "protocol/span.h"

enum command_kind {
    COMMAND_WRONG, /* a syntax error at `position` */

    /* transaction control: sql_is_control() */
    COMMAND_BEGIN,       /* isolation, access */
    COMMAND_COMMIT,      /* chain */
    COMMAND_ROLLBACK,    /* chain */
    COMMAND_SAVEPOINT,   /* name */
    COMMAND_RELEASE,     /* name */
    COMMAND_ROLLBACK_TO, /* name */
    COMMAND_PREPARE_TRANSACTION,

    COMMAND_SET_TRANSACTION, /* isolation, access */
    COMMAND_SET_CONSTRAINTS, /* immediate */
    COMMAND_SET,             /* name, args[0]; local. args[0] NONE: DEFAULT */
    COMMAND_RESET,           /* name */
    COMMAND_RESET_ALL,
    COMMAND_SHOW, /* name */
    COMMAND_DISCARD_ALL,
    COMMAND_LISTEN,     /* name */
    COMMAND_UNLISTEN,   /* name, "*" for all */
    COMMAND_NOTIFY,     /* name, args[0] */
    COMMAND_PREPARE,    /* name, body */
    COMMAND_EXECUTE,    /* name, args */
    COMMAND_DEALLOCATE, /* name, "" for ALL */
    COMMAND_VACUUM,     /* name */
    COMMAND_COPY_IN,    /* COPY t FROM STDIN: name */
    COMMAND_COPY_OUT,   /* COPY t TO STDOUT: name */
    COMMAND_INSERT,     /* INSERT INTO name VALUES (args[0]) */
    COMMAND_OUTBOX,     /* INSERT INTO pgatomic.outbox (…) VALUES …: the rows are in `body` */

    /* SELECT … */
    COMMAND_VALUE,      /* a number, a string, or $1::text: args[0] */
    COMMAND_SERIES,     /* generate_series(1, args[0]) */
    COMMAND_COUNT,      /* count(*) FROM name */
    COMMAND_DIVIDE,     /* 1/0 */
    COMMAND_MISSING,    /* 1 FROM nosuch: `position` is that of the name */
    COMMAND_SLEEP,      /* pg_sleep(n) */
    COMMAND_PG_NOTIFY,  /* pg_notify(args[0], args[1]) */
    COMMAND_XID,        /* pg_current_xact_id() */
    COMMAND_REPEAT,     /* repeat(args[0], args[1]) */
    COMMAND_SET_CONFIG, /* set_config(args[0], args[1], local) */
    COMMAND_SETTINGS    /* several of those, or current_setting(…, true): `body` */
};

enum value_kind { VALUE_NONE, VALUE_TEXT, VALUE_NUMBER, VALUE_NULL, VALUE_PARAMETER };

enum { SQL_NAME_MAX = 64, SQL_TEXT_MAX = 240, SQL_ARGS_MAX = 2 };

struct value {
    enum value_kind kind;
    unsigned parameter;
    char text[SQL_TEXT_MAX];
};

enum isolation { ISOLATION_UNSAID, READ_UNCOMMITTED, READ_COMMITTED, REPEATABLE_READ, SERIALIZABLE };
enum access { ACCESS_UNSAID, READ_ONLY, READ_WRITE };

struct command {
    enum command_kind kind;
    size_t position;   /* byte offset in the whole text; of a wrong word or name */
    struct span wrong; /* the word there */
    char name[SQL_NAME_MAX];
    struct value args[SQL_ARGS_MAX];
    enum isolation isolation;
    enum access access;
    bool chain, local, immediate, cast, start; /* start: START TRANSACTION */
    char column[SQL_NAME_MAX];                 /* AS …; "" when not said */
    struct span body;
};

/* The next statement of `text` at or after *at, which moves behind its semicolon. False: none is left. */
bool sql_next(struct span text, size_t *at, struct command *out);

/* A row of a COMMAND_OUTBOX: its channel and payload. *at starts at 0; false: none is left, or it is not as it should be. */
bool sql_next_row(const struct command *c, size_t *at, struct value *channel, struct value *payload);

/* The next of COMMAND_SETTINGS; false: there is none. `value`: NONE when it is asked for. */
bool sql_next_setting(const struct command *c, size_t *at, struct value *name, struct value *value);

bool sql_is_control(const struct command *c);
/* COMMIT, ROLLBACK, ROLLBACK TO, PREPARE TRANSACTION: what PostgreSQL still takes in a failed transaction. */
bool sql_is_exit(const struct command *c);
/* Gives rows. */
bool sql_is_query(const struct command *c);
/* The highest $n. */
unsigned sql_parameter_count(const struct command *c);

#endif
