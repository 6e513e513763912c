/* The inside of a session: shared by the files of proxy/session, and by nobody else.
 *
 *   session.c          the doors: frames in, loss, time
 *   passing.c          the short way for ordinary messages
 *   client*.c          what to do with each message of the client
 *   decide*.c          what a statement becomes under the rules in force
 *   plan.c, send.c     how that travels, in either protocol
 *   server.c           whose reply is this, and what it means
 *   server_error.c     the same of an error
 *   refusal.c          what no server was to be had for
 *   request.c, txn.c   requests and events: begun, held, released, discarded
 *   durable.c          events that are rows before their COMMIT
 *   doubt.c            a COMMIT whose reply is lost
 *   arguments.c, names.c, settings.c   what the client prepared, bound and set
 *   asleep.c           what is left of a session whose client does nothing
 */
#ifndef PROXY_SESSION_MACHINE_H
#define PROXY_SESSION_MACHINE_H

#include "protocol/message.h"
#include "proxy/session/names.h"
#include "proxy/session/pending.h"
#include "proxy/session/plan.h"
#include "proxy/session/session.h"
#include "proxy/session/settings.h"
#include "proxy/session/txn.h"

/* Names of our own on the server. No client may use names that begin like these (R8). */
#define SAVEPOINT_REQUEST "pgatomic_0"   /* sandbox: a marked request */
#define SAVEPOINT_CLIENT "pgatomic_1"    /* a client transaction inside a wrapper */
#define SAVEPOINT_UNIT "pgatomic_2"      /* R9: one Query, or the messages up to a Sync */
#define STATEMENT_OWN "pgatomic_s"       /* prepared for one use */
#define STATEMENT_OWN_BEGIN "pgatomic_b" /* BEGIN, prepared once a server */
#define PORTAL_OWN "pgatomic_p"
#define PORTAL_REFUSED "pgatomic_refused" /* never exists: executing it fails in any state (R15) */

/* Why a request cannot go on although the client has not ended it yet: a limit has passed (R12), or no server was to be had for it (P3). */
enum expiry { EXPIRY_NONE, EXPIRY_TIMEOUT, EXPIRY_IDLE, EXPIRY_REFUSED };

/* What the client is told of it until then: for a statement, and for `outcome = commit`. */
struct expiry_words {
    const char *sqlstate, *statement, *commit;
};

struct session {
    struct config *config;
    struct config *next_config; /* a newer one, taken up between requests; usually NULL */
    struct actions *out;        /* of the call under way */
    uint64_t now_us;

    /* who this is */
    struct shared_attributes *attributes;
    const struct request_attributes *who;
    const char *client;
    struct sql_options sql;
    const struct encoding *server_encoding;
    void (*new_id)(void *context, unsigned char id[EVENT_ID_SIZE]);
    const char *(*sink_behind)(void *context, const struct channel *channel, size_t bytes);
    void *context;
    const struct route *base_route; /* of unmarked requests without a label of their own */
    enum route_mode base_mode;
    bool rules_stale;      /* it has to be looked up again */
    bool comments_matter;  /* they name requests, or choose their routes */
    bool client_read_only; /* the client's own default_transaction_read_only */

    /* what is confirmed */
    struct state now;
    struct state front; /* `now`, as it will be when all that is out has succeeded */
    char server_status; /* of the last ReadyForQuery, or of a step behind it that changed it: I, T, E */
    struct txn txn;
    struct request *request; /* NULL: none is open */
    bool request_told;       /* its beginning was */
    struct names names;
    struct settings settings;
    struct buffer failure;      /* the first error of a failed marked request, for its DETAIL */
    bool settings_precede_unit; /* the unit has set something before its savepoint, and the wrapper, were there */
    bool settings_stand;        /* they hold, for the unit that made or repeated them outside a wrapper has not ended */
    bool failed_seen;           /* the client knows that the request failed: status I (R3) */
    bool tx_used;               /* the client's own transaction has run something */
    struct statement_modes tx_modes; /* of the BEGIN that it opened it with */
    enum expiry expiry;

