/* Protocol messages as a person writes them: Q "BEGIN", C "COMMIT" Z I, E 25P02 "current transaction is aborted, …".
 *
 * A message is its type byte and its fields, in the order of the protocol documentation; what is always the same is left out.
 * Strings stand in double quotes (\" \\ \n \t \xNN), numbers and codes stand bare, optional fields are keyed by a letter: P:8.
 *
 *   client   Q "sql"   P name "sql" [type oids]   B portal statement [values] [R:format]   D|C S|P name   E portal [rows]
 *            S  H  X   d "data"   c   f "reason"                 values: "text", NULL, x:hex (binary); an empty name is ""
 *   server   C "tag"   Z I|T|E   T [name/oid …]   D values   E [FATAL] sqlstate ["text"] [P:position D:"detail" H:"hint" …]
 *            N [severity] sqlstate ["text"] […]   A "channel" "payload"   S "name" "value"   t [oids]   1 2 3 n s I c
 *            G  H   d "data"
 *
 * The severity of E is ERROR, that of N WARNING, unless said. `+` and `,` may stand between messages and mean nothing. */
#ifndef TESTS_TRANSCRIPTS_NOTATION_H
#define TESTS_TRANSCRIPTS_NOTATION_H

#include "protocol/buffer.h"
#include "protocol/frame.h"

enum speaker { FROM_CLIENT, FROM_SERVER };

enum { NOTE_FIELDS_MAX = 24 };

struct note_field {
    char key; /* 0: in its place */
    bool quoted;
    size_t at, size; /* in notes.words */
};

struct note {
    char type;
    unsigned count;
    struct note_field fields[NOTE_FIELDS_MAX];
};

struct notes {
    struct note *list;
    size_t count, capacity;
    struct buffer words;
    char error[160]; /* why the last reading failed */
};

void notes_clear(struct notes *n);
void notes_free(struct notes *n);

/* Appends the messages that `line` writes down. */
bool notes_read_text(struct notes *n, enum speaker from, struct span line);
/* Appends the whole messages at the start of `bytes`; what is left over is an error. */
bool notes_read_bytes(struct notes *n, enum speaker from, struct span bytes);
/* Appends the bytes of all messages. */
bool notes_build(struct notes *n, enum speaker from, struct buffer *out);
void notes_print(const struct notes *n, struct buffer *out);
/* As notes_print, straight from bytes. */
void notes_print_bytes(enum speaker from, struct span bytes, struct buffer *out);

/* Every message of `want` against the same of `got`. In E, N and T the fields in their places may end early, which leaves the
 * rest open; a keyed field has to be there only when it is asked for. *at gets the first that differs. */
bool notes_match(const struct notes *want, const struct notes *got, size_t *at);

#endif
