/* What PostgreSQL's own scanner and parser (libpg_query) say about a text. */
#ifndef TESTS_ORACLE_PEER_H
#define TESTS_ORACLE_PEER_H

#include "protocol/statement.h"

/* Bytes [start, end) of the text. */
struct range {
    size_t start, end;
};

enum peer_class {
    PEER_WORD, /* identifiers and keywords */
    PEER_NAME, /* quoted */
    PEER_STRING,
    PEER_BITS,
    PEER_NUMBER,
    PEER_PARAMETER,
    PEER_SYMBOL, /* operators too, as one token */
    PEER_COMMENT
};

struct peer_token {
    struct range at;
    enum peer_class class;
};

/* A growing list; zeroed it is empty. */
struct peer_tokens {
    struct peer_token *list;
    size_t count, capacity;
};

struct ranges {
    struct range *list;
    size_t count, capacity;
};

void ranges_add(struct ranges *r, size_t start, size_t end);

/* Replaces the list with the text's tokens. False: the scanner refuses the text. */
bool peer_scan(const char *text, struct peer_tokens *out);
/* Replaces the list with the statements that the parser finds, semicolons left out, white space and comments around them
 * included. False: a syntax error. */
bool peer_split(const char *text, struct ranges *out);

/* A description is a line of text: the name of the kind, then what belongs to it. Two that are equal are an agreement on all of it.
 * peer_describe: false, when `text` has a syntax error or is not one statement. */
bool peer_describe(const char *text, struct buffer *out);
void own_describe(const struct statement *s, const struct sql_options *options, struct buffer *out);
/* Stands in own_describe's for a literal that the scanner leaves to the server. */
#define UNREADABLE "(unreadable)"
void append_modes(struct buffer *out, const struct statement_modes *m);

/* What a statement leaves behind in a session, a line for each thing; own_states is the scanner's word on it. It must be all of `must`, and
 * may be some of `may`: where a call or a name stands that the scanner takes for more than it is. False as above. */
bool peer_states(const char *text, struct buffer *must, struct buffer *may);
void own_states(struct span text, const struct sql_options *options, struct buffer *out);

#endif