    /* what is under way */
    struct pending_queue pending;
    size_t unsynced;           /* the client's extended messages since its last Sync, all told */
    size_t unsynced_sent;      /* of them and of ours, those that the server got: a Sync is owed */
    uint64_t unit;             /* counts Queries and Syncs sent */
    uint64_t unit_done;        /* counts ReadyForQuery seen */
    uint64_t transactions;     /* counts those of them that found the server idle */
    bool skipping;             /* to the next Sync, after an error */
    bool server_skips;         /* the server does too, so what is put ahead of that Sync gets no reply */
    bool unit_failed;          /* an error came in the unit that is being answered */
    bool unit_ran;             /* the pipeline has run something since it began, or since its last COMMIT or ROLLBACK */
    bool controls;             /* a plan is out that moves the transaction: decide nothing before its end */
    bool copying;              /* a COPY FROM STDIN has begun and is not complete */
    bool copy_in;              /* the server waits for CopyData */
    bool own_begin_prepared;   /* STATEMENT_OWN_BEGIN exists on the server */
    bool unnamed_portal_stale; /* it would be gone on plain PostgreSQL (R14) */
    bool unit_clean;           /* nothing was owed when the unit began */
    bool failure_owed;         /* the server skips after an error that the client was not told of */
    bool going_ahead;          /* something of ours is out that has to be answered before a held message */
    bool ahead_failed;         /* and it failed, which the client was told */
    bool read_only_lost;       /* the client has reset what was switched for its route (R11) */
    bool read_only_in_doubt;   /* a statement under way may reset it */
    bool close_cursors;        /* a client transaction was committed: its cursors go (R7) */
    bool finishing;            /* a unit's ReadyForQuery is withheld until our last words are answered */
    bool flushed;              /* a Flush of ours asked for what is owed */
    enum undo undo;            /* what the end of the unit has to roll back */
    bool undoing;              /* that is under way, and must not fail */
    bool begin_failed;         /* the string failed before its BEGIN ran: a syntax error */
    size_t commits_in_flight;  /* COMMITs written and not answered (R12, E4) */
    size_t events_in_flight;
    size_t questions_in_flight; /* for the number of the transaction (E9) */
    char xid[24];               /* the number of the open transaction, in decimal; "": not known */
    bool can_ask;               /* there is somebody to ask what became of a COMMIT */
    bool commit_told;           /* the client has the reply to its COMMIT, and only its ReadyForQuery is missing */
    bool in_doubt;              /* the server is lost, and that is being asked */
    struct buffer last_words;   /* the ErrorResponse with which the client's connection ends when it is known */
    bool cancelling;            /* a cancel request of ours is out */
    bool rollback_owed;         /* the wrapper is to be rolled back as soon as nothing is owed */

    /* how it ends */
    bool client_gone, server_gone, closing, fatal_seen;
    enum discard_reason gone_reason;
    bool ending;  /* Terminate was read: the last COMMIT or ROLLBACK is out */
    bool leaving; /* it is shut down as soon as the COMMIT that is out is answered */

    uint64_t deadline_us; /* as last told to the shell */
    uint64_t request_deadline_us, idle_deadline_us;

    struct plan *free_plans;
};

/* --- state ------------------------------------------------------------------------------------- */

/* Client transactions are not the server's: they are savepoints inside a wrapper. */
static inline bool state_is_virtual(const struct state *st)
{
    return st->mode == MODE_ATOMIC || st->mode == MODE_SANDBOX;
}

/* Nothing is owed, so that what is confirmed is all there is. */
static inline bool session_is_settled(const struct session *s)
{
    return s->pending.count == 0 && !s->cancelling && !s->finishing && !s->rollback_owed;
}

