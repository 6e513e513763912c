/* The inside of a link: shared by the files of proxy/link, and by nobody else.
 *
 *     link.c        the doors, the end, what is said to the server on the link's own account
 *     requests.c    the client's messages on their way to the server
 *     prepared.c    those of them that name a prepared statement
 *     targets.c     what has to be on the server for them
 *     columns.c     what their rows look like, and who knows that
 *     replies.c     the server's messages on their way back
 *     failures.c    what an error undoes, and how the client hears of it
 *     sql_names.c   PREPARE, EXECUTE and DEALLOCATE as SQL
 *     portals.c     what portals with such a text, or with a reset, do when they are executed
 *     traces.c      what statements leave behind: settings, pins
 *     meanings.c    under which of them a text is read: what it means
 *     settings.c    what a server is told of them
 *     resets.c      what goes back to the client's startup packet
 *     listens.c     LISTEN and UNLISTEN
 *     unlistens.c   what of the latter holds, and from when on
 *     asleep.c      what is left of a link whose client does nothing
 *     server.c      what a server has been told
 *     owed.c, handles.c, statements.c, parameters.c, meaning.c   plain data */
#ifndef PROXY_LINK_INSIDE_H
#define PROXY_LINK_INSIDE_H

#include "protocol/message.h"
#include "protocol/statement_state.h"
#include "proxy/link/handles.h"
#include "proxy/link/link.h"
#include "proxy/link/owed.h"

enum {
    SERVER_STATEMENTS_MAX = 500,    /* that stand prepared on one server */
    SETTINGS_SIZE_MAX = 256 * 1024, /* bytes of the settings of one client; more are a pin */
    TOUCHED_MAX = 200 /* settings of which the value is asked at the end of a transaction; more are a pin */
};

struct link_server {
    struct parameters *told;     /* settings that clients made there and that hold now, as far as it has answered */
    struct parameters *reported; /* its ParameterStatus values */
    struct held *held;           /* statements; NULL: none */
    uint64_t unnamed; /* the link's serial when it got the unnamed statement that it has; 0: nobody's that matters */
    bool needs_reset;
    bool out_of_step; /* it may answer what nobody waits for: it cannot be anybody else's any more */
    bool has_unknown; /* statements of ours may stand there that are not in `held` */
};

/* What a statement does to UNLISTENs (unlistens.c). */
enum listening {
    LISTENING_AS_BEFORE,
    LISTENING_TO_ONE_LESS, /* `name`, a channel */
    LISTENING_TO_NOTHING,
    LISTENING_SAVEPOINT, /* `name` */
    LISTENING_RELEASE,
    LISTENING_ROLLBACK_TO,
    LISTENING_END /* of the transaction */
};

/* What becomes true when a message, or one statement of it, succeeds. Undone when it fails or is skipped. */
struct change {
    struct change *next; /* of the same message, in its order */
    size_t index;        /* of a text: the statement that it belongs to, from 0 */
    bool sets;           /* `name` stands for something else already, or for nothing; … */
    bool sets_later;     /* … it will when its portal is executed (portals.c) */
    bool forgets;        /* a DEALLOCATE ALL … */
    bool cuts;           /* … ahead of which another one has succeeded: what stands behind it does not count yet */
    bool describes;      /* the answer says what the columns of `after` are, and its … */
    uint64_t parameters; /* … if there are any (columns.c) */
    struct shared_statement *before; /* what it stood for; NULL: nothing. A reference, as the next one */
    struct shared_statement *after;  /* what it stands for; NULL: nothing */
    uint64_t held;                   /* this statement stands on the server, unless it fails; 0: none … */
    uint32_t held_changes;           /* … prepared after so many changes of its columns */
    uint64_t used;                   /* this one is executed there; 0: none */
    uint8_t listening;               /* enum listening */
    size_t position;                 /* characters of the server's text up to here … */
    long shift;                      /* … are so many more than of the client's */
    char *refusal;                   /* the message of the error that comes; NULL: the server's own words */
    const char *sqlstate;            /* of the refusal, or of the error that it stands for … */
    const char *routine; /* … and where PostgreSQL says it, by which drivers know it; NULL: that does not matter */
    char name[];
};

