/* Between the two halves of the notation: how messages are put together field by field. Not for others. */
#ifndef TESTS_TRANSCRIPTS_NOTATION_WIRE_H
#define TESTS_TRANSCRIPTS_NOTATION_WIRE_H

#include "tests/transcripts/notation.h"

struct note *notes_add(struct notes *n, char type);
/* Adds a field to the last message. */
bool notes_add_field(struct notes *n, char key, bool quoted, struct span value);
struct span notes_value(const struct notes *n, const struct note_field *f);
/* The bare word NULL. */
bool note_field_is_null(const struct notes *n, const struct note_field *f);
/* Sets n->error; false. */
bool notes_fail(struct notes *n, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
