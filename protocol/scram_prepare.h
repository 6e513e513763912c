/* A password as SCRAM hashes it: SASLprep (RFC 4013), so that the same password typed on different keyboards is the same.
 *
 * As PostgreSQL has it: pure ASCII stays as it is, and so does what SASLprep refuses (bytes that are no UTF-8, prohibited or unassigned
 * characters, directions that mix), which is then hashed byte for byte. */
#ifndef PROTOCOL_SCRAM_PREPARE_H
#define PROTOCOL_SCRAM_PREPARE_H

#include "protocol/buffer.h"

enum { SCRAM_PASSWORD_MOST = 65535 };

/* Appends what stands for `password`; of a longer one than SCRAM_PASSWORD_MOST the bytes as they are. */
void scram_prepare(struct buffer *out, struct span password);

#endif