/* A setting that is to be asked for: statements have set it, or set it back. */
struct touched {
    char *name;
    uint16_t roles;         /* as of the link */
    uint32_t unit;          /* the first in which it was */
    bool set, reset, local; /* local: reset for its transaction */
    bool ends_reset;        /* the last of these statements was a reset */
    bool ends_local;        /* … for its transaction */
    bool at_default;        /* in the transaction under way, and is to be told what the client began with */
};

/* What goes back to the client's startup packet, of which the server knows nothing (resets.c). */
struct resets {
    bool noted;    /* a reset of such a setting is under way, or was in this transaction, and is not settled */
    bool ran;      /* it may have run, for something of its unit has … */
    bool undone;   /* … and an error or a ROLLBACK may have undone it */
    bool asked;    /* inside a transaction, what became of it; */
    bool told;     /* and told what it goes back to */
    bool waits;    /* the client's ReadyForQuery is held back until the server knows */
    bool repeats;  /* a cancel request has hit what it was told, which is said once more */
    uint32_t unit; /* of the first one noted */
    struct parameters *known; /* values that the client has, in place of which it was not shown others; NULL: none */
};

struct channels {
    char **list; /* in order */
    size_t count, capacity;
};

struct unlistens {
    struct unlisten {
        enum listening what; /* an UNLISTEN or a savepoint */
        char *name;
    } * list;
    size_t count, capacity;
    bool lost; /* too many: none of this transaction counts */
};

/* The channels that a client listens to (listens.c). */
struct listens {
    void (*on_listen)(void *context, struct span channel); /* NULL: LISTEN pins */
    void (*on_unlisten)(void *context, struct span channel);
    struct channels heard, wished, asked, leaving;
    struct unlistens unlistens;
    struct change *bound; /* what the next Execute does to them; NULL: nothing */
    size_t awaited;       /* answers of the listener; the client's message is held until the last has come */
    bool refused;         /* one of them was a no */
    bool direct;          /* the client hears its server */
    bool touched;         /* a LISTEN or UNLISTEN went to the server in this transaction */
    bool undone;          /* the last reply was an error or a ROLLBACK */
};

struct link {
    struct link_server *server; /* NULL: none is attached */
    struct statements *statements;
    uint64_t serial; /* of its unnamed statement, in the process: the next one, or none in its place, has another */
    struct parameters *base, *wanted;
    struct parameters *shown; /* what the client was told of ParameterStatus since its greeting */
    struct sql_options sql;
    void (*on_pinned)(void *context, const char *cause);
    void *context;
    bool keeps_server, prepares_unnamed;
    uint32_t scope; /* of those who share statements with it */

    struct handles handles;
    struct owed_queue owed;
    struct buffer partial; /* of a message of the client of which a part has come, or what is held */
    struct buffer unnamed; /* the body, behind the name, of its unnamed statement */
    bool has_unnamed;
    bool unnamed_leaves_state;
    bool hides_unnamed; /* one that does was replaced, and something is owed: it is back if that was skipped */

