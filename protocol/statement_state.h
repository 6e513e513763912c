/* What a string of statements leaves behind in a server's session, for whoever lets the statements of one client run on different
 * servers (P4, P5, P6).
 *
 * A scanner over tokens, like statement.h, and as careful: it says too much rather than too little. A call stands for its effect
 * wherever in a statement it is written, executed or not. What no text shows, such as what a function does in its body, is not
 * found here. Effects are those of statements that succeed; what a rollback undoes is for the caller to know. */
#ifndef PROTOCOL_STATEMENT_STATE_H
#define PROTOCOL_STATEMENT_STATE_H

#include "protocol/statement.h"

enum state_kind {
    /* A setting: name, is_whole, is_default, may_be_default. SET SESSION CHARACTERISTICS is up to three of them, default_transaction_… each. What ends with
     * its transaction is none. */
    STATE_SETTING,
    /* One that ends with its transaction: name, is_default, may_be_default; of kind NONE, or not to be decoded: it may be any. SET
     * TRANSACTION is none. */
    STATE_LOCAL_SETTING,
    STATE_RESET_ALL,

    STATE_DISCARD_ALL,
    STATE_DISCARD_PLANS,
    STATE_DISCARD_SEQUENCES,
    STATE_DISCARD_TEMP,

    STATE_PREPARE,    /* name */
    STATE_EXECUTE,    /* name: needs it to be there. EXPLAIN … EXECUTE and CREATE TABLE … AS EXECUTE, too */
    STATE_DEALLOCATE, /* name */
    STATE_DEALLOCATE_ALL,

    STATE_LISTEN,   /* name */
    STATE_UNLISTEN, /* name */
    STATE_UNLISTEN_ALL,

    STATE_PIN /* cause: something that no other server can be given */
};

enum state_cause {
    STATE_TEMPORARY_TABLE, /* and whatever else is created in the session's temporary schema, unless it goes at COMMIT */
    STATE_ADVISORY_LOCK,   /* of the session */
    STATE_HELD_CURSOR,     /* WITH HOLD */
    STATE_LOADED_LIBRARY,  /* LOAD */
    STATE_UNKNOWN_SETTING,    /* set_config whose name, or whose is_local, is computed or bound; SET … FROM CURRENT */
    STATE_RANDOM_SEED,        /* SET SEED, setseed() */
    STATE_BACKUP,             /* pg_backup_start() */
    STATE_REPLICATION,        /* pg_replication_origin_session_setup(), slots, which may be temporary */
    STATE_FOREIGN_CONNECTION, /* dblink_connect() */
    STATE_DO_BLOCK,           /* a DO block with a session command in it */
    STATE_UNREADABLE_NAME     /* one that the server alone can read (operand_decode) */
};

/* `kind`, `statement` and `index` are always set; of the others, those that the comment beside the kind names, and nothing else. */
struct statement_state {
    enum state_kind kind;
    enum state_cause cause;
    struct span statement; /* the statement that has this effect */
    size_t index;          /* its place among those of the text, from 0 */

    struct operand name; /* as it stands in the statement, so that it can be replaced; of a setting it may be static */
    bool
        is_whole; /* the statement is a SET or RESET and does nothing else: saying it again does the same. Else it calls
                          * set_config, perhaps, and only the server knows with which value */
    bool is_default;     /* back to what the session began with */
    bool may_be_default; /* or perhaps: set_config, whose value is NULL for all that the text says */
};

typedef void statement_on_state(void *owner, const struct statement_state *state);

/* Calls on_state for each effect of the text, in the order of its statements. */
void statement_states(struct span text, const struct sql_options *options, statement_on_state *on_state, void *owner);

/* The quick look, for every text. False: it leaves nothing behind, whatever the options. True: it may; statement_states knows. */
bool statement_may_leave_state(struct span text);

/* Whether prepared statements are named in it: PREPARE, EXECUTE, DEALLOCATE. */
bool statement_says_names(struct span text, const struct sql_options *options);

/* Appends the name as the server knows it: decoded and, of a setting, in lower case. Nothing if it cannot be. */
void statement_state_name(const struct statement_state *state, const struct sql_options *options, struct buffer *out);

/* Whether what is created is temporary under a search_path of this value. */
bool statement_path_is_temporary(struct span value);

/* For people: "temporary table". */
const char *statement_state_cause(enum state_cause cause);

#endif
