/* Client encodings, as far as a proxy needs them: where characters begin, and how to get to UTF-8.
 *
 * The encodings that only clients may have (SJIS, SHIFT_JIS_2004, BIG5, GBK, UHC, GB18030, JOHAB) have second bytes
 * that look like ASCII (R13): a scanner that does not know them finds quotes and semicolons inside characters. */
#ifndef PROTOCOL_ENCODING_H
#define PROTOCOL_ENCODING_H

#include "protocol/buffer.h"

struct encoding; /* immutable, static */

/* By PostgreSQL's name for it, as client_encoding reports it ("UTF8", "LATIN1", "SJIS", …), or by one of the other
 * names that PostgreSQL takes; case and punctuation are ignored. All names of one encoding give the same pointer. An
 * unknown name gives the encoding of SQL_ASCII: a byte is a character. Never NULL. */
const struct encoding *encoding_find(struct span name);
const struct encoding *encoding_utf8(void);
/* Bytes below 0x80 are always ASCII characters of their own. */
bool encoding_is_ascii_safe(const struct encoding *e);
/* Bytes of the character that begins at s.data: at least 1, at most s.size. s is not empty. */
size_t encoding_character_size(const struct encoding *e, struct span s);
/* Characters in s, as PostgreSQL counts them in an error position. */
size_t encoding_count(const struct encoding *e, struct span s);
/* Appends s in UTF-8. False, and nothing appended, when s is not well formed, holds a NUL, or has a character that
 * UTF-8 has not: the server would refuse it, too. SQL_ASCII, which says nothing about its upper half, is copied. */
bool encoding_to_utf8(const struct encoding *e, struct span s, struct buffer *out);

#endif
