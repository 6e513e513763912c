/* Text of any bytes as a JSON string. */
#ifndef PROXY_OPS_JSON_H
#define PROXY_OPS_JSON_H

#include "protocol/buffer.h"

/* Appends `s` in double quotes. What is not valid UTF-8 becomes U+FFFD, byte for byte. */
void json_append_string(struct buffer *b, struct span s);

/* Bytes of the UTF-8 character at the front of `s`; 0: there is no valid one. */
size_t utf8_character_size(struct span s);
bool utf8_is_valid(struct span s);
/* Appends `s`; what is not valid UTF-8 becomes U+FFFD, byte for byte. */
void utf8_append_clean(struct buffer *b, struct span s);
/* Appends a character, at most U+10FFFF. */
void utf8_append(struct buffer *b, uint32_t character);
/* The longest front of `s` of at most `size` bytes that does not end inside a character. */
struct span utf8_cut(struct span s, size_t size);

#endif
