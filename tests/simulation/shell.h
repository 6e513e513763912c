/* A shell without sockets: what proxy/pool does for a session, done in memory.
 *
 * Bytes are handed in as they "arrive", in pieces of any size, and pile up on the other sides as they are "sent". The shell keeps the
 * whole bargain of session.h (frames in order, held frames offered again, the rest of a streamed message forwarded or
 * dropped) and watches that the session keeps its own: an event is held before it is released or discarded, and
 * that happens once; every request that began ends, once; nothing follows ACTION_CLOSE. The first breach is kept as a sentence in `fault`. */
#ifndef TESTS_SIMULATION_SHELL_H
#define TESTS_SIMULATION_SHELL_H

#include "protocol/buffer.h"
#include "proxy/pool/stream.h"
#include "proxy/session/session.h"

/* One thing that the session told: an event's step, a request's step, or a failed COMMIT. */
struct told {
    enum action_kind kind;
    enum discard_reason discard;
    bool sandbox;
    unsigned char id[EVENT_ID_SIZE]; /* of the event, or of the request */
    size_t name, payload; /* offsets into shell.words: channel and payload, or route and label; NUL-terminated */
    size_t client_bytes;  /* how much the client had been sent at that moment (E6) */
};

struct shell {
    struct session *session;
    bool quick;                   /* take the session's short way for what it lets pass */
    bool sleepy;                  /* the session sleeps, and wakes up, whenever it may */
    bool bulk;                    /* data in bulk goes past the session when it may, */
    struct link *link;            /* and past this one, if one stands between the session and its server */
    size_t limit;                 /* of one message */
    uint64_t now_us, deadline_us; /* deadline 0: none */

    struct buffer from_client, from_server; /* arrived, not taken */
    struct buffer to_server, to_client;     /* sent, not looked at */
    struct buffer deferred;                 /* for the server, behind the client's message that is under way */
    struct stream client_stream, server_stream;
    bool held;
    size_t client_bytes; /* all that was ever sent to the client */

    bool closed;
    unsigned cancels; /* asked for, not looked at */
    char asked[80];   /* what the session wants to know of a COMMIT: "700", "row", "700 row"; "" nothing */
    struct told *told;
    size_t told_count, told_capacity;
    struct buffer words;

    uint64_t next_id;
    char fault[200]; /* "" while the session keeps its bargain */
    struct actions actions;
};

/* `start`'s new_id and context are set here: ids count up, so that runs repeat. */
void shell_open(struct shell *s, struct session_start *start, uint64_t now_us);
/* Frees everything. */
void shell_close(struct shell *s);

/* True: data in bulk that went past session and link. */
bool shell_client_sends(struct shell *s, struct span bytes);
/* What has arrived from the server, at the link or else here, goes past both. False, and no change: it has to be handed in. */
bool shell_rows_pass(struct shell *s, struct buffer *arrived);
void shell_server_sends(struct shell *s, struct span bytes);
void shell_client_lost(struct shell *s);
void shell_server_lost(struct shell *s, struct span message);
/* Whoever runs the proxy ends the session. */
void shell_shut_down(struct shell *s);
/* No server is to be had for what has been sent. */
void shell_refused(struct shell *s, const char *sqlstate, struct span message);
/* Moves the clock; the deadline that it passes goes off. */
void shell_time(struct shell *s, uint64_t now_us);
/* The cancel request that was asked for has been carried out. */
void shell_cancelled(struct shell *s);
void shell_outcome(struct shell *s, enum session_outcome outcome);
/* Every event that was held has been released or discarded, every request has ended. */
bool shell_is_settled(const struct shell *s);

const char *told_name(const struct shell *s, const struct told *t);
const char *told_payload(const struct shell *s, const struct told *t);

#endif
