/* The prepared statements of a worker's clients, each text once (P4).
 *
 * The same text with the same declared types under the same encoding rules and settings (meaning.h) is one statement for all clients of one
 * pool, whoever prepared it under whatever name; it has one name on every server. Those that nobody uses any more are kept for a while, for who comes back. */
#ifndef PROXY_LINK_STATEMENTS_H
#define PROXY_LINK_STATEMENTS_H

#include "protocol/sql_lexer.h"
#include "proxy/link/parameters.h"

enum { STATEMENT_NAME_SIZE = 40 };

/* What nobody else means, and nobody knows. */
#define MEANING_OF_ONE UINT64_MAX

/* What is known of the columns of its rows, and of its parameters; any other number stands for some that are all alike (columns.c). */
enum {
    COLUMNS_UNKNOWN, /* nobody has asked */
    COLUMNS_NONE,    /* there are neither rows nor parameters */
    COLUMNS_CHANGED  /* they are others than before, and have to be asked for */
};

struct statements;

struct shared_statement {
    struct shared_statement *next_in_bucket;
    struct shared_statement *older, *newer; /* among those that nobody uses */
    size_t references;
    uint64_t id; /* never given twice in a process */
    uint64_t hash;
    uint64_t meaning; /* of its text to those who share it */
    uint64_t columns; /* of its rows, as they were described last */
    const struct encoding *encoding;
    bool standard_conforming_strings;
    size_t size;
    uint32_t scope;                 /* of those who share it */
    uint32_t changes;               /* how often its columns were found to have changed */
    bool by_sql;                    /* the body is what stands behind PREPARE and the name */
    bool says_names;                /* of prepared statements: they are looked up each time it is used */
    bool leaves_state;              /* executing it may leave something behind in the server's session */
    char name[STATEMENT_NAME_SIZE]; /* on the servers */
    char body[];                    /* of its Parse behind the name: text, number of types, types */
};

struct statements *statements_new(void);
struct statements *statements_new_of(size_t bytes_max); /* that all of them may take */
void statements_free(struct statements *all);           /* NULL: nothing */

/* The name on the servers of the statement with this id. */
void statement_server_name(uint64_t id, char name[STATEMENT_NAME_SIZE]);

/* The number of what texts mean under these settings (meaning.h). Never the same for others; for the same it is mostly the same. */
uint64_t statements_meaning(struct statements *all, const struct parameters *settings);

/* `body`: of a Parse message, behind the name; or, by_sql, of a PREPARE. Shared with those of the same scope, the number of a pool, to whom it has the
 * same meaning, unless it is MEANING_OF_ONE, or the text is of the moment or says names. A reference to let go; NULL: there is no room for
 * another one. */
struct shared_statement *statements_share(struct statements *all, uint32_t scope, struct span body, bool by_sql,
                                          const struct sql_options *options, uint64_t meaning);
static inline struct shared_statement *shared_statement_retain(struct shared_statement *s)
{
    s->references++;
    return s;
}
/* What it says, without the types; of a PREPARE that with them. */
static inline struct span shared_statement_text(const struct shared_statement *s)
{
    return span_make(s->body, s->by_sql ? s->size : strnlen(s->body, s->size));
}
void statements_release(struct statements *all, struct shared_statement *s);

#endif