    struct touched *touched; /* settings that statements may have changed, those first that are being asked for */
    size_t touched_count, touched_capacity, asked_count;
    uint16_t roles, asked_roles,
        settled_roles;        /* how often the role was changed: by now, before the question, before the last answer */
    struct parameters *meant; /* the settings of which `meaning` is the number; NULL: it is not known */
    uint64_t meaning;
    uint32_t unsure_unit; /* the last in which … */
    bool unsure;          /* … something was set that decides what texts mean, and that is not known yet */
    struct listens listens;
    struct resets resets;
    bool tags_matter;    /* DISCARD ALL or DEALLOCATE ALL may be under way, or a reset */
    bool forgets;        /* one of them is in the client's unit under way, or in the one that holds the next ones up */
    bool asks_again;     /* a cancel request has hit the question */
    bool holds;          /* what the client sends waits in `partial` until nothing is owed … */
    bool holds_unit;     /* … or, with this, until nothing is owed that came before its unit */
    bool holds_bind;     /* so does the Bind at hand, which was looked at, and is again then */
    size_t renamings;    /* changes under way of what names stand for */
    struct bound *bound; /* portals that will change that, the newest first; NULL: none */
    unsigned stubs;      /* names of nothing that were made since nothing was owed (sql_names.c) */
    bool discarded;      /* DISCARD ALL has succeeded: what the server reports up to ReadyForQuery is its doing */

    size_t client_left;              /* bytes of the client's message under way that have not come */
    size_t server_left;              /* the same of the server's */
    bool client_drops, server_drops; /* they go nowhere */
    size_t seen;                     /* bytes at the front of the server's input that were handed out and not taken */
    size_t to_skip;                  /* bytes behind them that are done with */
    struct buffer own;               /* a piece of the link's own */

    size_t completed; /* statements of the text that is being answered */
    long shifted;     /* by so many characters they were longer than the client's */
    size_t unsynced;  /* extended messages since the last Sync */
    size_t settling;  /* questions and settings that are not answered */
    char status;      /* of the last ReadyForQuery */
    bool skipping;    /* to the client's next Sync, after an error */
    bool copying, copy_in;
    bool read_past;     /* the COPY was sent something behind it that is none of its data */
    bool flushed;       /* a Flush asked for what is due */
    bool settle_cancel; /* a cancel request has been there: one more reply has to come before the server goes */
    bool pinned;
    bool ending, rolled_back, clean; /* the client has gone */
    bool sql_known;                  /* how SQL is read was looked up */
    bool own_is_out;                 /* `own` was handed out */
    char sqlstate[6];
    struct buffer error_text; /* NUL-terminated; empty: the link can go on */
};

/* --- server.c ----------------------------------------------------------------------------------------- */

/* From HOLDS on it stands there. UNSEEN: what its columns are there was not looked at. */
enum holding { HOLDS_NOT, HOLDS_STALE, HOLDS, HOLDS_UNSEEN };

/* Whether the statement stands prepared there as it is after so many changes of its columns; it is used now. */
enum holding server_touch(struct link_server *s, uint64_t id, uint32_t changes, uint32_t unit);
/* It is being prepared there. The one that has to be closed for it; 0: none. */
uint64_t server_hold(struct link_server *s, uint64_t id, uint32_t changes, uint32_t unit);
/* It is on its way there, or was, and nobody knows whether it has come to stand there. */
bool server_expects(const struct link_server *s, uint64_t id);
/* The Parse of that unit has succeeded. */
void server_confirm(struct link_server *s, uint64_t id, uint32_t unit);
/* The Parse of that unit has failed, or was skipped. */
void server_undo(struct link_server *s, uint64_t id, uint32_t unit);
void server_forget_all(struct link_server *s);
/* It has to be closed and prepared again before it is used. */
void server_doubt(struct link_server *s, uint64_t id);
/* Its columns are to be looked at; they have been, and are those after so many changes. */
void server_unsee(struct link_server *s, uint64_t id);
void server_see(struct link_server *s, uint64_t id, uint32_t changes);

/* --- link.c ------------------------------------------------------------------------------------------- */

