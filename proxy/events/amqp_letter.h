/* A letter is one delivery on its way through a publisher: lists of them, and which of them may not go. */
#ifndef PROXY_EVENTS_AMQP_LETTER_H
#define PROXY_EVENTS_AMQP_LETTER_H

#include "proxy/events/amqp_publisher.h"

/* What the broker said of a letter that was published. */
enum answer { ANSWER_NONE, ANSWER_CONFIRMED, ANSWER_REJECTED };

struct letter {
    struct letter *next;
    struct delivery *delivery;
    struct amqp_message message;
    void *owner; /* of what `message` borrows */
    void (*owner_free)(void *owner);
    uint64_t seen;   /* the last report of failures that was known when it was handed over */
    uint64_t due_ms; /* monotonic: confirmed by then, or failed */
    enum answer answer;
    char *returned; /* why no queue took it; NULL: it was not returned */
    enum delivery_result result;
    char *reason;
};

/* In order. One list owns a letter at a time. */
struct letters {
    struct letter *first, **last;
};

void letters_init(struct letters *list);
void letters_add(struct letters *list, struct letter *letter_take);
/* There is one. */
struct letter *letters_take_first(struct letters *list);
/* Behind what `to` holds already. */
void letters_move(struct letters *from, struct letters *to);
void letter_free(struct letter *letter);
void letters_free(struct letters *list);

/* The channels of letters that failed, until whoever hands letters over knows of it. */
struct failures {
    struct failed_channel *first;
};

/* The report with the number `report` will tell of it. */
void failures_add(struct failures *f, const struct letter *letter, uint64_t report);
/* An earlier event of its channel has failed, and that was not known when it was handed over. */
bool failures_forbid(const struct failures *f, const struct letter *letter);
/* All letters that are still to come were handed over with the report `seen` known. */
void failures_forget(struct failures *f, uint64_t seen);

#endif
