/* What a session wants done, in order.
 *
 * The session has no socket, no clock and no thread: it is handed frames and fills a list of actions, which its shell performs. Bytes that
 * go on unchanged are spans of the shell's own input; bytes that the session made live in the list's arena. Both are
 * valid until actions_clear(). Adjacent bytes for one side are joined into one action, so a run of frames that needs no change
 * is one send. */
#ifndef PROXY_SESSION_ACTIONS_H
#define PROXY_SESSION_ACTIONS_H

#include "protocol/buffer.h"
#include "proxy/events/event.h"

enum action_kind {
    ACTION_TO_SERVER, /* bytes */
    ACTION_TO_CLIENT, /* bytes */
    ACTION_CANCEL_SERVER, /* cancel what runs on the server; answer with session_on_cancelled when that connection has closed */
    ACTION_SET_TIMER, /* deadline_us: call session_on_time then; 0: no timer */
    ACTION_CLOSE,     /* send what is queued for the client and the server, then close both */
    ACTION_ASK_OUTCOME, /* the server was lost at a COMMIT: ask what became of transaction `bytes` ("": its number is not known), or of
                         * the one that wrote `row`, and answer with session_on_outcome (E9). request: it is of */
    ACTION_PUBLISH, /* events: released, in order; the shell owns them. Perform before later actions (E6) */

    /* told, for the log */
    ACTION_EVENT_HELD,       /* event: borrowed */
    ACTION_EVENTS_DISCARDED, /* events, discard; the shell owns them */
    ACTION_REQUEST_BEGUN,    /* request: borrowed, as in all below */
    ACTION_REQUEST_COMMITTED,
    ACTION_REQUEST_ROLLED_BACK, /* discard */
    ACTION_COMMIT_FAILED,       /* bytes: the server's error message; level error (R5) */
    ACTION_COMMIT_UNKNOWN,      /* bytes: the transaction's number, or nothing; level error (E9) */
    ACTION_TIMED_OUT /* R12, of a request or a transaction of the client's. bytes: the route's name; idle; request: NULL if there is none */
};

struct action {
    enum action_kind kind;
    struct span bytes;
    uint64_t deadline_us;
    struct notification *events;
    struct notification *event;
    struct request *request; /* a reference that actions_clear() lets go */
    enum discard_reason discard;
    bool idle; /* idle_timeout, not timeout */
    bool has_row;
    unsigned char row[EVENT_ID_SIZE];
};

/* What happens to the bytes of a frame that have not arrived yet (frame.left). */
enum frame_rest { REST_FORWARD, REST_DROP };

struct arena_chunk;

struct actions {
    struct action *list;
    size_t count, capacity;
    enum frame_rest rest; /* of the last frame handed in */
    bool has_other;       /* not only bytes */
    struct arena_chunk *chunks;
};

void actions_clear(struct actions *a);
void actions_free(struct actions *a);

/* For the session: */
void actions_to_server(struct actions *a, struct span bytes);
void actions_to_client(struct actions *a, struct span bytes);
/* Room for so many bytes, which the caller writes at once. */
char *actions_room(struct actions *a, size_t size);
/* A stable copy. */
struct span actions_keep(struct actions *a, struct span bytes);
struct action *actions_add(struct actions *a, enum action_kind kind);

#endif