/* As it begins, with nothing of its client's. */
void link_init(struct link *l, const struct link_start *start);
/* One that no link has had. */
uint64_t link_first_serial(void);
/* Likewise, for this link: what servers still have of its unnamed statements is nobody's any more. */
void link_next_serial(struct link *l);
/* Bytes of the link's own to the server; frees `made`. */
void link_say(struct actions *out, struct buffer *made);
void link_say_sync(struct link *l, enum owed_purpose purpose, struct actions *out);
void link_fail(struct link *l, const char *sqlstate, const char *words);
void link_fail_with(struct link *l, const struct message_error *error);
/* A COPY of a client that has gone waits for its data. */
void link_break_copy(struct link *l, struct actions *out);
/* What had to wait until nothing was owed. */
void link_make_progress(struct link *l, struct actions *out);
static inline void link_progress(struct link *l, struct actions *out)
{
    if (l->settle_cancel || l->ending || l->listens.touched || l->touched_count > 0)
        link_make_progress(l, out);
}
/* The client has gone: what it left without a Sync gets one. */
void link_close_unit(struct link *l, struct actions *out);
/* And what it has left behind on the server is to be discarded: all that was noted so far. */
void link_note_leavings(struct link *l);
void change_free(struct link *l, struct change *c); /* with those behind it; NULL: nothing */

/* --- requests.c ---------------------------------------------------------------------------------------- */

/* The server says next whether that holds up the client any longer: a ReadyForQuery has come. */
void requests_on_ready(struct link *l, struct actions *out);
/* Nothing holds up any more what the client has sent. */
void requests_resume(struct link *l, struct actions *out);

/* --- prepared.c ----------------------------------------------------------------------------------------- */

struct change *change_new(struct span name);
/* Puts these behind those that are there. */
void change_add(struct change **list, struct change *changes_take);
/* `name` will stand for `take` (NULL: for nothing) when change_make() says so. */
struct change *change_later(struct span name, struct shared_statement *take);
void change_make(struct link *l, struct change *c);
/* It does from now on, unless its message fails. */
struct change *change_handle(struct link *l, struct span name, struct shared_statement *take);
/* The client is told this in place of the server's words about a name that it does not have, or has. */
struct change *change_refused(struct span name, const char *sqlstate, const char *words);

/* Each of these, true: it goes to the server as it is; false: it was replaced, was answered here, or waits. */
bool prepared_on_parse(struct link *l, const struct frame *f, struct actions *out);
bool prepared_on_bind(struct link *l, const struct frame *f, struct actions *out);
bool prepared_on_describe(struct link *l, const struct frame *f, struct actions *out);
bool prepared_on_close(struct link *l, const struct frame *f);
/* A Query destroys the unnamed statement. */
void prepared_forget_unnamed(struct link *l);

/* --- replies.c ------------------------------------------------------------------------------------------ */

/* The replies of the link's own at the head of what is owed, into link->own. */
void replies_give_own(struct link *l);

/* What becomes of a message. */
enum verdict { SHOW, HIDE, REPLACE /* by what is in link->own */ };

/* --- failures.c ----------------------------------------------------------------------------------------- */

/* An ErrorResponse: what failed with it is undone, and what comes behind it up to a Sync, too. */
enum verdict failures_on_error(struct link *l, const struct frame *f, struct actions *out);
/* What `entry` was to make true does not become so. `later`: the place among what is owed of what came behind it. `skipped`: the server
 * has not even read it. */
void failures_undo(struct link *l, struct owed *entry, size_t later, bool skipped);

/* --- targets.c ------------------------------------------------------------------------------------------ */

struct target {
    struct span name; /* on the server */
    uint64_t id;      /* 0: none of ours */
    struct change *refusal;
    struct change *changes; /* what a portal of it changes once it is executed */
    bool waits;             /* the server is asked for its columns: what goes there is looked at again */
};

/* Whether it is still open what the name stands for: a message of an earlier unit changes that, if it succeeds. */
bool name_is_open(const struct link *l, struct span name);
/* The same of all names in a message of the client. */
bool names_are_open(const struct link *l, const struct frame *f);
/* The client has an unnamed statement of its own, be it that its text is not known here: it was too long, or one that took its place was skipped
 * by the server. */
