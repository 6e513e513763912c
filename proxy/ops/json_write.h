/* JSON, written piece by piece.
 *
 * A comma goes where one is needed: ahead of whatever stands behind a complete value. `name` is NULL for what stands in an array, or
 * alone. */
#ifndef PROXY_OPS_JSON_WRITE_H
#define PROXY_OPS_JSON_WRITE_H

#include <stdbool.h>

#include "protocol/buffer.h"

void json_open(struct buffer *b, const char *name, char bracket); /* '{' or '[' */
void json_close(struct buffer *b, char bracket);                  /* '}' or ']' */
void json_span(struct buffer *b, const char *name, struct span value);
void json_text(struct buffer *b, const char *name, const char *value);
void json_number(struct buffer *b, const char *name, uint64_t value);
void json_bool(struct buffer *b, const char *name, bool value);
/* µs, as ms with three decimals. */
void json_ms(struct buffer *b, const char *name, uint64_t value_us);
/* A time (clock.h), as the wall clock has it, in the words of RFC 3339. */
void json_time(struct buffer *b, const char *name, uint64_t value_us);
/* A UUID of 16 bytes. */
void json_id(struct buffer *b, const char *name, const unsigned char *id);

#endif