/* A Query has ended, and with it the pipeline that it was sent into: no Sync is owed for what stood before it. */
static inline void session_ends_pipeline(struct session *s)
{
    if (s->pending.count == 0)
        s->unsynced = s->unsynced_sent = 0;
}

/* A BEGIN of ours is out: until it is confirmed, what follows its unit might run, and commit, without it. */
static inline bool session_is_opening(const struct session *s)
{
    return s->front.wrapper != s->now.wrapper || s->front.outer != s->now.outer ||
           (s->now.client == CLIENT_LAZY && s->front.client == CLIENT_NONE);
}

/* Something of ours comes right behind the ReadyForQuery that is owed: the client's next unit must not be there before it. */
static inline bool session_has_more_to_say(const struct session *s)
{
    return s->close_cursors || s->begin_failed || s->undo != UNDO_NONE ||
           (s->settings.count > 0 && !s->now.wrapper && !s->now.outer);
}

/* What a character is, when the server counts them for an error's position: SQL_ASCII converts nothing. */
static inline const struct encoding *session_counts_in(const struct session *s)
{
    return s->sql.encoding == encoding_find(span_of("SQL_ASCII")) ? s->server_encoding : s->sql.encoding;
}

/* The wrapper, or the client transaction inside it, is in PostgreSQL's failed state. */
static inline bool session_is_failed(const struct session *s)
{
    return s->server_status == 'E';
}

/* The step that the next CommandComplete of the entry belongs to; NULL: an ordinary statement, or nothing is owed. */
static inline struct step *session_step_of(const struct pending *entry)
{
    struct plan *plan = entry ? entry->plan : NULL;
    return plan && plan->at < plan->step_count ? &plan->steps[plan->at] : NULL;
}

char session_client_status(const struct session *s);

/* --- request.c --------------------------------------------------------------------------------- */

void request_choose_base(struct session *s);
/* The rules for requests that begin unmarked, or with this label. */
void request_rules(const struct session *s, const char *label, struct state *st);
struct request *request_ensure(struct session *s);
/* E11: an event that the transaction holds stands for this one too. One that has a row already stays one by itself. */
bool request_folds(const struct txn *t, const struct plan *plan, const struct step *step);
void request_begin_labelled(struct session *s, const char *label);
void request_apply(struct session *s, const struct plan *plan, const struct step *step, struct span tag);
/* What became of its COMMIT is not known (E9). */
void request_tell_unknown(struct session *s);
/* Its COMMIT failed with nobody left to tell (R5). */
void request_tell_commit_failed(struct session *s, struct span words);
void request_finish_committed(struct session *s);
void request_finish_rolled_back(struct session *s, enum discard_reason reason);
void request_discard_all(struct session *s, enum discard_reason reason);
void request_settle_implicit(struct session *s);
/* It is rolled back, and the server holds nothing of it; its client does not know yet. */
void request_end_early(struct session *s, enum discard_reason reason);
const struct expiry_words *request_expiry_words(const struct session *s);
/* Nothing will go back to the savepoint of the unit, though it may still stand (UNIT_DONE). */
void request_end_unit(struct session *s);
void request_arm_timers(struct session *s);
void request_count_statement(struct session *s);

/* --- decide.c ---------------------------------------------------------------------------------- */

/* The values of a statement's arguments, in UTF-8, when they are known. */
struct arguments {
    bool known;
    struct span first, second;
};