bool targets_have_unnamed(const struct link *l);
/* Where a Bind or, with `binds` false, a Describe has to go, with everything there that it needs. */
struct target find_target(struct link *l, struct span name, bool binds, struct actions *out);
/* How a client's name that stands for nothing goes to the server, which shall say so, and must not find somebody else's. The words in place
 * of the server's, or NULL: they are the right ones. */
struct change *refuse_name(struct span name, struct span *there);
/* `s`, which the client has under this name, is prepared on the server before what comes next; or, where it would mean something else than to
 * those who share it, the same text as the client's own, which the name stands for then. NULL: the text could not be read as it was. */
struct shared_statement *ensure_there(struct link *l, struct span name, struct shared_statement *s,
                                      struct actions *out);
/* The client is told that it could not be read. */
struct change *refuse_unreadable(struct span name);
/* Its name on the server is free for what comes next. */
void make_room_there(struct link *l, const struct shared_statement *s, struct actions *out);
/* Its Parse leaves, and the server holds it from then on. */
struct owed *prepare_there(struct link *l, const struct shared_statement *s, enum owed_purpose purpose,
                           struct actions *out);
/* A message of the link's own between those of the client, and what is owed to it; frees `made`. */
struct owed *say_own(struct link *l, struct buffer *made, enum owed_kind kind, struct actions *out);
void say_parse(struct span name, struct span body, struct actions *out);

/* --- columns.c ------------------------------------------------------------------------------------------ */

/* The answer to the client's Describe of the statement that it has under this name says what its columns are. NULL: that is not kept. */
struct change *columns_expect(struct link *l, struct span name);
/* Whether they matter to who binds the statement, and are not known of the one on the server. */
bool columns_are_open(const struct link *l, const struct shared_statement *s);
/* The server is asked. */
void columns_ask(struct link *l, struct shared_statement *s, struct actions *out);
/* A ParameterDescription has come for this entry; and then a RowDescription, or NoData. */
void columns_answer_parameters(const struct owed *entry, const struct frame *f);
void columns_answer(struct link *l, const struct owed *entry, const struct frame *f);
/* The client, which knows those of `s`, has `again` under this name in its place. */
void columns_carry(struct link *l, struct span name, const struct shared_statement *s, struct shared_statement *again);

/* --- sql_names.c ---------------------------------------------------------------------------------------- */

/* Puts what a text says of prepared statements by name into the names that they have on servers, where what it executes is prepared first.
 * `made` gets the text, and `*changes` what it changes: at once, or `later`, when its portal is executed. False: there is nothing to put. */
bool sql_names_rewrite(struct link *l, struct span text, bool later, struct buffer *made, struct change **changes,
                       struct actions *out);
/* The body of a Parse, behind the name, that says the same with the names that hold now. */
void sql_names_rewrite_body(struct link *l, struct span body, struct buffer *made, struct change **changes,
                            struct actions *out);
/* Whether one of the names in it is open. */
bool sql_names_are_open(const struct link *l, struct span text);
/* Appends the server's words with the client's names in place of those on servers. False, and nothing: there are none in it. */
bool sql_names_put_back(const struct link *l, struct span words, struct buffer *out);
/* An error position in the text that the server got, as one in the client's. */
size_t sql_names_position(const struct change *changes, size_t position);

/* --- portals.c ------------------------------------------------------------------------------------------ */

/* A Bind of this portal leaves; with changes, it is one that makes them when it is executed. So is one that was noted to forget, or to reset. */
void portals_bind(struct link *l, struct span portal, struct change *changes_take);
/* More cannot be bound before they are executed, or their transaction is over. */
bool portals_are_full(const struct link *l);
/* The body of an Execute that leaves: what it changes, from now on; NULL: nothing. */
struct change *portals_execute(struct link *l, struct span body);
/* No transaction is open behind this unit: what was bound up to it is gone. */
void portals_end(struct link *l, uint32_t unit);
void portals_free(struct link *l);

/* --- traces.c ------------------------------------------------------------------------------------------ */

