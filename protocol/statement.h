/* What a SQL statement is, as far as a transaction proxy has to know, and where it ends.
 *
 * A hand-written scanner over the tokens of sql_lexer.h. It does not parse SQL: it looks at the first words, and finds the
 * statement's end across quotes, dollar quotes, nested comments, parentheses (rule actions) and BEGIN ATOMIC bodies (R13).
 * Reading SQL proposes; the server's replies decide (E2): whatever is not certainly one of the kinds below is STATEMENT_OTHER. */
#ifndef PROTOCOL_STATEMENT_H
#define PROTOCOL_STATEMENT_H

#include <stdint.h>

#include "protocol/buffer.h"
#include "protocol/sql_lexer.h"

enum statement_kind {
    STATEMENT_OTHER = 0,

    /* transaction control */
    STATEMENT_BEGIN,       /* BEGIN, START TRANSACTION: modes */
    STATEMENT_COMMIT,      /* COMMIT, END: chain */
    STATEMENT_ROLLBACK,    /* ROLLBACK, ABORT: chain */
    STATEMENT_SAVEPOINT,   /* name */
    STATEMENT_RELEASE,     /* name */
    STATEMENT_ROLLBACK_TO, /* name */
    STATEMENT_PREPARE_TRANSACTION,
    STATEMENT_COMMIT_PREPARED,
    STATEMENT_ROLLBACK_PREPARED,
    STATEMENT_SET_TRANSACTION, /* SET [LOCAL|SESSION] TRANSACTION …, but not SNAPSHOT (that is OTHER): modes */

    /* session commands (R1): they need no transaction */
    STATEMENT_SET,   /* SET [SESSION] x = …, SET TIME ZONE, SET ROLE, …: name; not LOCAL. Without a name, it is
                      * SET SESSION CHARACTERISTICS AS TRANSACTION: modes */
    STATEMENT_RESET, /* name */
    STATEMENT_RESET_ALL,
    STATEMENT_SHOW,    /* name; none for ALL */
    STATEMENT_DISCARD, /* PLANS, SEQUENCES, TEMP */
    STATEMENT_DISCARD_ALL,
    STATEMENT_LISTEN,     /* name */
    STATEMENT_UNLISTEN,   /* name; none for '*' */
    STATEMENT_PREPARE,    /* name, body */
    STATEMENT_DEALLOCATE, /* name */
    STATEMENT_DEALLOCATE_ALL,

    STATEMENT_EXECUTE, /* name; args_plain when there are at most STATEMENT_ARGS_MAX arguments and each is a literal or NULL
                        * (E1): then also args, the numbers among them as WORD */
    STATEMENT_DECLARE, /* name, hold */
    STATEMENT_CLOSE,   /* a cursor: name; none for ALL */

    /* events (E1) */
    STATEMENT_NOTIFY,    /* args[0] channel (a name), args[1] payload or none */
    STATEMENT_PG_NOTIFY, /* SELECT pg_notify(a, b) and nothing else: args[0], args[1], column, cast_text */

    /* marks: SET pgatomic.request and SET pgatomic.outcome, or, as_row, SELECT set_config(…): column, cast_text, and in args[1] the
     * third argument when it is a parameter (then it is a mark only if false is bound). Marks that are local are none. */
    STATEMENT_MARK_REQUEST, /* args[0] the label; a NULL, only as_row, is none */
    STATEMENT_MARK_OUTCOME, /* args[0] 'commit' or 'rollback', or what is not allowed */
    STATEMENT_SHOW_REQUEST, /* SHOW pgatomic.request: name */

    /* Any other SELECT set_config(name, value, is_local) and nothing else: args[0] the name, a TEXT or a PARAMETER (it is a mark if
     * the name of one is bound), args[1] the value, args[2] a PARAMETER, or a WORD that is `true` or `false`; column, cast_text */
    STATEMENT_SET_CONFIG
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
    OPERAND_NAME, /* an identifier, quoted or not; of parameters also with dots; timezone for TIME ZONE, and so on */
    OPERAND_TEXT, /* a string literal: '', E'', U&'', $$ $$, joined over newlines */
    OPERAND_WORD, /* an unquoted word or number where a value stands: SET x = on */
    OPERAND_NULL,
    OPERAND_PARAMETER /* $n */
};

struct operand {
    enum operand_kind kind;
    unsigned parameter; /* n of $n */
    struct span raw;    /* as it stands in the statement (a parameter that is not called by its name: static) */
};

enum { STATEMENT_ARGS_MAX = 8 };

/* `kind` and `text` are always set; of the others, those that the comment beside the kind names, and nothing else. */
struct statement {
    enum statement_kind kind;
    struct span text; /* from its first token to its last, without the semicolon */

    struct operand name;
    struct operand args[STATEMENT_ARGS_MAX];
    unsigned arg_count;
    bool args_plain;
    struct statement_modes modes;
    bool chain, hold, as_row; /* as_row: the reply is a row, for it is a SELECT */
    struct operand column;    /* NAME: the output column's alias; NONE: the function's own name */
    bool cast_text;           /* PG_NOTIFY and set_config cast to text */
    struct span body;         /* PREPARE: what stands behind AS */
};

/* The next statement of `text` at or after *offset, which moves behind it and its semicolon. False: only white space, comments
 * and semicolons are left. An unfinished quote or comment runs to the end of the text. */
bool statement_next(struct span text, size_t *offset, const struct sql_options *options, struct statement *out);

/* The quick look, enough for almost every text. True: it is one statement of kind OTHER. False: it may still be; statement_next knows. */
bool statement_is_plain(struct span text, const struct sql_options *options);

/* True for a name that begins with pgatomic_, which are ours (R8). */
bool statement_name_is_reserved(const struct operand *name);

/* Appends the value of a NAME (folded to lower case unless quoted, cut to 63 bytes), TEXT or WORD (folded) operand, in client
 * encoding. False when it is not well formed, as with a bad escape, or when the server alone knows what it stands for, as with bytes
 * above 0x7F that are written as escapes: then leave the statement to the server; `out` is as it was. */
bool operand_decode(const struct operand *operand, const struct sql_options *options, struct buffer *out);

/* The route that a sqlcommenter comment in `text` names, URL-decoded and appended. The last comment that has one counts.
 * False: there is none. */
bool statement_route_comment(struct span text, const struct sql_options *options, struct buffer *out);

#endif