struct decision {
    struct session *s;
    struct plan *plan;
    struct state st;     /* as it will be when the steps so far have succeeded */
    bool simple;         /* a Query; otherwise one Execute */
    bool several;        /* the string has more statements than one */
    bool failed;         /* the server is in a failed transaction */
    bool ran;            /* the string has run something of the client's since its implicit transaction began */
    bool wants_unit;     /* R9, sandbox: this unit is to have a savepoint */
    bool adopted;        /* SAVEPOINT_CLIENT was set ahead of the string's earlier statements */
    bool stopped;        /* the last step fails, so nothing behind it will run */
    bool plain_ended;    /* the string has ended the client's own transaction */
    bool last;           /* no statement of the string stands behind the one that is decided */
    bool asked;          /* one of the steps asks for the number of the transaction */
    size_t settled;      /* events of transactions that the string has ended */
    bool begun;          /* the string has begun one, or found one that was told and not sent */
    bool ends_implicit;  /* this statement is the string's last, and with it ends an implicit transaction */
    bool moved;          /* the string has ended a request, or begun one */
    uint32_t max_rows;   /* of an Execute; 0: no limit */
    size_t held;         /* events that its steps capture */
    size_t held_bytes;   /* of the durable ones' payloads */
    enum effect capture; /* the last of them, or of the client's BEGINs: HOLD, CLIENT_BEGIN; NONE */
    size_t client_characters;
};

void decide_init(struct decision *d, struct session *s, struct plan *plan, bool simple);
/* What the statement becomes; `slice` is where it stands in the client's string (simple protocol only). */
void decide_statement(struct decision *d, const struct statement *st, struct span slice,
                      const struct arguments *arguments);
/* A savepoint ahead of what the string has still to run, for a BEGIN or ROLLBACK further on that reaches back to here. */
void decide_adopt(struct decision *d);
/* Whoever says that ends the request, or begins another; or asks. */
bool decide_speaks_of_the_end(enum statement_kind kind);
/* The statements that have to go ahead of one that needs a transaction. */
void decide_prelude(struct decision *d);
bool state_needs_prelude(const struct session *s, const struct state *st);
bool session_wants_units(const struct state *st);
/* The end of an unmarked request, as its route says (R5). */
void decide_unmarked_end(struct decision *d);
/* Ends the request; `reply` takes the place of CommandComplete, empty: nothing does. */
void decide_request_end(struct decision *d, bool commit, enum discard_reason reason, struct span reply);
void decide_refusal(struct decision *d, const char *sqlstate, const char *message, struct span detail);
/* Brings the server into the failed transaction that the client is in. */
void decide_failure(struct decision *d);
/* Sandbox: what stands for the COMMIT of an implicit transaction. */
void decide_implicit_commit(struct decision *d);
void decide_undo(struct decision *d, enum undo undo);
/* What a request that was rolled back had set is set again (R16). */
void decide_settings(struct decision *d);
/* The server has taken back what is to be set again. */
static inline bool session_misses_settings(const struct session *s)
{
    return s->settings.count > 0 && !s->settings_stand && !s->now.wrapper && !s->now.outer && s->server_status == 'I';
}

/* Whatever is open ends, because the client resets the connection (R4, R5). */
void decide_end_for_reset(struct decision *d);
/* The request has timed out: it is rolled back, but its client does not know it yet (R12). */
void decide_expiry(struct decision *d);

/* --- arguments.c ------------------------------------------------------------------------------- */

/* The literals of a Query's statement; `values` holds them. */
void decide_read_arguments(const struct session *s, const struct statement *st, struct buffer *values,
                           struct arguments *out);
/* What a Bind says of them, kept in the portal. */
void portal_read_arguments(const struct session *s, struct portal *portal, const struct message_bind *bind);
void portal_read_literals(const struct session *s, struct portal *portal, const struct statement *st);
void portal_arguments(const struct portal *portal, struct arguments *out);
void describe_parameters(const struct prepared *p, struct buffer *made);
/* The types that a Parse declares. False: a parameter of `st` is to be read as something other than text, so nothing can be told of it. */
bool arguments_read_types(const struct statement *st, const struct message_parse *parse,
                          uint32_t types[PREPARED_TYPES_MAX]);
void describe_row(const struct session *s, const struct statement *st, uint16_t format, struct buffer *made);

/* --- send.c ------------------------------------------------------------------------------------ */

