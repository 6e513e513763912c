/* What transactions do to data, as one PostgreSQL session sees it.
 *
 * The database is what was committed: rows of two tables, and notifications delivered to listeners, both append-only and cut into
 * commits. A store is the open transaction of a session on top of it: logs of rows, notifications, captured events, settings
 * and LISTENs that only grow, and a stack of levels (savepoints) that remember how long the logs were. Undoing
 * a level cuts the logs; committing appends them to the database; nothing is ever searched for and taken out.
 *
 * Table t takes any number. Table d has a unique constraint that is DEFERRABLE INITIALLY DEFERRED, so that a COMMIT can fail. */
#ifndef TESTS_SIMULATION_STORE_H
#define TESTS_SIMULATION_STORE_H

#include <stdint.h>

#include "tests/simulation/sql.h"

struct note_row {
    char channel[SQL_NAME_MAX];
    char payload[SQL_TEXT_MAX];
};

struct row {
    char table; /* 't' or 'd' */
    int id;
};

struct setting_change {
    char name[SQL_NAME_MAX]; /* "": RESET ALL */
    char value[SQL_TEXT_MAX];
    bool unset, local;
    bool inside;   /* a client's transaction within a request */
    bool survives; /* R16, for the oracle: it is applied though its transaction rolls back */
};

struct listen_change {
    char channel[SQL_NAME_MAX]; /* "*": all */
    bool listen;
};

/* A growing array of one of the above. */
struct log {
    char *items;
    size_t size; /* of an item */
    size_t count, capacity;
};

struct commit {
    size_t rows, notes, events; /* how much there was after it */
    size_t output;              /* bytes the backend had sent when it happened */
    bool said;                  /* the reply to a COMMIT, or to an outcome, is next; else ReadyForQuery tells of it */
};

struct committed {
    struct log rows;    /* struct row */
    struct log notes;   /* struct note_row: delivered to listeners, equal ones of a transaction once */
    struct log events;  /* struct note_row: of captured notifications, for the oracle */
    struct log outbox;  /* struct note_row: of pgatomic.outbox */
    struct log commits; /* struct commit: those that changed something */
};

enum level_kind { LEVEL_TRANSACTION, LEVEL_SAVEPOINT };

struct level {
    enum level_kind kind;
    char name[SQL_NAME_MAX];
    size_t rows, notes, events, outbox, settings, listens;
    bool read_only, immediate;
};

enum { STORE_LEVELS_MAX = 64 };

struct store {
    struct committed *db;
    struct log rows, notes, events, outbox, settings, listens; /* of the open transaction */
    struct level levels[STORE_LEVELS_MAX];
    unsigned level_count; /* 0: no transaction */

    struct log base;           /* struct setting_change: the session's settings */
    struct log channels;       /* struct note_row: what it listens to */
    struct log heard;          /* struct note_row: committed while it listened, and not read yet */
    bool read_only, immediate; /* of the innermost level */
    enum isolation isolation;
    bool has_snapshot;
    bool inside;   /* for the settings to come: see setting_change */
    size_t output; /* for the next commit: see struct commit */
    bool said;
};

void committed_free(struct committed *db);
void store_init(struct store *s, struct committed *db);
void store_free(struct store *s);

void store_begin(struct store *s);
void store_push(struct store *s, enum level_kind kind, const char *name);
/* Number of the innermost level of that kind and name (NULL: any); -1: none. */
int store_find(const struct store *s, enum level_kind kind, const char *name);
/* Merges level `n` and all above into the one below. */
void store_release(struct store *s, int n);
/* Undoes level `n` and all above; `keep`: n stays open. */
void store_undo(struct store *s, int n, bool keep);
/* False: a deferred constraint is violated by `id`. */
bool store_check(const struct store *s, int *id);
void store_commit(struct store *s);
void store_abort(struct store *s);

void store_insert(struct store *s, char table, int id);
size_t store_count(const struct store *s, char table);
void store_notify(struct store *s, struct log *log, const char *channel, const char *payload);
void store_set(struct store *s, const struct setting_change *change);
/* The value in force; NULL: never set in this session. A value that was set and then undone is "". */
const char *store_setting(const struct store *s, const char *name);
void store_listen(struct store *s, const char *channel, bool listen);
bool store_listens(const struct store *s, const char *channel);
/* DISCARD ALL: settings and LISTENs at once, outside any transaction. */
void store_discard(struct store *s);

void *log_add(struct log *l);
static inline void *log_at(const struct log *l, size_t i)
{
    return l->items + i * l->size;
}

#endif
