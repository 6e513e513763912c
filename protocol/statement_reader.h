/* Reads one statement token by token: the private means of statement*.c.
 *
 * A reader holds the token that comes next. `accept` takes it if it is what is asked for, and says whether it was; a reader is copied
 * to come back to where it was. */
#ifndef PROTOCOL_STATEMENT_READER_H
#define PROTOCOL_STATEMENT_READER_H

#include "protocol/statement.h"

struct statement_reader {
    struct sql_lexer lexer;
    struct sql_token token; /* the next one */
    const struct sql_options *options;
};

void reader_init(struct statement_reader *r, struct span text, const struct sql_options *options);
void reader_advance(struct statement_reader *r);

static inline bool reader_at_end(const struct statement_reader *r)
{
    return r->token.kind == SQL_END;
}

/* The next token is this keyword, given in lower case. */
bool reader_sees_word(const struct statement_reader *r, const char *word);
bool reader_accept_word(struct statement_reader *r, const char *word);
/* Two keywords, or neither. */
bool reader_accept_words(struct statement_reader *r, const char *first, const char *second);
bool reader_sees_symbol(const struct statement_reader *r, const char *symbol);
bool reader_accept_symbol(struct statement_reader *r, const char *symbol);
/* A keyword that may be left out, in front of a name that may be called the same: the SAVEPOINT of RELEASE [SAVEPOINT] name. */
void reader_accept_noise(struct statement_reader *r, const char *word);

/* An identifier, or a keyword that may stand for one. */
bool reader_accept_name(struct statement_reader *r, struct operand *out);
/* The name of a parameter: one or more names with dots between them. */
bool reader_accept_dotted_name(struct statement_reader *r, struct operand *out);
/* A parameter as SET names it: its name and what is done with it, or one of the forms with words of their own, such as TIME ZONE
 * (statement_set.c). */
bool reader_accept_parameter(struct statement_reader *r, struct operand *out);
/* A string literal. */
bool reader_accept_string(struct statement_reader *r, struct operand *out);
/* A string literal, NULL or $n. */
bool reader_accept_literal(struct statement_reader *r, struct operand *out);

/* From an opening parenthesis to behind the one that closes it (statement_session.c). */
bool reader_accept_parentheses(struct statement_reader *r);

/* An argument of text: a literal, NULL or $n, in parentheses or not, cast or not; and set_config's third: $n, or a WORD `true` or `false`
 * whichever way it was written. NULL counts as false, as in PostgreSQL (statement_select.c). */
bool reader_accept_text_argument(struct statement_reader *r, struct operand *out);
bool reader_accept_is_local(struct statement_reader *r, struct operand *out);

/* BEGIN's and SET TRANSACTION's options, as many as there are (statement_modes.c). Of two that contradict each other the last
 * counts. False: one is not well formed, or there is none although `required`. */
bool reader_accept_modes(struct statement_reader *r, bool required, struct statement_modes *out);

/* The operand's value is `text`; or is it but for the case of its letters, with `text` in lower case (operand.c). Literals longer than
 * any sensible way to write such a short text are not looked into. */
bool operand_is(const struct operand *operand, const struct sql_options *options, const char *text);
bool operand_is_ignoring_case(const struct operand *operand, const struct sql_options *options, const char *text);

/* One for each first word of statement*.c's kinds. The reader stands behind that word. They return the statement's kind and fill in what belongs
 * to it, or STATEMENT_OTHER when it is not certain. */
typedef enum statement_kind statement_read(struct statement_reader *r, struct statement *s);

/* statement_transaction.c */
statement_read statement_read_begin, statement_read_start, statement_read_commit, statement_read_end,
    statement_read_rollback, statement_read_abort, statement_read_savepoint, statement_read_release;
/* statement_session.c */
statement_read statement_read_show, statement_read_reset, statement_read_discard, statement_read_listen,
    statement_read_unlisten, statement_read_notify, statement_read_prepare, statement_read_execute,
    statement_read_deallocate, statement_read_declare, statement_read_close;
/* statement_set.c */
statement_read statement_read_set;
/* statement_select.c */
statement_read statement_read_select;

#endif
