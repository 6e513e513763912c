/* The text of SCRAM's messages: attributes, "r=…,s=…,i=…" (RFC 5802, section 7), and base64.
 *
 * As in wire.h the first failure sticks: a reader takes all that it expects and asks once, at the end. Attributes come in the order that the
 * RFC gives; what may follow are extensions, which are no attributes that the RFC knows. */
#ifndef PROTOCOL_SCRAM_TEXT_H
#define PROTOCOL_SCRAM_TEXT_H

#include "protocol/buffer.h"

struct scram_text {
    struct span rest;
    bool begun; /* an attribute has been read: a comma stands ahead of the next */
    bool failed;
};

/* A message that is too long, or has a NUL in it, has failed already. */
struct scram_text scram_text_open(struct span message);
/* The value of the next attribute, which has to be `name`. */
struct span scram_text_take(struct scram_text *t, char name);
/* The next attribute is `name`. */
bool scram_text_is_next(const struct scram_text *t, char name);
/* Skips extensions up to the attribute `until`, or to the end when that is NUL. */
void scram_text_skip_extensions(struct scram_text *t, char until);
/* Nothing failed and nothing is left over. */
bool scram_text_done(const struct scram_text *t);

/* One or more characters that may be part of a nonce: printable ASCII without the comma. */
bool scram_is_nonce(struct span text);

void scram_encode(struct buffer *out, const void *data, size_t size);
/* Exactly base64: no white space, all of the padding. False when it is not, or stands for no byte or more than `most`. */
bool scram_decode(struct span text, unsigned char *to, size_t most, size_t *size);

#endif
