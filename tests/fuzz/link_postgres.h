/* A PostgreSQL that is small enough to be right: the order of replies, transactions, a few settings that roll back with them, prepared
 * statements by name, LISTEN, COPY, and what it is to DISCARD ALL. Of other statements it knows that they answer SELECT 1. That one itself, when it is
 * prepared, has rows of a single column, of a type that changes for all servers at once (small_postgres_alter).
 *
 * It reads SQL by its first words, in capitals, which is how the link and the texts of the fuzz target write it. */
#ifndef TESTS_FUZZ_LINK_POSTGRES_H
#define TESTS_FUZZ_LINK_POSTGRES_H

#include "protocol/buffer.h"

enum { SETTINGS = 3, VALUE_SIZE = 24, NAMES_MAX = 300 };

extern const char *const setting_names[SETTINGS];
enum { REPORTED = 2 /* application_name */ };

/* What a session has, and gives back when its transaction is rolled back. */
struct session_state {
    char value[SETTINGS][VALUE_SIZE]; /* "": the default */
    bool listens;
    bool dirty; /* something that only DISCARD ALL takes away */
};

struct named {
    char *name, *text;
    bool portal;
    bool has_run;  /* a portal without rows can do that once */
    unsigned type; /* of the column, when it was prepared or bound */
};

struct small_postgres {
    struct buffer unread; /* what it was sent and has not looked at */
    struct buffer output; /* its replies; the first `flushed` bytes have left */
    size_t flushed;
    struct buffer query;  /* what is left of the string that is being answered */
    bool in_query, alone; /* alone: the string is a single statement */
    bool lucky;           /* nothing befalls this string: the link may count on it */
    bool copy_in, skipping;
    char status;
    struct session_state now, before,
        told; /* before: at the beginning of the transaction; told: as its client was told */
    bool ever_set[SETTINGS];
    struct named names[NAMES_MAX];
    size_t name_count;
    struct span choices; /* what befalls the next statements; none left: they succeed */
};

/* The type of the column is another one from now on; of all servers. */
void small_postgres_alter(unsigned type);
unsigned small_postgres_type(void);

void small_postgres_init(struct small_postgres *v);
void small_postgres_reset(struct small_postgres *v);
/* Reads all that it was sent. */
void small_postgres_answer(struct small_postgres *v, struct span choices);
/* Nothing was sent to it that is not answered, and no transaction is open. */
bool small_postgres_is_idle(const struct small_postgres *v);
/* DISCARD ALL, behind its back. */
void small_postgres_discard(struct small_postgres *v);

#endif