/* Looks for what this text leaves behind, once it runs. */
void traces_note(struct link *l, struct span text);
/* What the startup packet says may be enough to keep the server. */
void traces_note_base(struct link *l);
/* This setting is changed, or reset, by a statement on its way. */
void traces_touch(struct link *l, struct span name, bool is_default);
/* It is reset for its transaction. */
void traces_touch_local(struct link *l, struct span name);
/* Who has set it the server does not say: one of an extension's own names, or the role. */
bool traces_is_hidden(struct span name);
/* That it goes back to what the client began with cannot be ruled out. */
bool traces_may_reset(const struct link *l, const struct statement_state *state, struct span name);
/* RESET ALL is, which leaves the role as it is. */
void traces_reset_unless_role(struct link *l, const char *name);
/* Names of settings are the same whatever their case: the server reports "TimeZone". */
bool traces_is_name(struct span name, const char *other);
/* Of what pins, that which may be a setting. */
bool traces_may_be_setting(enum state_cause cause);
/* It was, and is not asked for yet. */
bool traces_have(struct link *l, struct span name);
/* It was, and the answer has not come. */
bool traces_is_touched(const struct link *l, struct span name);
void traces_forget_touched(struct link *l, size_t i);
/* Appends an expression: its value, but NULL when nothing has set it since the session began; and, behind all of them, where that is found: those that
 * are unset, those that have their default. */
void traces_append_question_of_reset(struct buffer *sql, const struct link *l, const struct touched *t);
void traces_append_names(struct buffer *sql, bool unset, bool defaults);
/* Whether that answer says that it was reset; `before` is the value that it had before the transaction. */
bool traces_is_unset(const struct link *l, const struct touched *t, struct span value, const char *before);
/* The next value of a row, or NULL. */
struct span traces_next_value(struct wire *row);
/* Asks for the values of what may have changed. */
void traces_ask(struct link *l, struct actions *out);
void traces_answer(struct link *l, const struct frame *row);
/* There is none: it may not be told, or the question was cancelled. */
void traces_give_up(struct link *l, bool was_cancelled);
/* How SQL is read from now on. */
void traces_follow_sql(struct link *l, struct span name, struct span value);
void traces_on_parameter(struct link *l, struct span name, struct span value, bool for_client);
/* DISCARD ALL has succeeded. */
void traces_forget(struct link *l);
void traces_pin(struct link *l, const char *cause);
void traces_free(struct link *l);

/* --- meanings.c ----------------------------------------------------------------------------------------- */

/* A statement under way sets that, for its transaction perhaps; `name` empty: it may be any. */
void meanings_note(struct link *l, struct span name);
/* The unit has been answered. */
void meanings_on_ready(struct link *l, uint32_t unit);
/* Whether the server has been asked for what decides it: what it means is known soon. */
bool meanings_are_asked(const struct link *l);
/* What a text means that is read now (statements.h). */
uint64_t meanings_now(struct link *l);
/* Whether the statement would be read on another server now as it was when the client prepared it, … */
bool meanings_reads_alike(const struct link *l, const struct shared_statement *s);
/* … and mean what it means to all who share it. */
bool meanings_means_alike(struct link *l, const struct shared_statement *s);

/* --- settings.c ---------------------------------------------------------------------------------------- */

/* Tells the server what the client has set and it has not, and the other way round. */
void settings_tell(struct link *l, struct actions *out);
/* Tells it these settings, whatever else holds there; in the client's transaction, if one is open, or for that alone. */
void settings_restore(struct link *l, const struct parameters *what, bool is_local, struct actions *out);
/* What stands in front of words of the link's own that begin a transaction; "": nothing has to. */
const char *settings_head(const struct link *l);
/* A Query that tells or asks. */
void settings_say(struct link *l, struct buffer *sql_take, enum owed_purpose purpose, struct actions *out);
void settings_append_literal(struct buffer *b, struct span value, const struct encoding *encoding);
bool settings_is_role(const char *name);

