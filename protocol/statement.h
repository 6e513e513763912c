/* What a SQL statement is, as far as a transaction proxy has to know, and where it ends.
 *
 * A hand-written scanner over the tokens of sql_lexer.h. It does not parse SQL: it looks at the first words, and finds the
 * statement's end across quotes, dollar quotes, nested comments, parentheses (rule actions) and BEGIN ATOMIC bodies (R13).
 * Reading SQL proposes; the server's replies decide (E2): whatever is not certainly one of the kinds below is STATEMENT_OTHER. */
#ifndef PROTOCOL_STATEMENT_H
#define PROTOCOL_STATEMENT_H

#include <stdint.h>

#include "protocol/buffer.h"
#include "protocol/encoding.h"

enum statement_kind {
    STATEMENT_OTHER = 0,

    /* transaction control */
    STATEMENT_BEGIN,    /* BEGIN, START TRANSACTION: modes */
    STATEMENT_COMMIT,   /* COMMIT, END: chain */
    STATEMENT_ROLLBACK, /* ROLLBACK, ABORT: chain */
    STATEMENT_SAVEPOINT,   /* name */
    STATEMENT_RELEASE,     /* name */
    STATEMENT_ROLLBACK_TO, /* name */
    STATEMENT_PREPARE_TRANSACTION,
    STATEMENT_COMMIT_PREPARED,
    STATEMENT_ROLLBACK_PREPARED,
    STATEMENT_SET_TRANSACTION, /* SET [LOCAL|SESSION] TRANSACTION …, but not SNAPSHOT (that is OTHER): modes */

    /* session commands (R1): they need no transaction */
    STATEMENT_SET,       /* SET [SESSION] x = …, SET TIME ZONE, SET ROLE, SET SESSION CHARACTERISTICS, …: name; not LOCAL */
    STATEMENT_RESET,     /* name */
    STATEMENT_RESET_ALL,
    STATEMENT_SHOW,      /* name */
    STATEMENT_DISCARD,   /* PLANS, SEQUENCES, TEMP */
    STATEMENT_DISCARD_ALL,
    STATEMENT_LISTEN,    /* name */
    STATEMENT_UNLISTEN,  /* name; none for '*' */
    STATEMENT_PREPARE,   /* name, body */
    STATEMENT_DEALLOCATE, /* name */
    STATEMENT_DEALLOCATE_ALL,

    STATEMENT_EXECUTE, /* name, args; args_plain when every argument is a literal or NULL (E1) */
    STATEMENT_DECLARE, /* name, hold */
    STATEMENT_CLOSE,   /* a cursor: name; none for ALL */

    /* events (E1) */
    STATEMENT_NOTIFY,    /* args[0] channel (a name), args[1] payload or none */
    STATEMENT_PG_NOTIFY, /* SELECT pg_notify(a, b) and nothing else: args[0], args[1], column */

    /* marks (design of the names: SET pgatomic.request, SET pgatomic.outcome) */
    STATEMENT_MARK_REQUEST, /* args[0] the label; as_row when it is SELECT set_config(…): column */
    STATEMENT_MARK_OUTCOME, /* args[0] 'commit' or 'rollback'; as_row likewise */
    STATEMENT_SHOW_REQUEST  /* SHOW pgatomic.request */
};

enum statement_isolation {
    STATEMENT_ISOLATION_DEFAULT = 0, /* not said */
    STATEMENT_READ_UNCOMMITTED,
    STATEMENT_READ_COMMITTED,
    STATEMENT_REPEATABLE_READ,
    STATEMENT_SERIALIZABLE
};

enum statement_access { STATEMENT_ACCESS_DEFAULT = 0, STATEMENT_READ_ONLY, STATEMENT_READ_WRITE };

/* BEGIN's and SET TRANSACTION's options. */
struct statement_modes {
    enum statement_isolation isolation;
    enum statement_access access;
    bool deferrable, not_deferrable;
};

enum operand_kind {
    OPERAND_NONE = 0,
    OPERAND_NAME,      /* an identifier, quoted or not */
    OPERAND_TEXT,      /* a string literal: '', E'', U&'', $$ $$, joined over newlines */
    OPERAND_WORD,      /* an unquoted word or number where a value stands: SET x = on */
    OPERAND_NULL,
    OPERAND_PARAMETER  /* $n */
};

struct operand {
    enum operand_kind kind;
    unsigned parameter; /* n of $n */
    struct span raw;    /* as it stands in the statement */
};

enum { STATEMENT_ARGS_MAX = 8 };

/* `kind`, `text` and `is_select` are always set; of the others, those that the comment beside the kind names. */
struct statement {
    enum statement_kind kind;
    struct span text; /* from its first token to its last, without the semicolon */

    struct operand name;
    struct operand args[STATEMENT_ARGS_MAX];
    unsigned arg_count;
    bool args_plain;
    struct statement_modes modes;
    bool chain, hold, as_row;
    struct operand column; /* NAME: the output column's alias; NONE: the function's own name */
    bool cast_text;        /* PG_NOTIFY and set_config cast to text */
    struct span body;      /* PREPARE: what stands behind AS */
};

/* How string literals are read: the server's standard_conforming_strings and the client's encoding. */
struct sql_options {
    bool standard_conforming_strings;
    const struct encoding *encoding;
};

/* The next statement of `text` at or after *offset, which moves behind it and its semicolon. False: only white space, comments
 * and semicolons are left. An unfinished quote or comment runs to the end of the text. */
bool statement_next(struct span text, size_t *offset, const struct sql_options *options, struct statement *out);

/* True when the text is one statement of kind OTHER, as almost every one is. The quick way to know; exactly what statement_next
 * would say. An empty text is not. */
bool statement_is_plain(struct span text, const struct sql_options *options);

/* True for a name that begins with pgatomic_, which are ours (R8). */
bool statement_name_is_reserved(const struct operand *name);

/* Appends the value of a NAME (folded to lower case unless quoted, cut to 63 bytes), TEXT or WORD (folded) operand, in client
 * encoding. False when the literal is not well formed (a bad escape): then leave the statement to the server, and `out` is as it was. */
bool operand_decode(const struct operand *operand, const struct sql_options *options, struct buffer *out);

/* The route that a sqlcommenter comment in `text` names, URL-decoded and appended. The last comment that has one counts.
 * False: there is none. */
bool statement_route_comment(struct span text, const struct sql_options *options, struct buffer *out);

#endif