struct plan *session_plan(struct session *s);
void session_plan_done(struct session *s, struct plan *plan);
/* What the head of `pending` stands for is answered, or will never be. */
void session_drop_head(struct session *s);
void send_to_client(struct session *s, struct span bytes);
void send_to_server(struct session *s, struct span bytes);
void send_made_to_client(struct session *s, struct buffer *made);
/* A Query made of plan->text; nothing at all when that is empty, then its steps are local. Takes the plan. */
void send_query_plan(struct session *s, struct plan *take, bool swallow);
/* A client's Query behind the plan's text, not copied. `body` is what has arrived of it, `left` what has not. */
void send_query_behind(struct session *s, struct plan *take, struct span body, size_t left);
/* The steps of a plan in place of an Execute. `execute` is the client's own message, for the CLIENT step. */
void send_execute_plan(struct session *s, struct plan *take, const struct portal *portal, struct span execute);
/* Steps of ours ahead of the client's extended messages. */
void send_prelude_plan(struct session *s, struct plan *take, bool at_unit_start);
/* Statements of ours in a unit of their own, under private names, so that the client's unnamed statement survives. */
void send_own_unit(struct session *s, struct plan *take);
void send_sync(struct session *s, struct span bytes, bool swallow);
void send_flush(struct session *s);
void send_close_portal(struct session *s, struct span name);
/* Replies of our own, in their place: now, or when what is owed before them has come. Takes the plan. */
void send_local(struct session *s, struct plan *take);
/* The same of whole messages; `prepared`, if not NULL, is the statement whose Parse or Close they answer. */
void send_local_bytes(struct session *s, struct buffer *made, struct prepared *prepared);
void send_ready(struct session *s);
/* Performs what is local and whose turn has come. */
void send_due(struct session *s);

/* --- durable.c (E8) ---------------------------------------------------------------------------- */

/* There are events that have to be rows, and are none yet. */
bool durable_is_held(const struct session *s);
/* What was to be written ahead of COMMIT is. */
void durable_all_written(struct session *s);

/* --- doubt.c (E9) ------------------------------------------------------------------------------ */

/* Ahead of a Sync that may end a transaction with events: asks for its number. */
void doubt_ask_ahead_of_sync(struct session *s);
/* A DataRow of the server's: perhaps it is that number. */
void doubt_read_row(struct session *s, const struct frame *f);
/* The transaction is over: its number, which is forgotten; 0: not known. */
uint64_t doubt_take_number(struct session *s);
/* A transaction with captured events may have been committed, and only a reply that is still owed can tell. */
bool doubt_is_open(const struct session *s);
/* The server says its FATAL instead of that reply: the client gets it when it is known what became of the COMMIT. */
bool doubt_keeps_fatal(struct session *s, struct span message);
/* The server is lost. True: the shell is asked for the outcome. */
bool doubt_begins(struct session *s, struct span message);
/* And here it is: events and client are told. The session has to be ended then. */
void doubt_end(struct session *s, enum session_outcome outcome);
/* There is nobody to ask. */
void doubt_tell_unknown(struct session *s, struct span message);

/* --- client.c, server.c, server_error.c, session.c ----------------------------------------------- */

enum session_result client_frame(struct session *s, const struct frame *f);
/* Frees what it has of its own; who it is stays. */
void session_free_rooms(struct session *s);
/* The server need not wait for the rest of a COPY. */
void session_break_copy(struct session *s, const char *why);
void server_frame(struct session *s, const struct frame *f);
/* An ErrorResponse: told as the client is to see it, and the end of what failed. */
void server_error(struct session *s, const struct frame *f);
/* The end of a Query, or of the messages up to a Sync, that was settled without the server. */
void server_end_local_unit(struct session *s);
/* Does what had to wait until nothing was owed. */
void session_progress(struct session *s);
/* Terminate was read, and everything before it is answered. */
void session_terminate(struct session *s);
/* The client was told its FATAL; what is open is rolled back. */
void session_end_with(struct session *s, enum discard_reason reason);
void session_rename(struct session *s, struct span application);

#endif