/* --- resets.c ------------------------------------------------------------------------------------------ */

/* The client's startup packet has a value for it. */
static inline bool resets_go_to_base(const struct link *l, struct span name)
{
    return parameters_value(l->base, name) != NULL;
}
/* A reset of such a setting goes to the server; a DISCARD ALL; one of all of them. */
void resets_note(struct link *l);
void resets_note_discard(struct link *l);
void resets_touch_base(struct link *l);
/* Something went to the server that may reset any of them. */
void resets_touch_any(struct link *l);
/* pool = session: a Query; a Parse, of which the handle is kept only if it resets something; a Bind. Only for who resets_matter(). */
void resets_note_kept(struct link *l, struct span text);
void resets_note_kept_parse(struct link *l, const struct message_parse *parse);
void resets_note_kept_bind(struct link *l, struct span name);
static inline bool resets_matter(const struct link *l)
{
    return parameters_count(l->base) > 0;
}
/* Of a statement of the client's that has succeeded; of an error. */
void resets_on_tag(struct link *l, const struct owed *entry, struct span tag);
void resets_on_error(struct link *l, const struct owed *entry);
/* One has run, and nothing can have undone it. */
bool resets_are_certain(const struct link *l);
/* Inside a transaction: what the server has said of them. */
void resets_answer(struct link *l, const struct frame *row);
/* The server is being asked or told in the client's transaction: when that fails, so does the transaction. */
static inline bool resets_are_inside(const struct link *l)
{
    return l->resets.waits && l->status != 'I';
}
/* The server was not told, for a cancel request that came late. False: it cannot be told again. */
bool resets_repeat(struct link *l);
/* Whether the client is not to be shown what the server reports: that goes back to the startup packet's value before anybody uses it. */
bool resets_hide(struct link *l, struct span name);
/* Nothing is owed at a ReadyForQuery. True: the server is asked or told something, and the client has to wait for its own. */
bool resets_go_on(struct link *l, struct actions *out);
/* And then the client gets it, with what it was not shown and has to know. */
enum verdict resets_show_ready(struct link *l);
/* Nothing of it is under way any more. */
void resets_end(struct link *l);

/* --- listens.c ------------------------------------------------------------------------------------------ */

/* Whether the message with this text has to wait until the listener hears its channels. When they are heard it does not. */
bool listens_hold(struct link *l, struct span text);
/* That message waits. */
static inline bool listens_are_awaited(const struct link *l)
{
    return l->listens.awaited > 0;
}
/* A LISTEN or UNLISTEN goes to the server. */
void listens_note(struct link *l, const struct statement_state *state);
/* A DO block may listen to anything. */
void listens_on_block(struct link *l);
/* The client goes: what is held is dropped. */
void listens_give_up(struct link *l);
/* The transaction is over and nothing is owed: what the server is asked and told. */
void listens_question(struct link *l, struct buffer *sql);
void listens_answer(struct link *l, const struct frame *row);
void listens_settle(struct link *l);
/* An UNLISTEN has been committed. */
void listens_leave(struct link *l, struct span channel);
void listens_leave_all(struct link *l);
void listens_forget(struct link *l); /* DISCARD ALL */
void listens_free(struct link *l);

/* --- unlistens.c ------------------------------------------------------------------------------------------ */

/* What the statements of this text change of them, among the changes of its message. */
void unlistens_add_changes(struct link *l, struct span text, struct change **changes);
/* A Bind of that statement: the next Execute runs it. */
void unlistens_bind(struct link *l, struct span name);
struct change *unlistens_execute(struct link *l);
/* The statement has succeeded. */
void unlistens_confirm(struct link *l, const struct change *c);
/* What has not been taken back counts, if the last reply was none that undoes all. */
void unlistens_end_transaction(struct link *l);
void unlistens_free(struct link *l);

#endif
