/* A model of PostgreSQL: one backend that speaks protocol 3.0 on bytes, from behind its first ReadyForQuery on.
 *
 * It understands the SQL of sql.h and follows PostgreSQL's own rules: implicit transactions of strings and pipelines, blocks,
 * savepoints, failed transactions, skipping to Sync, portals and prepared statements, COPY, NOTIFY, LISTEN, settings.
 * test_model holds it against the real one, conversation by conversation.
 *
 * What a transaction does to data is in store.h. How commands open, end and nest transactions is asked of
 * `rules`: PostgreSQL's own (block.h), or those that a client of the proxy is promised (oracle.h). All else is the same for both. */
#ifndef TESTS_SIMULATION_BACKEND_H
#define TESTS_SIMULATION_BACKEND_H

#include "protocol/buffer.h"
#include "protocol/frame.h"
#include "tests/simulation/store.h"

enum { BACKEND_STATEMENTS_MAX = 128, BACKEND_PORTALS_MAX = 16, BACKEND_MESSAGE_MAX = 200 };

/* What goes into an ErrorResponse. */
struct fault {
    const char *severity, *sqlstate;
    char message[BACKEND_MESSAGE_MAX]; /* "": the design does not say */
    char detail[BACKEND_MESSAGE_MAX];
    unsigned position; /* in characters; 0: none */
    bool hint;         /* there has to be one */
};

struct backend;

enum before { BEFORE_GO_ON, BEFORE_ANSWERED, BEFORE_FAULT };

/* Functions that can fail return false and fill the fault. */
struct transaction_rules {
    /* Ahead of every message but Sync, Flush, Close and Terminate, and of each statement of a string. */
    void (*start)(struct backend *b);
    /* Around each statement of a string of several, and at the end of its last. */
    void (*begin_implicit)(struct backend *b);
    void (*end_implicit)(struct backend *b);
    /* `c` is looked at: it will run, unless it turns out to be wrong. */
    void (*read)(struct backend *b, const struct command *c);
    /* The transaction has failed, and `c` does not get it out of there. */
    bool (*refuses)(struct backend *b, const struct command *c, struct fault *f);
    /* Executes a command that sql_is_control(). */
    bool (*control)(struct backend *b, const struct command *c, bool top_level, const char **tag, struct fault *f);
    /* Ahead of any other command. BEFORE_ANSWERED: it has had its effect, only the reply is due. */
    enum before (*before)(struct backend *b, const struct command *c, bool top_level, struct fault *f);
    /* Behind a control command, the last statement of a string, and at Sync: commits what has to be. */
    bool (*finish)(struct backend *b, struct fault *f);
    void (*failed)(struct backend *b, const struct fault *f);
    /* A Query, or a Sync: ReadyForQuery is next. */
    void (*ready)(struct backend *b);
    char (*status)(const struct backend *b);
    const char *(*setting)(const struct backend *b, const char *name);
    void (*terminate)(struct backend *b);
};

/* What stands between a backend and its next message. */
enum backend_wait { WAIT_NOTHING, WAIT_SLEEP, WAIT_COPY };

struct prepared {
    bool used, empty;
    char name[SQL_NAME_MAX];
    char *text;
    struct command command; /* its spans point into text */
};

struct portal {
    bool used, empty, started, done;
    char name[SQL_NAME_MAX];
    unsigned level; /* how many there were when it was bound */
    char *text;
    struct command command; /* parameters replaced by their values */
    unsigned format;
    unsigned at, rows; /* of its result */
};

struct backend {
    struct store store;
    const struct transaction_rules *rules;
    void *rules_state;

    struct buffer input;  /* not yet read */
    struct buffer output; /* never cleared by the backend */
    bool skipping;        /* to Sync, after an error */
    bool closed;

    enum backend_wait wait;
    bool woken;            /* the sleep that is resumed is over */
    struct portal *paused; /* whose Execute waits; NULL: a Query's statement does */
    struct buffer copy;    /* an unfinished line of COPY FROM STDIN */
    unsigned copied;

    struct {
        bool running, several;
        struct buffer text;
        size_t at;
        struct command command;
    } query;

    struct prepared statements[BACKEND_STATEMENTS_MAX];
    struct portal portals[BACKEND_PORTALS_MAX];
    char reported[2][SQL_TEXT_MAX]; /* settings, as ParameterStatus last told them */
    size_t ready_count;             /* ReadyForQuery sent */
    size_t must_be_out;             /* output that a Flush, Sync or Query has pushed out */
    bool in_pipeline;               /* an Execute in this transaction */
};

struct backend *backend_new(struct committed *db, const struct transaction_rules *rules, void *rules_state);
void backend_free(struct backend *b);

/* Bytes from the client; answers pile up in b->output. */
void backend_receive(struct backend *b, struct span bytes);
/* The statement that sleeps comes to its end; or is cancelled, if there is one. */
void backend_wake(struct backend *b);
void backend_cancel(struct backend *b);
/* The connection is gone, or the server ends it with a FATAL. */
void backend_disconnect(struct backend *b);
void backend_terminate(struct backend *b);

/* For the rules: */
bool fault_set(struct fault *f, const char *sqlstate, const char *format, ...) __attribute__((format(printf, 3, 4)));
void backend_warn(struct backend *b, const char *sqlstate, const char *message);
/* The transaction is over: its portals go. */
void backend_drop_portals(struct backend *b);
/* Level `level` of the store, and all above, are undone; or merged into the one below. */
void backend_undo_portals(struct backend *b, int level);
void backend_release_portals(struct backend *b, int level);

#endif
