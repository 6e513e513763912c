/* JSON text (RFC 8259), one token after the other, as it is written.
 *
 * Nothing is converted: a number of a hundred digits, 1.10 and "\u0000" stay what they are, so that parts of a text can be passed on to the
 * letter. What ends well was valid JSON in valid UTF-8. No memory is taken. */
#ifndef PROXY_OPS_JSON_READER_H
#define PROXY_OPS_JSON_READER_H

#include <stdint.h>

#include "protocol/buffer.h"

enum { JSON_READER_DEPTH = 256 }; /* objects and arrays within each other */

enum json_token {
    TOKEN_OBJECT,
    TOKEN_OBJECT_END,
    TOKEN_ARRAY,
    TOKEN_ARRAY_END,
    TOKEN_KEY, /* its colon is behind it already */
    TOKEN_STRING,
    TOKEN_INTEGER,
    TOKEN_FLOAT, /* with a point or an exponent */
    TOKEN_TRUE,
    TOKEN_FALSE,
    TOKEN_NULL,
    TOKEN_END, /* of the text; again and again */
    TOKEN_BAD  /* likewise: see `error` */
};

enum json_place { PLACE_VALUE, PLACE_FIRST_VALUE, PLACE_FIRST_KEY, PLACE_KEY, PLACE_BEHIND_VALUE, PLACE_NOWHERE };

struct json_reader {
    struct span text;
    size_t at;         /* where the next token is looked for */
    const char *error; /* what was expected; NULL: all is well */
    enum json_place place;
    unsigned depth;
    bool in_object[JSON_READER_DEPTH + 1];
};

/* `text` outlives the reader, and all that it gives. */
void json_reader_init(struct json_reader *r, struct span text);
/* `raw`: the token as written; strings and keys with their quotes. */
enum json_token json_reader_next(struct json_reader *r, struct span *raw);
/* The whole value that comes next, with all that is in it; its first token. */
enum json_token json_reader_value(struct json_reader *r, struct span *raw);

/* What stands between the quotes of a string token. */
static inline struct span json_string_inside(struct span raw)
{
    return span_make(raw.data + 1, raw.size - 2);
}

/* Takes the next character, escaped or not, off the inside of a string, which is not empty. Half a surrogate pair comes as it is. */
uint32_t json_string_character(struct span *inside);
/* Appends a string token's text in UTF-8. False: half a surrogate pair is in it, which UTF-8 cannot say. */
bool json_string_decode(struct span raw, struct buffer *out);

#endif
